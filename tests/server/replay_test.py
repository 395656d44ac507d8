"""What --record has written is computed again to the bit by `hadal replay`; and --request-timeout, which ends what takes too long."""
import concurrent.futures
import json
import pathlib
import shutil
import struct
import subprocess
import time
from typing import Any

import support
from protocols import COMPACT_COLOUR_SCHEMA, thinking_model
from support import Server, ServerTest

PROMPT = "Once upon a time"
STREAM = {"prompt": PROMPT, "max_tokens": 480, "ignore_eos": True, "seed": 7, "stream": True}
COMPLETIONS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0},
    "seeded": {"temperature": 1.0, "seed": 5, "top_p": 0.9},
    "unseeded": {"temperature": 1.0, "min_p": 0.01, "presence_penalty": 0.5, "logit_bias": {"14": -3.5}},
    "many": {"temperature": 1.2, "seed": 18446744073709551615, "n": 2},
    "stopped": {"temperature": 0, "stop": [" was", "the"]},
    "echoed": {"temperature": 0, "echo": True, "logprobs": 2},
    "scored": {"max_tokens": 0, "echo": True, "logprobs": 0},
    "regex": {"temperature": 1.0, "seed": 3, "guided_regex": "( [a-z]+)+\\."},
    "one": {"temperature": 0, "max_tokens": 1},
}
MESSAGES = [{"role": "user", "content": "What colour is the ball?"}]
CHATS: dict[str, dict[str, Any]] = {
    "logprobs": {"temperature": 1.0, "seed": 1, "logprobs": True, "top_logprobs": 3},
    "schema": {"temperature": 0, "response_format": {"type": "json_schema", "json_schema": {"schema": COMPACT_COLOUR_SCHEMA}}},
    "thoughts": {"temperature": 0, "thinking_token_budget": 6},
    "held": {"temperature": 0, "thinking_token_budget": 4, "guided_json": COMPACT_COLOUR_SCHEMA},
}
NUM_RUNS = len(COMPLETIONS) + 1 + len(CHATS) + 2  # one has two choices; /generate; the one whose client goes
GOOD = ("stop", "length", "stop_string", "abort")


def read_lines(path: pathlib.Path, count: int) -> list[Any]:
    """When so many are there: a line is written before or after the client has its answer."""
    end = time.monotonic() + 30
    while (text := path.read_text() if path.exists() else "").count("\n") < count:
        assert time.monotonic() < end, text
        time.sleep(0.01)
    return [json.loads(line) for line in text.splitlines()]


def replay(*args: str | pathlib.Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [support.hadal, "replay", *args], capture_output=True, text=True, env=support.environment(), timeout=600
    )


def fill(server: Server) -> None:
    """One request of each kind, all at once, so that they share steps; and one whose client goes away."""

    def completion(name: str) -> None:
        body = {"prompt": PROMPT, "max_tokens": 20} | COMPLETIONS[name]
        assert server.ask("POST", "/v1/completions", body, {"X-Request-Id": name}).status == 200, name

    def chat(name: str) -> None:
        body = {"messages": MESSAGES, "max_tokens": 40} | CHATS[name]
        assert server.ask("POST", "/v1/chat/completions", body, {"X-Request-Id": name}).status == 200, name

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        runs = [pool.submit(completion, name) for name in COMPLETIONS] + [pool.submit(chat, name) for name in CHATS]
        for run in runs:
            run.result()
    body = {"text": PROMPT, "sampling_params": {"max_new_tokens": 8, "temperature": 0}}
    assert server.ask("POST", "/generate", body, {"X-Request-Id": "sglang"}).status == 200
    data = json.dumps(STREAM | {"user_id": "somebody"}).encode()
    with server.connect() as wire:
        wire.send(support.request("POST", "/v1/completions", data, ["X-Request-Id: gone"]))
        for _ in range(5):
            wire.read_until(b"data: ")


class Replay(ServerTest):
    """The recording is made once, by a model that thinks."""

    path: pathlib.Path
    lines: list[Any]

    @classmethod
    def setUpClass(cls) -> None:
        folder = cls.class_scratch()
        cls.path = folder / "record.jsonl"
        (folder / "thinker").mkdir()
        server = Server("--model", thinking_model(folder / "thinker"), "--record", cls.path).wait()
        try:
            fill(server)
            cls.lines = read_lines(cls.path, NUM_RUNS)
            assert server.stop() == 0, server.log
        finally:
            server.kill()

    def setUp(self) -> None:
        pass  # no server

    def tearDown(self) -> None:
        pass

    def of(self, request_id: str) -> Any:
        (line,) = [line for line in self.lines if line["id"] == request_id]
        return line

    def write(self, lines: list[Any]) -> pathlib.Path:
        path = self.scratch() / f"{self._testMethodName}.jsonl"
        path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
        return path

    def test_what_is_recorded(self) -> None:
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(len(self.lines), NUM_RUNS)
        for line in self.lines:
            self.assertIn(line["finish_reason"], GOOD)
            self.assertEqual(len(line["logprob_bits"]), len(line["tokens"]))
            logprobs = struct.unpack(f"{len(line['tokens'])}f", struct.pack(f"{len(line['tokens'])}I", *line["logprob_bits"]))
            self.assertTrue(all(x <= 0 for x in logprobs))
        self.assertEqual(sorted(line["index"] for line in self.lines if line["id"] == "many"), [0, 1])
        self.assertEqual(self.of("stopped")["finish_reason"], "stop_string")
        self.assertEqual(self.of("one")["finish_reason"], "length")
        self.assertEqual(self.of("gone")["finish_reason"], "abort")
        self.assertGreaterEqual(len(self.of("gone")["tokens"]), 1)
        self.assertEqual(self.of("held")["request"]["thinking_budget"], 4)
        scored = self.of("scored")
        self.assertEqual((len(scored["prompt_logprob_bits"]), scored["tokens"]), (len(scored["request"]["prompt"]) - 1, []))
        self.assertNotIn("somebody", self.path.read_text())

    def test_every_field_is_documented(self) -> None:
        page = (support.ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        section = page.split("## Record and replay", 1)[1].split("\n## ", 1)[0]
        line = self.of("held")
        fields = set(line) | set(line["model"]) | set(line["request"]) | set(line["request"]["constraint"])
        fields |= set(line["request"]["sampling"])
        missing = {name for name in fields if f"`{name}`" not in section and f"`request.{name}`" not in section}
        self.assertEqual(missing - {"request"}, set())

    def test_all_is_equal(self) -> None:
        for flags in ((), ("--max-num-seqs", "7"), ("--threads", "1")):
            done = replay(self.path, *flags)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertRegex(done.stdout, f"^{NUM_RUNS} equal, 0 different, 0 with nothing to compare; ")

    def test_one_request(self) -> None:
        done = replay(self.path, "--request-id", "many")
        self.assertEqual((done.returncode, done.stdout[:8]), (0, "2 equal,"), done.stderr)
        done = replay(self.path, "--request-id", "nobody")
        self.assertEqual(done.returncode, 1)
        self.assertIn("a record of request nobody", done.stderr)

    def test_a_changed_token_is_named(self) -> None:
        lines = json.loads(json.dumps(self.lines))
        number = next(i for i, line in enumerate(lines) if line["id"] == "greedy")
        was = lines[number]["tokens"][3]
        lines[number]["tokens"][3] = was ^ 1
        path = self.write(lines)
        done = replay(path)
        self.assertEqual(done.returncode, 1)
        self.assertIn(f"{path}:{number + 1}: greedy choice 0: token 3: recorded {was ^ 1}, computed {was}\n", done.stdout)
        self.assertIn(f"{NUM_RUNS - 1} equal, 1 different", done.stdout)

    def test_the_last_bit_of_a_number_counts(self) -> None:
        for request_id, key in (("seeded", "logprob_bits"), ("echoed", "prompt_logprob_bits")):
            line = json.loads(json.dumps(self.of(request_id)))
            line[key][2] ^= 1
            done = replay(self.write([line]))
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stdout, r" 2: recorded logprob -[0-9.e+-]+ \([0-9a-f]{8}\), computed -")

    def test_another_end_is_a_difference(self) -> None:
        line = json.loads(json.dumps(self.of("gone"))) | {"finish_reason": "stop"}
        done = replay(self.write([line]))
        self.assertEqual(done.returncode, 1)
        self.assertIn("tokens, computed", done.stdout)

    def test_another_model_is_refused(self) -> None:
        folder = self.scratch() / "other"
        shutil.copytree(support.TINY_CHAT, folder)
        (weights,) = folder.glob("*.safetensors")
        data = bytearray(weights.read_bytes())
        data[8 + int.from_bytes(data[:8], "little")] ^= 1
        weights.unlink()
        weights.write_bytes(data)
        for flags in (("--model", folder), ("--dtype", "float32"), ("--kv-cache-dtype", "fp8")):
            done = replay(self.path, *flags)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertRegex(done.stderr, r":1\n  recorded with another model\n  expected  thinker: .*\n  found     .*\n  hint")

    def test_bad_lines_are_named(self) -> None:
        good = self.of("one")
        for bad, message in (
            ("{", ":2"),
            ("[]", ":2"),
            ("x" * ((16 << 20) + 1), ":2\n  expected  at most 16777216 bytes"),
            (good | {"hadal_record": 2}, ":2\n  key       hadal_record\n  expected  a whole number from 1 to 1\n  found     2"),
            (good | {"tokens": ["\x1b[2J"]}, ":2\n  key       tokens"),
            (good | {"request": good["request"] | {"prompt": [4096]}}, ":2\nprompt\n  expected  token ids from 0 to 4095"),
            (good | {"request": good["request"] | {"prompt": [5] * 513}}, ":2\n  expected  at most 512 tokens"),
            (good | {"request": good["request"] | {"constraint": {"kind": "lark", "source": "("}}}, ":2\n"),
        ):
            done = replay(self.write([good, bad]))
            self.assertEqual(done.returncode, 1, message)
            self.assertIn(message, done.stderr)
            self.assertNotIn("\x1b", done.stderr)
            self.assertNotIn("different", done.stdout)

    def test_no_file(self) -> None:
        self.assertEqual(replay("/no/such/file").returncode, 1)
        self.assertEqual(replay().returncode, 2)
        done = replay(self.write([]))
        self.assertEqual(done.returncode, 1)
        self.assertIn("expected  a record\n  found     none", done.stderr)


class SharedAnswers(ServerTest):
    def test_they_are_not_recorded(self) -> None:
        for flag in ("--record", "--kv-cache-dir"):
            command = [support.hadal, "serve", "--cache-answers", flag, "/tmp/never_made"]
            done = subprocess.run(command, capture_output=True, text=True, env=support.environment(), timeout=60)
            self.assertEqual(done.returncode, 2)
            self.assertIn("--cache-answers\n  expected", done.stderr)

    def test_the_next_turn_finds_them(self) -> None:
        server = self.start("--cache-answers").wait()
        body = {"prompt": PROMPT, "max_tokens": 200, "ignore_eos": True, "temperature": 0, "return_token_ids": True}
        first = server.ask("POST", "/v1/completions", body).json()
        ids = first["choices"][0]["prompt_token_ids"] + first["choices"][0]["token_ids"]
        second = server.ask("POST", "/v1/completions", body | {"prompt": ids, "max_tokens": 4}).json()
        self.assertEqual(second["usage"]["prompt_cache_hit_tokens"], (len(ids) - 1) // 64 * 64)
        self.assertEqual(server.stop(), 0)


class FullDisk(ServerTest):
    def test_it_is_one_warning(self) -> None:
        server = self.start("--record", "/dev/full").wait()
        for _ in range(3):
            self.assertEqual(server.ask("POST", "/v1/completions", {"prompt": PROMPT, "max_tokens": 2}).status, 200)
        self.assertEqual(server.stop(), 0)
        self.assertEqual(sum("requests are not recorded" in line for line in server.log), 1, server.log)


class RequestTimeout(ServerTest):
    """So short a time that no answer is ready in it."""

    flags = ("--request-timeout", "0.001", "--max-num-seqs", "2")

    def test_one_answer(self) -> None:
        for path, body in (
            ("/v1/completions", {"prompt": PROMPT}),
            ("/v1/chat/completions", {"messages": MESSAGES}),
            ("/v1/responses", {"input": "Hello"}),
        ):
            reply = self.server.ask("POST", path, body | {"max_tokens": 400, "ignore_eos": True, "n": 1})
            self.assertEqual((reply.status, reply.json()["error"]["type"]), (504, "timeout_error"), path)
            self.assertIn("0.001 s", reply.json()["error"]["message"])
            self.assertEqual(reply.fields["x-should-retry"], "false")
        reply = self.server.ask("POST", "/v1/messages", {"messages": MESSAGES, "max_tokens": 400, "model": "x"})
        self.assertEqual((reply.status, reply.json()["error"]["type"]), (504, "timeout_error"))
        self.server.wait_idle(30)  # the pages are back

    def test_a_queue(self) -> None:
        body = {"prompt": PROMPT, "max_tokens": 400, "ignore_eos": True}
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            replies = list(pool.map(lambda _: self.server.ask("POST", "/v1/completions", body), range(12)))
        self.assertEqual({reply.status for reply in replies}, {504})

    def test_what_needs_no_engine_has_its_time(self) -> None:
        self.assertEqual(self.server.ask("POST", "/tokenize", {"prompt": PROMPT}).status, 200)

    def test_a_stream_ends_with_an_error(self) -> None:
        """/v1/completions begins its stream before the first token."""
        reply = self.server.ask("POST", "/v1/completions", STREAM)
        self.assertEqual(reply.status, 200)
        self.assertEqual(reply.events()[-1]["error"]["type"], "timeout_error")

    def test_enough_time_changes_nothing(self) -> None:
        server = self.start("--request-timeout", "3600").wait()
        body = {"prompt": PROMPT, "max_tokens": 5, "temperature": 0}
        self.assertEqual(server.post("/v1/completions", body)["choices"][0]["finish_reason"], "length")
        self.assertIn("504", server.get("/openapi.json")["paths"]["/v1/completions"]["post"]["responses"])
        self.assertEqual(server.stop(), 0)
