import assert from "node:assert/strict";
import { test } from "node:test";
import {
  NO_SAMPLING,
  addTurn,
  branchOf,
  newChat,
  pathTo,
  showSibling,
  shownPath,
  titleFrom,
  withAttachments,
  type Chat,
} from "../src/chat/tree";

const settings = { system: "", sampling: { ...NO_SAMPLING }, thinking: false };
const say = (chat: Chat, parent: number | null, role: "user" | "assistant", content: string) =>
  addTurn(chat, parent, { role, content, created: 0 });
const texts = (chat: Chat) => shownPath(chat).map((turn) => turn.content);

test("regenerating and editing add branches and lose nothing", () => {
  const chat = newChat(settings, 0);
  assert.deepEqual(texts(chat), []);
  const question = say(chat, null, "user", "q");
  const first = say(chat, question.id, "assistant", "a1");
  const next = say(chat, first.id, "user", "q2");
  say(chat, next.id, "assistant", "b");
  const second = say(chat, question.id, "assistant", "a2");
  assert.deepEqual(texts(chat), ["q", "a2"]);
  assert.deepEqual(branchOf(chat, second), { index: 1, count: 2 });
  showSibling(chat, second, -1);
  assert.deepEqual(texts(chat), ["q", "a1", "q2", "b"], "with what was shown below");
  showSibling(chat, first, -1);
  assert.deepEqual(texts(chat), ["q", "a1", "q2", "b"], "there is nothing before the first");
  const edited = say(chat, null, "user", "Q");
  assert.deepEqual(texts(chat), ["Q"]);
  showSibling(chat, edited, -1);
  assert.deepEqual(texts(chat), ["q", "a1", "q2", "b"]);
  assert.deepEqual(
    pathTo(chat, second.id).map((turn) => turn.content),
    ["q", "a2"],
  );
});

test("a title is the first line, not cut inside a character", () => {
  assert.equal(titleFrom("  Hello\nworld"), "Hello");
  assert.equal(titleFrom("🌊".repeat(100)), "🌊".repeat(58) + "…");
});

test("files are fenced by more backticks than they have", () => {
  assert.equal(
    withAttachments("go", [{ name: "a.md", text: "````\nx\n````\n" }]),
    "a.md\n`````\n````\nx\n````\n`````\n\ngo",
  );
  assert.equal(withAttachments("", [{ name: "a", text: "x" }]), "a\n```\nx\n```");
  assert.equal(withAttachments("go"), "go");
});
