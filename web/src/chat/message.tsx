/** One message: its text, and what can be done with it. */
import { useEffect, useRef, useState } from "preact/hooks";
import { duration, integer, rate } from "../lib/format";
import { t } from "../lib/i18n";
import { Icon } from "../lib/icons";
import { CopyButton, IconButton } from "../lib/ui";
import { Markdown } from "./blocks";
import type { Running, Session } from "./session";
import { branchOf, type Turn } from "./tree";

function Branches({ session, turn }: { session: Session; turn: Turn }) {
  const { index, count } = branchOf(session.chat, turn);
  if (count < 2) return null;
  return (
    <span class="branches" role="group" aria-label={t("branches")}>
      <IconButton
        icon="chevronLeft"
        label={t("previousBranch")}
        disabled={index === 0}
        onClick={() => session.branch(turn, -1)}
      />
      <span class="count">
        {index + 1}/{count}
      </span>
      <IconButton
        icon="chevronRight"
        label={t("nextBranch")}
        disabled={index === count - 1}
        onClick={() => session.branch(turn, 1)}
      />
    </span>
  );
}

function Editor(props: { text: string; onSave: (text: string) => void; onCancel: () => void }) {
  const [text, setText] = useState(props.text);
  const ref = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    ref.current?.focus();
    ref.current?.setSelectionRange(text.length, text.length);
  }, []);
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        if (text.trim()) props.onSave(text);
      }}
    >
      <textarea
        ref={ref}
        aria-label={t("editMessage")}
        rows={Math.min(12, text.split("\n").length + 1)}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape") {
            event.stopPropagation();
            props.onCancel();
          }
          if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && text.trim()) props.onSave(text);
        }}
      />
      <div class="actions">
        <button type="button" class="button" onClick={props.onCancel}>
          {t("cancel")}
        </button>
        <button type="submit" class="button primary" disabled={!text.trim()}>
          {t("sendEdited")}
        </button>
      </div>
    </form>
  );
}

export function UserMessage({ session, turn }: { session: Session; turn: Turn }) {
  const [editing, setEditing] = useState(false);
  const busy = session.running !== null;
  return (
    <article class="message user">
      <h2 class="visually-hidden">{t("you")}</h2>
      {turn.attachments?.map((file, i) => (
        <details class="file" key={i}>
          <summary>
            <Icon name="file" />
            {file.name}
          </summary>
          <pre tabIndex={0}>{file.text}</pre>
        </details>
      ))}
      {editing ? (
        <Editor
          text={turn.content}
          onCancel={() => setEditing(false)}
          onSave={(text) => {
            setEditing(false);
            session.send(turn.parent, text, turn.attachments ?? []);
          }}
        />
      ) : (
        turn.content && <div class="bubble">{turn.content}</div>
      )}
      {!editing && (
        <div class="tools">
          <Branches session={session} turn={turn} />
          <CopyButton text={() => turn.content} />
          <IconButton icon="edit" label={t("edit")} disabled={busy} onClick={() => setEditing(true)} />
        </div>
      )}
    </article>
  );
}

/** Draws again ten times a second while `on`. */
function useTicks(on: boolean): void {
  const [, setTick] = useState(0);
  useEffect(() => {
    if (!on) return;
    const timer = setInterval(() => setTick((tick) => tick + 1), 100);
    return () => clearInterval(timer);
  }, [on]);
}

function Thinking({ turn, running }: { turn: Turn; running: Running | null }) {
  const thinking = running?.thinkingSince !== undefined && turn.thinkingMs === undefined;
  useTicks(thinking);
  if (!turn.reasoning) return null;
  const ms = thinking ? performance.now() - running.thinkingSince! : (turn.thinkingMs ?? 0);
  return (
    <details class={`thinking ${thinking ? "live" : ""}`}>
      <summary>
        <Icon name="think" />
        <span>{t(thinking ? "thinkingNow" : "thoughtFor", { time: duration(ms) })}</span>
      </summary>
      <div class="thoughts">
        <Markdown text={turn.reasoning} grows={thinking} />
      </div>
    </details>
  );
}

function Stats({ turn }: { turn: Turn }) {
  const { usage, timing } = turn;
  if (!usage) return null;
  // The first token came at the end of the wait, not in the time that is counted here.
  const speed =
    timing && timing.streamMs >= 50 && usage.generated > 1
      ? (usage.generated - 1) / (timing.streamMs / 1000)
      : 0;
  return (
    <span class="stats">
      {speed > 0 && <span title={t("speedHint")}>{t("tokensPerSecond", { n: rate(speed) })}</span>}
      <span title={t("promptHint", { first: duration(timing?.firstMs ?? 0) })}>
        {t("promptTokens", { n: integer(usage.prompt) })}
        {usage.cached > 0 && ` (${t("cachedTokens", { n: integer(usage.cached) })})`}
      </span>
      <span>
        {t("generatedTokens", { n: integer(usage.generated) })}
        {usage.reasoning > 0 && ` (${t("reasoningTokens", { n: integer(usage.reasoning) })})`}
      </span>
    </span>
  );
}

function Ending({ turn }: { turn: Turn }) {
  if (turn.finish === "error") {
    return (
      <p class="ending error" role="alert">
        {turn.error}
      </p>
    );
  }
  if (turn.finish === "length") return <p class="ending">{t("endedLength")}</p>;
  if (turn.finish === "stopped") return <p class="ending">{t("endedStopped")}</p>;
  if (turn.finish === "cut") return <p class="ending">{t("endedCut")}</p>;
  return null;
}

export function AssistantMessage(props: { session: Session; turn: Turn; running: Running | null }) {
  const { session, turn, running } = props;
  const waiting = running !== null && !turn.content && !turn.reasoning;
  return (
    <article class={`message assistant ${running ? "running" : ""}`} aria-busy={running !== null}>
      <h2 class="author">{turn.model ?? "hadal"}</h2>
      <Thinking turn={turn} running={running} />
      {waiting && (
        <p class="waiting">
          <span class="dots" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          {t(running.queued ? "inQueue" : "reading")}
        </p>
      )}
      <Markdown text={turn.content} grows={running !== null} />
      <Ending turn={turn} />
      {!running && (
        <div class="tools">
          <Branches session={session} turn={turn} />
          <CopyButton text={() => turn.content} />
          <IconButton
            icon="refresh"
            label={t("regenerate")}
            disabled={session.running !== null}
            onClick={() => turn.parent !== null && void session.answer(turn.parent)}
          />
          <Stats turn={turn} />
        </div>
      )}
    </article>
  );
}
