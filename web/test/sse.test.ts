import assert from "node:assert/strict";
import { test } from "node:test";
import { SseParser, type SseEvent } from "../src/lib/sse";

const STREAM =
  ": keep-alive\n\n" +
  'data: {"a":"深海 🌊"}\n\n' +
  "event: error\r\ndata: one\r\ndata:two\r\n\r\n" +
  "data\rid: 7\r\r" +
  "unknown: x\n\n" +
  "data: [DONE]\n\n";
// By the WHATWG's rules for event streams.
const EXPECTED: SseEvent[] = [
  { event: "message", data: '{"a":"深海 🌊"}' },
  { event: "error", data: "one\ntwo" },
  { event: "message", data: "" },
  { event: "message", data: "[DONE]" },
];
const bytes = new TextEncoder().encode(STREAM);

test("a stream in one piece", () => {
  const parser = new SseParser();
  assert.deepEqual(parser.push(bytes), EXPECTED);
  assert.equal(parser.comments, 1);
});

test("a stream cut in two at every byte", () => {
  for (let cut = 0; cut <= bytes.length; cut++) {
    const parser = new SseParser();
    assert.deepEqual(
      [...parser.push(bytes.slice(0, cut)), ...parser.push(bytes.slice(cut))],
      EXPECTED,
      `cut at ${cut}`,
    );
  }
});

test("a stream byte by byte", () => {
  const parser = new SseParser();
  assert.deepEqual(
    [...bytes].flatMap((_, i) => parser.push(bytes.slice(i, i + 1))),
    EXPECTED,
  );
});

test("an event that is not finished is none", () => {
  assert.deepEqual(new SseParser().push(new TextEncoder().encode("data: x\n")), []);
});
