/** The chat page's state: the list of chats, the open one, and the answer being written. */
import { ApiError, get, type Info } from "../lib/api";
import { t } from "../lib/i18n";
import { prefs } from "../lib/prefs";
import { complete, requestBody, type Progress } from "./completion";
import { Storage, type ChatTitle } from "./storage";
import {
  NO_SAMPLING,
  addTurn,
  newChat,
  pathTo,
  showSibling,
  titleFrom,
  type Attachment,
  type Chat,
  type ChatSettings,
  type Turn,
} from "./tree";

export interface Running {
  chatId: string;
  turnId: number;
  abort: AbortController;
  started: number;
  firstToken?: number;
  thinkingSince?: number;
  queued: boolean;
}

const SETTINGS = "hadal.chatSettings";
const SAVE_EVERY_MS = 1000;

function savedSettings(): ChatSettings {
  const fresh: ChatSettings = { system: "", sampling: { ...NO_SAMPLING }, thinking: false };
  try {
    const saved = JSON.parse(localStorage.getItem(SETTINGS) ?? "{}") as Partial<ChatSettings>;
    return { ...fresh, ...saved, sampling: { ...NO_SAMPLING, ...saved.sampling } };
  } catch {
    return fresh;
  }
}

/** A step of the conversation, or more words of an answer: of these there may be hundreds a second. */
export type Change = "step" | "words";

export class Session {
  info: Info | null = null;
  /** Why there is no info: "key" when one is missing or refused. */
  trouble: "key" | "offline" | null = null;
  titles: ChatTitle[] = [];
  chat: Chat;
  running: Running | null = null;
  announcement = "";
  /** Counts changes; a turn's own count says whether it has to be drawn again. */
  version = 0;
  private listeners = new Set<(change: Change) => void>();
  private lastSave = 0;

  constructor(readonly storage: Storage) {
    this.chat = newChat(savedSettings(), Date.now());
  }

  subscribe(listener: (change: Change) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  changed(change: Change = "step"): void {
    this.version++;
    for (const listener of this.listeners) listener(change);
  }

  async start(): Promise<void> {
    await this.refreshTitles();
    await Promise.all([this.loadInfo(), this.openFromAddress()]);
  }

  async loadInfo(): Promise<void> {
    try {
      this.info = await get<Info>("/api/info");
      this.trouble = this.info.auth && !prefs.key() ? "key" : null;
    } catch {
      this.trouble = "offline";
    }
    this.changed();
  }

  async refreshTitles(): Promise<void> {
    this.titles = await this.storage.list();
    this.changed();
  }

  async openFromAddress(): Promise<void> {
    const id = location.hash.slice(1);
    if (id === this.chat.id) return;
    const chat = id ? await this.storage.load(id) : undefined;
    if (chat) this.show(this.withoutCutTurns(chat));
    else this.create();
  }

  /** An answer that was being written when the page went away will not go on. */
  private withoutCutTurns(chat: Chat): Chat {
    for (const turn of Object.values(chat.turns)) {
      const here = this.running?.chatId === chat.id && this.running.turnId === turn.id;
      if (turn.role === "assistant" && !turn.finish && !here) turn.finish = "cut";
    }
    return chat;
  }

  private show(chat: Chat): void {
    this.chat = this.runningChat?.id === chat.id ? this.runningChat : chat;
    const hash = this.titles.some((title) => title.id === chat.id) ? `#${chat.id}` : "";
    if (location.hash !== hash) history.replaceState(null, "", hash || location.pathname);
    this.changed();
  }
  private runningChat: Chat | null = null;

  create(): void {
    this.show(newChat(savedSettings(), Date.now()));
  }

  async open(id: string): Promise<void> {
    const chat = await this.storage.load(id);
    if (chat) this.show(this.withoutCutTurns(chat));
  }

  async rename(id: string, title: string): Promise<void> {
    const chat = this.chat.id === id ? this.chat : await this.storage.load(id);
    if (!chat || title.trim() === "") return;
    chat.title = title.trim().slice(0, 200);
    await this.save(chat);
  }

  async remove(id: string): Promise<void> {
    if (this.running?.chatId === id) this.stop();
    await this.storage.remove(id);
    if (this.chat.id === id) this.create();
    await this.refreshTitles();
  }

  async removeAll(): Promise<void> {
    this.stop();
    await this.storage.clear();
    this.create();
    await this.refreshTitles();
  }

  async adopt(chats: Chat[]): Promise<void> {
    for (const chat of chats) await this.storage.save(chat);
    await this.refreshTitles();
    if (chats[0]) await this.open(chats[0].id);
  }

  /** Settings of this chat, and of those begun after it. */
  changeSettings(change: (now: ChatSettings) => ChatSettings): void {
    const settings = change(this.chat.settings);
    this.chat.settings = settings;
    try {
      localStorage.setItem(SETTINGS, JSON.stringify(settings));
    } catch {
      // then they are this chat's alone
    }
    if (Object.keys(this.chat.turns).length > 0) void this.save(this.chat);
    this.changed();
  }

  /** A new message under `parent`, and its answer. */
  send(parent: number | null, content: string, attachments: Attachment[]): void {
    const now = Date.now();
    const turn: Omit<Turn, "id" | "parent"> = { role: "user", content, created: now };
    if (attachments.length > 0) turn.attachments = attachments;
    const added = addTurn(this.chat, parent, turn);
    if (this.chat.title === "") this.chat.title = titleFrom(content || attachments[0]?.name || "");
    void this.answer(added.id);
  }

  branch(turn: Turn, step: number): void {
    showSibling(this.chat, turn, step);
    void this.storage.save(this.chat);
    this.changed();
  }

  stop(): void {
    this.running?.abort.abort();
  }

  /** Adds an answer to the message `parent`. */
  async answer(parent: number): Promise<void> {
    if (this.running || !this.info) return;
    const chat = this.chat;
    const path = pathTo(chat, parent);
    const { model } = this.info;
    const turn = addTurn(chat, parent, {
      role: "assistant",
      content: "",
      created: Date.now(),
      model: model.id,
    });
    const started = performance.now();
    const running: Running = {
      chatId: chat.id,
      turnId: turn.id,
      abort: new AbortController(),
      started,
      queued: false,
    };
    this.running = running;
    this.runningChat = chat;
    chat.updated = Date.now();
    this.announcement = t("answering");
    await this.save(chat);
    if (this.chat === chat) history.replaceState(null, "", `#${chat.id}`);
    try {
      const body = requestBody(model.id, model.thinking, chat.settings, path);
      const last = await complete(body, running.abort.signal, (progress) =>
        this.progress(chat, turn, progress),
      );
      this.progress(chat, turn, last);
      turn.finish = last.finish ?? "other";
    } catch (error) {
      this.failed(turn, error);
    }
    this.finishTiming(turn, running);
    this.running = null;
    this.runningChat = null;
    chat.updated = Date.now();
    this.announcement = t(turn.finish === "error" ? "answerFailed" : "answerDone");
    await this.save(chat);
  }

  private progress(chat: Chat, turn: Turn, progress: Progress): void {
    const running = this.running;
    if (!running) return;
    const now = performance.now();
    turn.content = progress.content;
    if (progress.reasoning) turn.reasoning = progress.reasoning;
    if (progress.usage) turn.usage = progress.usage;
    running.queued = progress.queued;
    if (progress.content || progress.reasoning) running.firstToken ??= now;
    if (progress.reasoning) running.thinkingSince ??= now;
    if (progress.content && running.thinkingSince !== undefined)
      turn.thinkingMs ??= now - running.thinkingSince;
    if (progress.content || progress.reasoning) {
      turn.timing = { firstMs: running.firstToken! - running.started, streamMs: now - running.firstToken! };
    }
    if (now - this.lastSave > SAVE_EVERY_MS) {
      this.lastSave = now;
      void this.storage.save(chat); // so that a reload loses a second of it at most
    }
    this.changed("words");
  }

  private failed(turn: Turn, error: unknown): void {
    if (error instanceof DOMException && error.name === "AbortError") {
      turn.finish = "stopped";
      return;
    }
    turn.finish = "error";
    turn.error = error instanceof ApiError ? error.message : t("connectionLost");
    if (error instanceof ApiError && error.status === 401) {
      this.trouble = "key";
    } else if (error instanceof ApiError && error.retryAfter) {
      turn.error += ` ${t("retryAfter", { seconds: error.retryAfter })}`;
    }
  }

  private finishTiming(turn: Turn, running: Running): void {
    if (running.thinkingSince !== undefined) turn.thinkingMs ??= performance.now() - running.thinkingSince;
  }

  private async save(chat: Chat): Promise<void> {
    this.changed();
    await this.storage.save(chat);
    await this.refreshTitles();
  }
}
