/** The chat page put together. */
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { integer, percent } from "../lib/format";
import { t, type Word } from "../lib/i18n";
import { Mark } from "../lib/icons";
import { prefs } from "../lib/prefs";
import { IconButton, KeyForm, Notice } from "../lib/ui";
import { Composer } from "./composer";
import { AssistantMessage, UserMessage } from "./message";
import type { Session } from "./session";
import { SettingsDialog } from "./settings";
import { Sidebar } from "./sidebar";
import { shownPath, type Turn } from "./tree";

/** Draws again after changes: at once, but for the words of an answer, which are drawn at most once a frame. */
function useChanges(session: Session): void {
  const [, setCount] = useState(0);
  useEffect(() => {
    let frame = 0;
    const draw = () => {
      cancelAnimationFrame(frame);
      frame = 0;
      setCount((n) => n + 1);
    };
    const unsubscribe = session.subscribe((change) => {
      if (change === "step") draw();
      else frame ||= requestAnimationFrame(draw);
    });
    draw();
    return () => {
      cancelAnimationFrame(frame);
      unsubscribe();
    };
  }, [session]);
}

/** Keeps the end of the text in view while it grows, unless the reader scrolled up. */
function useFollow(session: Session) {
  const ref = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const { id } = session.chat;
  const count = shownPath(session.chat).length;
  useLayoutEffect(() => {
    atEnd.current = true;
  }, [id, count]);
  useLayoutEffect(() => {
    if (atEnd.current && ref.current) ref.current.scrollTop = ref.current.scrollHeight;
  });
  const onScroll = () => {
    const box = ref.current;
    if (box) atEnd.current = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  };
  return { ref, onScroll };
}

/** How much of the context the conversation fills, as of the last answer that was counted. */
function ContextMeter({ session, path }: { session: Session; path: Turn[] }) {
  const size = session.info?.model.context_length ?? 0;
  const usage = path.findLast((turn) => turn.usage)?.usage;
  if (!usage || size === 0) return null;
  const used = usage.prompt + usage.generated;
  const label = t("contextUsed", { used: integer(used), size: integer(size) });
  return (
    <span class={`context ${used > 0.85 * size ? "full" : ""}`} title={label}>
      <span
        class="gauge"
        role="meter"
        aria-valuemin={0}
        aria-valuemax={size}
        aria-valuenow={used}
        aria-label={label}
      >
        <i style={{ width: `${Math.min(100, (100 * used) / size)}%` }} />
      </span>
      <span aria-hidden="true">{percent(used, size)}</span>
    </span>
  );
}

const SUGGESTIONS: Word[] = ["suggestion1", "suggestion2", "suggestion3"];

function Welcome({ session, onPick }: { session: Session; onPick: (text: string) => void }) {
  const { info } = session;
  return (
    <div class="welcome">
      <Mark />
      <h2>{t("welcome")}</h2>
      <p class="model-line">
        {info && t("modelLine", { model: info.model.id, context: integer(info.model.context_length) })}
      </p>
      <div class="suggestions">
        {SUGGESTIONS.map((word) => (
          <button type="button" key={word} onClick={() => onPick(t(word))}>
            {t(word)}
          </button>
        ))}
      </div>
    </div>
  );
}

function Trouble({ session }: { session: Session }) {
  if (session.trouble === "offline") {
    return (
      <Notice kind="error">
        <p>{t("offline")}</p>
        <button type="button" class="button" onClick={() => void session.loadInfo()}>
          {t("tryAgain")}
        </button>
      </Notice>
    );
  }
  if (session.trouble !== "key") return null;
  return (
    <Notice kind="info">
      <p>{t(prefs.key() ? "keyRefused" : "keyNeeded")}</p>
      <KeyForm
        onDone={(key, remember) => {
          prefs.setKey(key, remember);
          void session.loadInfo();
        }}
      />
    </Notice>
  );
}

function useKeyboard(session: Session, onSettings: () => void, onSearch: () => void): void {
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const command = event.ctrlKey || event.metaKey;
      if (event.key === "Escape" && session.running && !document.querySelector("dialog[open]"))
        session.stop();
      else if (command && event.shiftKey && event.key.toLowerCase() === "o") session.create();
      else if (command && event.key === ",") onSettings();
      else if (command && event.key.toLowerCase() === "k") onSearch();
      else return;
      event.preventDefault();
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, [session]);
}

function Messages({ session, path }: { session: Session; path: Turn[] }) {
  return (
    <div class="messages">
      {path.map((turn) =>
        turn.role === "user" ? (
          <UserMessage key={turn.id} session={session} turn={turn} />
        ) : (
          <AssistantMessage
            key={turn.id}
            session={session}
            turn={turn}
            running={
              session.running?.turnId === turn.id && session.running.chatId === session.chat.id
                ? session.running
                : null
            }
          />
        ),
      )}
    </div>
  );
}

export function ChatApp({ session }: { session: Session }) {
  useChanges(session);
  const [sidebar, setSidebar] = useState(false);
  const [settings, setSettings] = useState(false);
  const [draft, setDraft] = useState("");
  const path = shownPath(session.chat);
  const follow = useFollow(session);
  useKeyboard(
    session,
    () => setSettings(true),
    () => {
      setSidebar(true);
      document.getElementById("search")?.focus();
    },
  );
  useEffect(() => setDraft(""), [session.chat.id, path.length]);

  return (
    <div class="chat-page">
      <Sidebar
        session={session}
        open={sidebar}
        onClose={() => setSidebar(false)}
        onSettings={() => setSettings(true)}
      />
      {sidebar && <div class="backdrop" onClick={() => setSidebar(false)} />}
      <main>
        <header class="chat-header">
          <IconButton
            icon="menu"
            label={t("openSidebar")}
            class="narrow-only"
            expanded={sidebar}
            onClick={() => setSidebar(true)}
          />
          <h1>{session.chat.title || t("newChat")}</h1>
          <div class="spacer" />
          <ContextMeter session={session} path={path} />
          {session.info && <span class="model-name">{session.info.model.id}</span>}
          <IconButton icon="settings" label={t("settings")} onClick={() => setSettings(true)} />
        </header>
        <div
          class="scroll"
          ref={follow.ref}
          onScroll={follow.onScroll}
          tabIndex={0}
          role="region"
          aria-label={t("conversation")}
        >
          <div class="column">
            {path.length === 0 ? (
              <Welcome session={session} onPick={setDraft} />
            ) : (
              <Messages session={session} path={path} />
            )}
          </div>
        </div>
        <div class="column bottom">
          <Trouble session={session} />
          <Composer session={session} draft={draft} />
          <p class="fine">{t("mistakes")}</p>
        </div>
        <p class="visually-hidden" role="status">
          {session.announcement}
        </p>
      </main>
      {settings && <SettingsDialog session={session} onClose={() => setSettings(false)} />}
    </div>
  );
}
