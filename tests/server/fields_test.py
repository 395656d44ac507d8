"""Every numeric field at and beyond its ends, and the requests that have killed other servers."""
import json
import time
from typing import Any

import support
from support import CONTEXT, VOCAB, ServerTest

MIB = 1 << 20
MOST = 2**31 - 1

# (lowest, highest) of the fields that all generating endpoints share; docs and /openapi.json say the same.
SAMPLING: dict[str, tuple[float, float]] = {
    "max_tokens": (0, MOST),
    "min_tokens": (0, MOST),
    "temperature": (0, 100),
    "top_p": (0, 1),
    "top_k": (-1, MOST),
    "min_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "repetition_penalty": (0, 100),
    "repeat_penalty": (0, 100),
    "seed": (-(2**63), 2**64 - 1),
    "n": (1, 128),
    "best_of": (1, 128),
    "priority": (-1000, 1000),
}
PROMPT = "Once upon a time"
ENDPOINTS: dict[str, tuple[dict[str, Any], dict[str, tuple[float, float]]]] = {
    "/v1/completions": (
        {"prompt": PROMPT, "max_tokens": 1},
        SAMPLING | {"logprobs": (0, 20), "prompt_logprobs": (0, 20)},
    ),
    "/v1/chat/completions": (
        {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 1, "logprobs": True},
        SAMPLING | {"max_completion_tokens": (0, MOST), "top_logprobs": (0, 20), "thinking_token_budget": (0, MOST)},
    ),
    "/generate": (
        {"text": PROMPT, "sampling_params": {"max_new_tokens": 1}},
        {"top_logprobs_num": (0, 20), "logprob_start_len": (-1, MOST)},
    ),
}
# Compiled and tokenised, computed, sent: nothing here has much of that. Twice what a test machine under load took.
QUICK_S = 20 if support.sanitized() else 2


class Numbers(ServerTest):
    def check(self, path: str, body: Any, allowed: tuple[int, ...]) -> int:
        start = time.monotonic()
        reply = self.server.ask("POST", path, body)
        seconds = time.monotonic() - start
        what = f"{path} {str(body)[:300]}: {reply.status} {reply.body[:300]!r}"
        self.assertIn(reply.status, allowed, what)
        self.assertLess(seconds, QUICK_S, what)
        if reply.status != 200:
            error = reply.json()["error"]
            self.assertTrue(error["message"], what)
        return reply.status

    def test_ranges(self) -> None:
        """Within: 200, or 400 where the context is too short for it. Beyond: 400 or 422. Another type: 400."""
        count = 0
        for path, (body, numbers) in ENDPOINTS.items():
            for name, (low, high) in numbers.items():
                for value in (low - 1, high * 2 + 1, -(2**31) - 2000, 2**70, 1e308, -1e308):
                    if low <= value <= high:
                        continue
                    self.check(path, body | {name: value}, (400, 422))
                for value in (low, high, 0, 1, 2**31, 2**63, -1, 0.5, 1.0):
                    self.check(path, body | {name: value}, (200, 400, 422))
                for value in ("1", [], {}, [1], {"a": 1}):
                    self.check(path, body | {name: value}, (400,))
                if name != "logprobs":  # true and 1 are not the same, but true is what the chat's logprobs takes
                    self.check(path, body | {name: True}, (400,))
                if name not in ("top_logprobs", "max_tokens"):
                    self.check(path, body | {name: None}, (200,))
                count += 20
        self.assertGreater(count, 500)

    def test_ends_of_ranges_are_taken(self) -> None:
        base = ENDPOINTS["/v1/completions"][0]
        for name, (low, high) in SAMPLING.items():
            for value in (low, high):
                exclusive = (name, value) in (("top_p", 0), ("repetition_penalty", 0), ("repeat_penalty", 0))
                alone = name == "best_of" and value != 1
                long = name == "max_tokens" and value != low
                empty = name == "max_tokens" and value == 0
                taken = not (exclusive or alone or long or empty)
                self.check("/v1/completions", base | {name: value}, (200,) if taken else (400, 422))

    def test_words_that_are_no_json(self) -> None:
        for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"01", b"0x10", b"1.", b".5", b"+1"):
            self.check("/v1/completions", b'{"prompt": "x", "max_tokens": 1, "temperature": %s}' % number, (400, 422))

    def test_sglang_sampling(self) -> None:
        for name, (low, high) in (SAMPLING | {"max_new_tokens": (0, MOST), "min_new_tokens": (0, MOST)}).items():
            for value in (low - 1, high * 2 + 1, 2**70, 1e308, "1", [], {}):
                body = {"text": "x", "sampling_params": {"max_new_tokens": 1} | {name: value}}
                self.check("/generate", body, (400, 422))

    def test_lists_of_numbers(self) -> None:
        base = {"max_tokens": 1}
        for ids in ([-1], [VOCAB], [2**31], [2**32], [2**63], [2**64], [1e308], [0.5], [None], [1, [2]], [1, "1"]):
            self.check("/v1/completions", base | {"prompt": ids}, (400,))
            self.check("/v1/completions", base | {"prompt": [ids, [5]]}, (400,))
            self.check("/v1/completions", base | {"prompt": "x", "stop_token_ids": ids}, (400, 422))
            self.check("/generate", {"input_ids": ids, "sampling_params": {"max_new_tokens": 1}}, (400,))
            self.check("/detokenize", {"tokens": ids}, (400, 422))
        for key in ("-1", str(VOCAB), str(2**32), str(2**64), "", "x", " 1", "1 ", "1.0"):
            self.check("/v1/completions", base | {"prompt": "x", "logit_bias": {key: 1}}, (422,))
        for value in ("1", None, [], 101, -101, 1e308):
            self.check("/v1/completions", base | {"prompt": "x", "logit_bias": {"5": value}}, (422,))


class OneRequest(ServerTest):
    """The kill list: each of these has ended some server of this kind, or taken all of its memory."""

    def refused(self, path: str, body: Any, *statuses: int, seconds: float = 5) -> dict[str, Any]:
        before, start = self.server.memory_bytes(), time.monotonic()
        reply = self.server.ask("POST", path, body)
        took = time.monotonic() - start
        what = (body if isinstance(body, bytes) else json.dumps(body).encode())[:200]
        self.assertIn(reply.status, statuses or (400, 422), (what, reply.body[:500]))
        self.assertLess(took, seconds * (20 if support.sanitized() else 1), what)
        if not support.sanitized():
            self.assertLess(self.server.memory_bytes() - before, 400 * MIB, what)
        self.assertEqual(self.server.ask("GET", "/health").status, 200, what)
        return reply.json()

    def complete(self, *statuses: int, seconds: float = 5, **fields: Any) -> Any:
        return self.refused("/v1/completions", {"prompt": "x", "max_tokens": 2} | fields, *statuses, seconds=seconds)

    def test_counts(self) -> None:
        self.complete(n=5_000_000)
        self.complete(n=129)
        self.complete(logprobs=10**9)
        self.complete(best_of=10**6)
        self.complete(prompt_logprobs=-1)
        self.complete(max_tokens=MOST)
        self.complete(200, min_tokens=MOST, max_tokens=4)
        self.complete(stop=["x"] * 100_000)
        self.complete(stop=["x" * 100_000])
        self.complete(stop_token_ids=[1] * 100_000)
        self.complete(logit_bias={str(i): 1 for i in range(5000)})
        self.complete(prompt=["x"] * 100_000)
        self.complete(prompt=[[5]] * 100_000)
        chat = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}
        self.refused("/v1/chat/completions", chat | {"logprobs": True, "top_logprobs": 10**9})
        self.refused("/v1/chat/completions", chat | {"messages": chat["messages"] * 100_000})
        tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
        self.refused("/v1/chat/completions", chat | {"tools": [tool] * 10_000})

    def test_more_answers_than_may_wait(self) -> None:
        """131,072 in one request: the queue is full long before, and what was queued is taken back."""
        self.complete(429, prompt=["x"] * 1024, n=128, max_tokens=1, seconds=30)
        self.server.wait_idle(30)

    def test_as_many_as_allowed(self) -> None:
        reply = self.complete(200, n=128, max_tokens=4, logprobs=20, seconds=60)
        self.assertEqual([choice["index"] for choice in reply["choices"]], list(range(128)))

    def test_nesting(self) -> None:
        for depth in (65, 1000, 100_000, 1_000_000):
            deep = b"[" * depth + b"]" * depth
            objects = b'{"a":' * depth + b"1" + b"}" * depth
            for value in (deep, objects, b"[" * depth, b'{"a":' * depth):
                self.refused("/v1/completions", b'{"prompt": "x", "max_tokens": 1, "user": %s}' % value, 400)
                self.refused("/v1/chat/completions", b'{"messages": %s}' % value, 400)
                self.refused("/generate", value, 400)

    def test_many_small_values(self) -> None:
        """What a parser does again for all of a list or object after each of its entries adds up."""
        self.refused("/v1/completions", b'{"messages": [' + b"{}," * 2_000_000 + b"{}]}", 400)
        self.refused("/v1/completions", b'{"messages": [' + b"[]," * 2_000_000 + b"[]]}", 400)
        keys = b",".join(b'"%x":1' % i for i in range(500_000))
        self.refused("/v1/completions", b'{"prompt": "x", "user": {%s}}' % keys, 400)
        objects = b",".join(b"{%s}" % keys[: keys.index(b'"fff":')].rstrip(b",") for _ in range(150))
        self.refused("/v1/completions", b'{"user": [%s]}' % objects, 400, seconds=15)

    def test_bodies(self) -> None:
        for body in (
            b"",
            b" ",
            b"null",
            b"[]",
            b'"x"',
            b"1",
            b"{",
            b"{}",
            b'{"prompt"}',
            b'{"prompt": "x",}',
            b'{"prompt": "x"} {}',
            b'{"prompt": "x", "prompt": "y"}',
            b'{"prompt": "\xff"}',
            b'{"prompt": "\xc0\xaf"}',
            b'{"prompt": "\xed\xa0\x80"}',
            b'{"prompt": "\\ud800"}',
            b'{"prompt": "\\udc00\\ud800"}',
            b'{"prompt": "x\n"}',
            b"\xef\xbb\xbf{",
            b'{"prompt": 1}',
            b'{"prompt": null}',
            b'{"prompt": {}}',
            b'{"prompt": []}',
            b'{"prompt": [[]]}',
            b'{"prompt": [null]}',
            b'{"prompt": [true]}',
            b'{"prompt": ["x", 1]}',
            b'{"prompt": [1, "x"]}',
        ):
            for path in ("/v1/completions", "/v1/chat/completions", "/generate", "/tokenize", "/detokenize"):
                if path == "/tokenize" and body in (b'{"prompt": []}',):
                    continue
                self.refused(path, body, 400)

    def test_empty_prompts(self) -> None:
        """Without a BOS there is nothing to compute; with one there is."""
        self.complete(400, prompt="", add_special_tokens=False)
        self.complete(400, prompt=["x", ""], add_special_tokens=False)
        self.assertEqual(self.complete(200, prompt="")["usage"]["prompt_tokens"], 1)
        self.refused("/v1/chat/completions", {"messages": []}, 400, 422)

    def test_messages(self) -> None:
        user = {"role": "user", "content": "x"}
        for messages in (
            [1],
            [None],
            [[]],
            [{}],
            [{"role": "user"}, 5],
            [{"role": 5, "content": "x"}],
            [{"role": "wizard", "content": "x"}],
            [{"role": "user", "content": 5}],
            [{"role": "user", "content": {"text": "x"}}],
            [{"role": "user", "content": [5]}],
            [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}]}],
            [{"role": "user", "content": [{"type": "text"}]}],
            [{"role": "user", "content": [{"type": 5, "text": "x"}]}],
            [user, {"role": "assistant", "tool_calls": 5}],
            [user, {"role": "assistant", "tool_calls": [5]}],
            [user, {"role": "assistant", "tool_calls": [{"function": 5}]}],
            [user, {"role": "assistant", "tool_calls": [{"function": {"name": 5, "arguments": []}}]}],
            [user | {"prefix": True}],
        ):
            self.refused("/v1/chat/completions", {"messages": messages, "max_tokens": 1}, 400, 422)

    def test_wrong_types_everywhere(self) -> None:
        """No value of any type in any field is more than a 400 or 422, or is ignored."""
        chat = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        names = (
            "model messages prompt suffix echo stop stop_token_ids ignore_eos include_stop_str_in_output "
            "skip_special_tokens logit_bias stream stream_options response_format structured_outputs guided_json "
            "guided_regex guided_choice guided_grammar json_schema regex ebnf cache_salt user_id tools tool_choice "
            "parallel_tool_calls thinking reasoning_effort chat_template_kwargs separate_reasoning include_reasoning "
            "add_generation_prompt continue_final_message return_tokens_as_token_ids return_token_ids user metadata"
        ).split()
        values: list[Any] = [0, -1, 1.5, "", "x", True, [], [5], [None], ["x"], [[]], {}, {"type": 5}, {"type": "x"}]
        values += [{"x": None}, {"type": "json_schema", "json_schema": 5}, [{"type": "function"}], {"include_usage": 5}]
        values += [[{"type": "function", "function": {"name": 5}}], {"json": 5}, {"choice": [5]}, {"function": 5}]
        for name in names:
            for value in values:
                for path, base in (("/v1/chat/completions", chat), ("/v1/completions", {"prompt": "x", "max_tokens": 1})):
                    reply = self.server.ask("POST", path, base | {name: value})
                    self.assertIn(reply.status, (200, 400, 422), (path, name, value, reply.body[:300]))

    def test_schemas(self) -> None:
        def deep(depth: int) -> Any:
            schema: Any = {"type": "string"}
            for _ in range(depth):
                schema = {"type": "object", "properties": {"a": schema}, "required": ["a"]}
            return schema

        cyclic = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
        for schema in (
            deep(40),
            {"type": "nothing"},
            {"type": 5},
            {"$ref": "http://127.0.0.1:1/schema.json"},
            {"$ref": "file:///etc/passwd"},
            {"$ref": "#/nowhere"},
            cyclic,
            {"type": "string", "pattern": "("},
            {"type": "string", "pattern": "(?=a)b"},
            {"enum": []},
            {"type": "integer", "minimum": 5, "maximum": 4},
        ):
            self.complete(400, 422, structured_outputs={"json": schema}, seconds=10)
            response_format = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
            self.complete(400, 422, response_format=response_format, seconds=10)

    def test_large_schemas(self) -> None:
        """Refused, or used, within some time."""
        alternatives = {"enum": [f"{i:06d}" for i in range(20_000)]}
        properties = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(2000)}}
        branches = {"anyOf": [{"type": "object", "properties": {f"k{i}": {"type": "integer"}}} for i in range(2000)]}
        repeated = {"type": "string", "pattern": "(a{1,1000}){1,1000}"}
        counts = [{"type": "array", "maxItems": 10**9}, {"type": "array", "minItems": 10**9}, {"type": "string", "minLength": 10**9}]
        for schema in (alternatives, properties, branches, repeated, *counts):
            self.complete(200, 400, 422, structured_outputs={"json": schema}, seconds=15)
        self.complete(422, guided_regex="a" * 300_000)
        self.complete(400, 422, structured_outputs={"json": {"description": "x" * 300_000}})

    def test_regular_expressions(self) -> None:
        """None of those that make backtracking engines count for ever; what is no expression is refused."""
        for regex in ("(", "[", "a{2", "(?<=a)b", "(?=a)b", "\\1", "(?P<a", "a{5,2}", "\\p{Nothing}"):
            self.complete(400, guided_regex=regex, seconds=10)
        for regex in ("a{100000}{100000}", "(a+)+$", "(a|a)*b", "(a|aa)+c", "(.*)*x", "(x+x+)+y", "((a*)*)*", "[a-z]{1,50}" * 20):
            self.complete(200, 400, guided_regex=regex, max_tokens=20, seconds=20)

    def test_grammars(self) -> None:
        nested = "start: " + "(" * 60_000 + '"a"' + ")" * 60_000
        for grammar in ("", "start", "start: start", "nothing: a", 'start: "a', nested, "start: x\n" * 1000):
            self.complete(400, 422, guided_grammar=grammar, seconds=10)
        for grammar in ('start: "a" start | "b"', 'start: start start | "a"', 'start: a a a\na: b b b\nb: "x"*'):
            self.complete(200, 400, guided_grammar=grammar, seconds=10)

    def test_long_runs(self) -> None:
        """One letter, space, digit or emoji a million times: no recursion, no square of it, one clear message."""
        for piece in ("a", " ", "1", "\n", "é", "中", "\U0001f600", "a1", "<", "'s", "\u0301", "<｜User｜>", "\\", "\x00"):
            text = piece * (MIB // len(piece.encode()))
            body = json.dumps({"prompt": text, "max_tokens": 1}, ensure_ascii=False).encode()
            error = self.refused("/v1/completions", body, 400, seconds=15)["error"]
            self.assertRegex(
                error["message"],
                rf"^This model's maximum context length is {CONTEXT} tokens\. However, you requested \d+ tokens "
                rf"\(\d+ in the messages, 1 in the completion\)\. Please reduce the length",
            )
            self.assertGreater(error["n_prompt_tokens"], CONTEXT)
            self.assertEqual(error["n_ctx"], CONTEXT)
        self.assertEqual(self.server.ask("POST", "/tokenize", body).status, 200)
        self.refused("/v1/chat/completions", {"messages": [{"role": "user", "content": text}]}, 400)

    def test_long_context_is_refused_not_cut(self) -> None:
        ids = [5] * (CONTEXT + 1)
        self.complete(400, prompt=ids)
        self.complete(400, prompt=ids[:CONTEXT], max_tokens=1)
        self.complete(200, prompt=ids[: CONTEXT - 1], max_tokens=1)
        self.complete(400, prompt=ids[: CONTEXT - 1], max_tokens=2)

    def test_unknown_fields_are_ignored(self) -> None:
        self.complete(200, store=True, metadata={"a": "b"}, service_tier="auto", nothing=[1, {"x": None}])
