/**
 * A conversation is a tree: editing a message or asking again adds a branch, nothing is overwritten. Each
 * node remembers which of its children was looked at last; the path along those is what is shown and sent.
 */

export interface Attachment {
  name: string;
  text: string;
}

export interface Usage {
  prompt: number;
  cached: number;
  generated: number;
  reasoning: number;
}

export interface Timing {
  /** From the request to the first token, and from the first to the last one. */
  firstMs: number;
  streamMs: number;
}

/**
 * stop: the model ended; length: max_tokens; stopped: the user; cut: the page went away; error: see `error`.
 */
export type Finish = "stop" | "length" | "stopped" | "cut" | "error" | "other";

export interface Turn {
  id: number;
  parent: number | null;
  role: "user" | "assistant";
  content: string;
  created: number;
  attachments?: Attachment[];
  reasoning?: string;
  thinkingMs?: number;
  model?: string;
  finish?: Finish;
  error?: string;
  usage?: Usage;
  timing?: Timing;
}

export interface Sampling {
  temperature: number | null;
  top_p: number | null;
  top_k: number | null;
  min_p: number | null;
  max_tokens: number | null;
  presence_penalty: number | null;
  frequency_penalty: number | null;
  seed: number | null;
}

export interface ChatSettings {
  system: string;
  sampling: Sampling;
  thinking: boolean;
}

export interface Chat {
  id: string;
  title: string;
  created: number;
  updated: number;
  settings: ChatSettings;
  nextId: number;
  turns: Record<number, Turn>;
  /** The child that is shown, by parent; 0 for the roots. */
  shown: Record<number, number>;
}

export const NO_SAMPLING: Sampling = {
  temperature: null,
  top_p: null,
  top_k: null,
  min_p: null,
  max_tokens: null,
  presence_penalty: null,
  frequency_penalty: null,
  seed: null,
};

const at = (parent: number | null): number => parent ?? 0;

export function newChat(settings: ChatSettings, now: number): Chat {
  const chat = { title: "", created: now, updated: now, nextId: 1, turns: {}, shown: {} };
  return { id: crypto.randomUUID(), settings: structuredClone(settings), ...chat };
}

/** The children of a turn (null: the first messages) in the order of their making. */
export function children(chat: Chat, parent: number | null): Turn[] {
  return Object.values(chat.turns)
    .filter((turn) => turn.parent === parent)
    .sort((a, b) => a.id - b.id);
}

export function shownChild(chat: Chat, parent: number | null): Turn | undefined {
  const chosen = chat.turns[chat.shown[at(parent)] ?? -1];
  return chosen && chosen.parent === parent ? chosen : children(chat, parent).at(-1);
}

/** What is shown, first message first. */
export function shownPath(chat: Chat): Turn[] {
  const path: Turn[] = [];
  let turn = shownChild(chat, null);
  while (turn && path.length < chat.nextId) {
    path.push(turn);
    turn = shownChild(chat, turn.id);
  }
  return path;
}

/** From the first message to this turn. */
export function pathTo(chat: Chat, id: number | null): Turn[] {
  const path: Turn[] = [];
  for (
    let turn = chat.turns[id ?? -1];
    turn && path.length < chat.nextId;
    turn = chat.turns[turn.parent ?? -1]
  ) {
    path.unshift(turn);
  }
  return path;
}

/** Adds a turn under `parent` and shows it. */
export function addTurn(chat: Chat, parent: number | null, turn: Omit<Turn, "id" | "parent">): Turn {
  const added: Turn = { ...turn, id: chat.nextId++, parent };
  chat.turns[added.id] = added;
  chat.shown[at(parent)] = added.id;
  return added;
}

/** Which of its siblings a turn is, from 0, and how many there are. */
export function branchOf(chat: Chat, turn: Turn): { index: number; count: number } {
  const siblings = children(chat, turn.parent);
  return { index: siblings.findIndex((sibling) => sibling.id === turn.id), count: siblings.length };
}

/** Shows the sibling `step` further on, with whatever was shown below it. */
export function showSibling(chat: Chat, turn: Turn, step: number): void {
  const next = children(chat, turn.parent)[branchOf(chat, turn).index + step];
  if (next) chat.shown[at(turn.parent)] = next.id;
}

/** The start of the first message, as a title. */
export function titleFrom(text: string): string {
  const line = text.trim().split("\n")[0]!.trim();
  const characters = [...line];
  return characters.length > 60 ? characters.slice(0, 58).join("").trimEnd() + "…" : line;
}

/** A message with its files as the model reads it. The fence is longer than any in the file. */
export function withAttachments(content: string, attachments: Attachment[] = []): string {
  const parts = attachments.map(({ name, text }) => {
    const longest = Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length));
    const fence = "`".repeat(longest + 1);
    return `${name}\n${fence}\n${text.replace(/\n$/, "")}\n${fence}`;
  });
  return [...parts, content].filter((part) => part !== "").join("\n\n");
}
