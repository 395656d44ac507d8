/** Chats as files: JSON to take them elsewhere and back, Markdown to read. */
import {
  NO_SAMPLING,
  shownPath,
  withAttachments,
  type Attachment,
  type Chat,
  type Sampling,
  type Turn,
} from "./tree";

const FORMAT = "hadal-chats";
const MOST_CHATS = 10_000;
const MOST_TURNS = 100_000;

export function exportJson(chats: Chat[]): string {
  return JSON.stringify({ format: FORMAT, version: 1, chats }, null, 1);
}

export function exportMarkdown(chat: Chat): string {
  const parts = [`# ${chat.title}`];
  if (chat.settings.system) parts.push(`**System:** ${chat.settings.system}`);
  for (const turn of shownPath(chat)) {
    parts.push(turn.role === "user" ? "## User" : `## ${turn.model ?? "Assistant"}`);
    if (turn.reasoning) parts.push(turn.reasoning.trim().replace(/^/gm, "> "));
    parts.push(withAttachments(turn.content, turn.attachments));
  }
  return parts.join("\n\n") + "\n";
}

/** A file's name from a title. */
export function fileName(title: string, extension: string): string {
  const name = title
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 60);
  return `${name || "chat"}.${extension}`;
}

type Loose = Record<string, unknown>;

function object(value: unknown): Loose {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new Error("an object was expected");
  return value as Loose;
}
const text = (value: unknown): string => (typeof value === "string" ? value : "");
const number = (value: unknown): number => (typeof value === "number" && Number.isFinite(value) ? value : 0);

function attachments(value: unknown): Attachment[] | undefined {
  if (!Array.isArray(value) || value.length === 0) return undefined;
  return value.map(object).map((file) => ({ name: text(file["name"]), text: text(file["text"]) }));
}

function turn(value: unknown): Turn {
  const from = object(value);
  const id = number(from["id"]);
  const parent = from["parent"] === null ? null : number(from["parent"]);
  if (!Number.isSafeInteger(id) || id < 1) throw new Error("a message without a number");
  // A parent is older than its children, so there can be no circle.
  if (parent !== null && !(Number.isSafeInteger(parent) && parent >= 1 && parent < id)) {
    throw new Error(`message ${id} answers no earlier one`);
  }
  const made: Turn = {
    id,
    parent,
    role: from["role"] === "assistant" ? "assistant" : "user",
    content: text(from["content"]),
    created: number(from["created"]),
  };
  const files = attachments(from["attachments"]);
  if (files) made.attachments = files;
  if (text(from["reasoning"])) made.reasoning = text(from["reasoning"]);
  if (number(from["thinkingMs"])) made.thinkingMs = number(from["thinkingMs"]);
  if (text(from["model"])) made.model = text(from["model"]);
  if (made.role === "assistant") made.finish = from["finish"] === "length" ? "length" : "stop";
  return made;
}

function sampling(value: unknown): Sampling {
  const made = { ...NO_SAMPLING };
  if (typeof value !== "object" || value === null) return made;
  for (const key of Object.keys(made) as (keyof Sampling)[]) {
    const given = (value as Loose)[key];
    if (typeof given === "number" && Number.isFinite(given)) made[key] = given;
  }
  return made;
}

function chat(value: unknown): Chat {
  const from = object(value);
  const turns: Record<number, Turn> = {};
  const all = Object.values(object(from["turns"]));
  if (all.length > MOST_TURNS) throw new Error(`more than ${MOST_TURNS} messages`);
  for (const one of all.map(turn)) turns[one.id] = one;
  for (const one of Object.values(turns)) {
    if (one.parent !== null && !turns[one.parent])
      throw new Error(`message ${one.id} answers one that is missing`);
  }
  const shown: Record<number, number> = {};
  for (const [parent, child] of Object.entries(from["shown"] ?? {})) shown[Number(parent)] = number(child);
  const settings =
    typeof from["settings"] === "object" && from["settings"] !== null ? object(from["settings"]) : {};
  return {
    id: crypto.randomUUID(), // the same file can be imported twice
    title: text(from["title"]).slice(0, 200),
    created: number(from["created"]),
    updated: number(from["updated"]),
    settings: {
      system: text(settings["system"]),
      sampling: sampling(settings["sampling"]),
      thinking: settings["thinking"] === true,
    },
    nextId: Object.keys(turns).reduce((most, id) => Math.max(most, Number(id)), 0) + 1,
    turns,
    shown,
  };
}

/** The chats of a file that exportJson() wrote, with new ids. Throws an Error that says what is wrong. */
export function importJson(source: string): Chat[] {
  const file = object(JSON.parse(source));
  if (file["format"] !== FORMAT || !Array.isArray(file["chats"]))
    throw new Error("not an export of hadal chats");
  if (file["chats"].length > MOST_CHATS) throw new Error(`more than ${MOST_CHATS} chats`);
  return file["chats"].map(chat);
}
