import assert from "node:assert/strict";
import { test } from "node:test";
import { exportJson, exportMarkdown, fileName, importJson } from "../src/chat/transfer";
import { NO_SAMPLING, addTurn, newChat, shownPath } from "../src/chat/tree";

function example() {
  const chat = newChat(
    { system: "Be brief.", sampling: { ...NO_SAMPLING, temperature: 0.5 }, thinking: true },
    5,
  );
  chat.title = "Depth";
  const file = { name: "a.txt", text: "x" };
  const question = addTurn(chat, null, { role: "user", content: "q", created: 1, attachments: [file] });
  addTurn(chat, question.id, {
    role: "assistant",
    content: "a1",
    created: 2,
    finish: "stop",
    reasoning: "hm\nyes",
    model: "m",
  });
  addTurn(chat, question.id, { role: "assistant", content: "a2", created: 3, finish: "length", model: "m" });
  chat.shown[question.id] = 2;
  return chat;
}

test("what was exported comes back, under a new id", () => {
  const chat = example();
  const [back] = importJson(exportJson([chat]));
  assert.ok(back);
  assert.notEqual(back.id, chat.id);
  assert.deepEqual({ ...back, id: "" }, { ...chat, id: "" });
  assert.deepEqual(
    shownPath(back).map((turn) => turn.content),
    ["q", "a1"],
  );
});

test("Markdown has the shown branch", () => {
  const text =
    "# Depth\n\n**System:** Be brief.\n\n## User\n\na.txt\n```\nx\n```\n\nq\n\n## m\n\n> hm\n> yes\n\na1\n";
  assert.equal(exportMarkdown(example()), text);
});

const file = (turns: unknown[]) =>
  JSON.stringify({ format: "hadal-chats", version: 1, chats: [{ title: "t", turns: { ...turns } }] });

test("what is no export is refused with a reason", () => {
  for (const [source, reason] of [
    ["", /JSON/],
    ["[]", /object/],
    ["{}", /not an export/],
    [file([{ id: 0, parent: null }]), /without a number/],
    [file([{ id: 1, parent: 1 }]), /answers no earlier one/],
    [
      file([
        { id: 1, parent: 2 },
        { id: 2, parent: 1 },
      ]),
      /answers no earlier one/,
    ],
    [file([{ id: 3, parent: 2 }]), /missing/],
    [file([null]), /object/],
  ] as const) {
    assert.throws(() => importJson(source), reason, source);
  }
});

test("members of the wrong type are left out", () => {
  const turns = [{ id: 1, parent: null, role: "system", content: 5, attachments: "x", reasoning: {} }];
  const [chat] = importJson(file(turns));
  assert.deepEqual(chat?.turns[1], { id: 1, parent: null, role: "user", content: "", created: 0 });
});

test("a file's name has nothing that a file system dislikes", () => {
  assert.equal(fileName('a/b\\c: "d"?', "md"), "a-b-c-d.md");
  assert.equal(fileName("深海 …", "md"), "深海.md");
  assert.equal(fileName("../..", "md"), "chat.md");
});
