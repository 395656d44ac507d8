/** The list of chats, and what can be done with all of them. */
import { useState } from "preact/hooks";
import { t, type Word } from "../lib/i18n";
import { Icon } from "../lib/icons";
import { Brand, Confirm, Dialog, IconButton, LanguageButton, Nav, ThemeButton } from "../lib/ui";
import type { Session } from "./session";
import type { ChatTitle } from "./storage";

const DAY = 86_400_000;

/** Chats by age, newest first. */
export function groupByAge(titles: ChatTitle[], now: number): { word: Word; titles: ChatTitle[] }[] {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const limits: [Word, number][] = [
    ["today", midnight],
    ["yesterday", midnight - DAY],
    ["lastWeek", midnight - 7 * DAY],
    ["older", -Infinity],
  ];
  const groups = limits.map(([word]) => ({ word, titles: [] as ChatTitle[] }));
  for (const title of titles)
    groups[limits.findIndex(([, from]) => title.updated >= from)]?.titles.push(title);
  return groups.filter((group) => group.titles.length > 0);
}

function RenameDialog(props: { chat: ChatTitle; session: Session; onClose: () => void }) {
  const [title, setTitle] = useState(props.chat.title);
  return (
    <Dialog title={t("rename")} onClose={props.onClose}>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void props.session.rename(props.chat.id, title);
          props.onClose();
        }}
      >
        <label>
          <span>{t("title")}</span>
          <input value={title} maxLength={200} onInput={(event) => setTitle(event.currentTarget.value)} />
        </label>
        <div class="actions">
          <button type="submit" class="button primary" disabled={!title.trim()}>
            {t("save")}
          </button>
        </div>
      </form>
    </Dialog>
  );
}

function Entry(props: { chat: ChatTitle; session: Session; onOpen: () => void }) {
  const { chat, session } = props;
  const [dialog, setDialog] = useState<"rename" | "remove" | null>(null);
  const here = session.chat.id === chat.id;
  const answering = session.running?.chatId === chat.id;
  return (
    <li class={here ? "here" : ""}>
      <button
        type="button"
        class="open"
        aria-current={here ? "true" : undefined}
        title={chat.title}
        onClick={() => {
          void session.open(chat.id);
          props.onOpen();
        }}
      >
        {chat.title}
        {answering && <span class="pulse" role="img" aria-label={t("answering")} />}
      </button>
      <span class="entry-tools">
        <IconButton
          icon="edit"
          label={t("renameChat", { title: chat.title })}
          onClick={() => setDialog("rename")}
        />
        <IconButton
          icon="trash"
          label={t("deleteChat", { title: chat.title })}
          onClick={() => setDialog("remove")}
        />
      </span>
      {dialog === "rename" && <RenameDialog chat={chat} session={session} onClose={() => setDialog(null)} />}
      {dialog === "remove" && (
        <Confirm
          title={t("deleteTitle")}
          text={t("deleteText", { title: chat.title })}
          action={t("delete")}
          onYes={() => void session.remove(chat.id)}
          onClose={() => setDialog(null)}
        />
      )}
    </li>
  );
}

export function Sidebar(props: {
  session: Session;
  open: boolean;
  onClose: () => void;
  onSettings: () => void;
}) {
  const { session } = props;
  const [query, setQuery] = useState("");
  const wanted = query.trim().toLowerCase();
  const titles = session.titles.filter((chat) => chat.title.toLowerCase().includes(wanted));
  return (
    <aside class={`sidebar ${props.open ? "open" : ""}`} aria-label={t("chats")}>
      <div class="sidebar-top">
        <Brand />
        <div class="spacer" />
        <LanguageButton />
        <ThemeButton />
        <IconButton icon="close" label={t("closeSidebar")} class="narrow-only" onClick={props.onClose} />
      </div>
      <button
        type="button"
        class="button new-chat"
        onClick={() => {
          session.create();
          props.onClose();
        }}
      >
        <Icon name="plus" />
        {t("newChat")}
      </button>
      <label class="search">
        <span class="visually-hidden">{t("searchChats")}</span>
        <Icon name="search" />
        <input
          id="search"
          type="search"
          placeholder={t("searchChats")}
          value={query}
          onInput={(event) => setQuery(event.currentTarget.value)}
        />
      </label>
      <div class="history" tabIndex={-1}>
        {groupByAge(titles, Date.now()).map((group) => (
          <section key={group.word}>
            <h3>{t(group.word)}</h3>
            <ul>
              {group.titles.map((chat) => (
                <Entry key={chat.id} chat={chat} session={session} onOpen={props.onClose} />
              ))}
            </ul>
          </section>
        ))}
        {titles.length === 0 && <p class="empty">{t(wanted ? "noMatch" : "noChats")}</p>}
      </div>
      {!session.storage.persistent && <p class="empty">{t("notStored")}</p>}
      <div class="sidebar-bottom">
        <Nav here="chat" />
        <IconButton icon="settings" label={t("settings")} onClick={props.onSettings} />
      </div>
    </aside>
  );
}
