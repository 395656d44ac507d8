import "./page";
import assert from "node:assert/strict";
import { test } from "node:test";
import { addChunk, complete, requestBody, type Progress } from "../src/chat/completion";
import { NO_SAMPLING, type Turn } from "../src/chat/tree";

const turn = (role: "user" | "assistant", content: string): Turn => ({
  id: 1,
  parent: null,
  role,
  content,
  created: 0,
});
const settings = { system: " ", sampling: { ...NO_SAMPLING, top_p: 0.9 }, thinking: true };

test("a request has what was set and nothing else", () => {
  const path = [turn("user", "q"), { ...turn("assistant", "a"), reasoning: "thoughts" }, turn("user", "q2")];
  const messages = [
    { role: "user", content: "q" },
    { role: "assistant", content: "a" },
    { role: "user", content: "q2" },
  ];
  const common = { model: "m", messages, stream: true, stream_options: { include_usage: true }, top_p: 0.9 };
  assert.deepEqual(requestBody("m", "none", settings, path), common);
  assert.deepEqual(requestBody("m", "always", settings, path), common);
  assert.deepEqual(requestBody("m", "optional", settings, path), {
    ...common,
    thinking: { type: "enabled" },
  });
});

const none = (): Progress => ({ content: "", reasoning: "", queued: false });
const event = (value: unknown) => `data: ${JSON.stringify(value)}\n\n`;

test("chunks add up", () => {
  const progress = none();
  addChunk(
    progress,
    '{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"reasoning_content":"hm"}}]}',
  );
  addChunk(progress, '{"choices":[{"index":0,"delta":{"content":"yes"},"finish_reason":null}],"usage":null}');
  addChunk(progress, '{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}');
  addChunk(
    progress,
    '{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"prompt_cache_hit_tokens":1,"completion_tokens_details":{"reasoning_tokens":1}}}',
  );
  const usage = { prompt: 3, cached: 1, generated: 2, reasoning: 1 };
  assert.deepEqual(progress, { content: "yes", reasoning: "hm", queued: false, finish: "length", usage });
  assert.throws(() => addChunk(progress, '{"error":{"message":"no room"}}'), /no room/);
});

async function answered(body: string, status = 200) {
  globalThis.fetch = async () => new Response(body, { status });
  const seen: Progress[] = [];
  const last = await complete({}, new AbortController().signal, (progress) => seen.push({ ...progress }));
  return { last, seen };
}

test("an answer that does not end is an error, and so is one with a bad status", async () => {
  const chunk = event({ choices: [{ delta: { content: "x" }, finish_reason: null }] });
  const end = event({ choices: [{ delta: {}, finish_reason: "stop" }] });
  assert.equal((await answered(chunk + end + "data: [DONE]\n\n")).last.content, "x");
  assert.equal((await answered(chunk + end)).last.finish, "stop");
  await assert.rejects(answered(chunk), /ended before the answer/);
  await assert.rejects(answered('{"error":{"message":"too long"}}', 400), /too long/);
  await assert.rejects(answered("<html>", 502), /502/);
});

test("a comment before any text means waiting", async () => {
  const { seen } = await answered(": keep-alive\n\n" + "data: [DONE]\n\n");
  assert.equal(seen[0]?.queued, true);
});
