"""What operators see of the server: metrics, status, the request log; and that nothing of a prompt is in them."""

import json
import pathlib
import re
import subprocess
import tempfile
import time
from typing import Any

import support
from support import CONTEXT, ROOT, Reply, ServerTest

CANARY = "canary7f3a"
NUM_EXPERTS, EXPERTS_PER_TOKEN, MOE_LAYERS = 16, 4, [1, 2, 3]  # of the built-in model
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{[^}]*\})? (\S+)")


def parse_metrics(text: str) -> tuple[dict[str, float], dict[str, str]]:
    """The samples by name and labels, and the families' types; every line must be of the format."""
    samples: dict[str, float] = {}
    types: dict[str, str] = {}
    helps = set()
    for line in text.splitlines():
        if line.startswith("# HELP "):
            helps.add(line.split(" ")[2])
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            types[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            samples[found[1] + (found[2] or "")] = float(found[3])
    assert helps == set(types), helps ^ set(types)
    return samples, types


def numbers(server: support.Server) -> dict[str, float]:
    samples, _ = parse_metrics(server.ask("GET", "/metrics").body.decode())
    return {
        name.replace('{model_name="tiny-chat"}', "")
        .replace(',model_name="tiny-chat"', "")
        .replace('model_name="tiny-chat",', ""): x
        for name, x in samples.items()
    }


def documented_metrics() -> set[str]:
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `(hadal:\w+)` \|", page, re.M))


class MetricsTest(ServerTest):
    def test_a_request_is_counted_once_everywhere(self) -> None:
        before = numbers(self.server)
        reply = self.server.post(
            "/v1/completions", {"prompt": [5, 6, 7, 8, 9], "max_tokens": 6, "ignore_eos": True, "n": 2}
        )
        self.assertEqual(reply["usage"]["completion_tokens"], 12)
        self.server.wait_idle()
        after = numbers(self.server)
        grown = {name: after[name] - before.get(name, 0) for name in after}
        self.assertEqual(grown["hadal:generation_tokens_total"], 12)
        self.assertEqual(grown["hadal:prompt_tokens_total"], 10)  # each choice reads the prompt
        self.assertEqual(grown["hadal:prefix_cache_queries_total"], 10)
        self.assertEqual(grown['hadal:request_success_total{finished_reason="length"}'], 2)
        self.assertEqual(grown['hadal:http_requests_total{route="/v1/completions",status="200"}'], 1)
        for name in (
            "time_to_first_token_seconds",
            "e2e_request_latency_seconds",
            "request_queue_time_seconds",
            "request_prompt_tokens",
            "request_generation_tokens",
            "request_prefill_time_seconds",
        ):
            self.assertEqual(grown[f"hadal:{name}_count"], 2, name)
        self.assertEqual(grown["hadal:request_generation_tokens_sum"], 12)
        self.assertLessEqual(grown["hadal:inter_token_latency_seconds_count"], 10)
        self.assertEqual(after["hadal:num_requests_running"], 0)
        self.assertEqual(after["hadal:kv_cache_usage_perc"] > 1, False)

    def test_stop_strings_streams_and_refusals(self) -> None:
        before = numbers(self.server)
        body = {"messages": [{"role": "user", "content": "Tell me a story"}], "max_tokens": 60, "temperature": 0}
        text = self.server.post("/v1/chat/completions", body)["choices"][0]["message"]["content"]
        word = text.split()[2]
        self.server.post("/v1/chat/completions", body | {"stop": word})
        self.assertEqual(self.server.ask("POST", "/v1/chat/completions", {"messages": 3}).status, 400)
        self.assertEqual(self.server.ask("GET", f"/{CANARY}").status, 404)
        self.server.wait_idle()
        after = numbers(self.server)
        ends = [after[name] - before[name] for name in after if name.startswith("hadal:request_success_total")]
        self.assertEqual(sum(ends), 2)
        stopped = 'hadal:request_success_total{finished_reason="stop"}'
        self.assertGreaterEqual(after[stopped] - before[stopped], 1)
        for status in ("200", "400"):
            self.assertIn(f'hadal:http_requests_total{{route="/v1/chat/completions",status="{status}"}}', after)
        self.assertIn('hadal:http_requests_total{route="unknown",status="404"}', after)

    def test_the_page_and_the_dashboard_name_what_is_there(self) -> None:
        self.server.get("/v1/models")
        reply = self.server.ask("GET", "/metrics")
        self.assertEqual(reply.fields["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        _, types = parse_metrics(reply.body.decode())
        self.assertEqual(documented_metrics(), set(types))
        dashboard = json.loads((ROOT / "packaging" / "grafana-dashboard.json").read_text(encoding="utf-8"))
        known = set(types) | {
            f"{name}{end}"
            for name, kind in types.items()
            if kind == "histogram"
            for end in ("_bucket", "_sum", "_count")
        }
        queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
        self.assertGreater(len(queries), 8)
        used = {name for query in queries for name in re.findall(r"hadal:\w+", query)}
        self.assertEqual(used - known, set())

    def test_who_may_see_them(self) -> None:
        closed = self.start("--api-key", "k").wait()
        self.assertEqual(closed.ask("GET", "/metrics").status, 401)
        self.assertEqual(closed.ask("GET", "/metrics", fields={"Authorization": "Bearer k"}).status, 200)
        self.assertEqual(closed.ask("GET", "/api/status").status, 401)
        info = closed.get("/api/info")
        self.assertTrue(info["auth"])
        opened = self.start("--api-key", "k", "--metrics-open").wait()
        self.assertEqual(opened.ask("GET", "/metrics").status, 200)
        self.assertEqual(opened.ask("GET", "/v1/models").status, 401)
        off = self.start("--disable-metrics").wait()
        self.assertEqual(off.ask("GET", "/metrics").status, 404)


class StatusTest(ServerTest):
    flags = ("--max-queued-requests", "7", "--max-num-seqs", "3")

    def test_info(self) -> None:
        info = self.server.get("/api/info")
        self.assertEqual(
            info["model"], {"id": "tiny-chat", "context_length": CONTEXT, "thinking": info["model"]["thinking"]}
        )
        self.assertIn(info["model"]["thinking"], ("none", "always", "optional"))
        self.assertEqual((info["auth"], info["accounts"], info["defaults"]["max_tokens"]), (False, False, None))

    def test_experts_are_those_of_every_token(self) -> None:
        before = self.server.get("/api/status")
        self.assertEqual([row["layer"] for row in before["experts"]], MOE_LAYERS)
        self.server.post(
            "/v1/completions", {"prompt": [11, 12, 13, 14, 15, 16, 17], "max_tokens": 5, "ignore_eos": True}
        )
        self.server.wait_idle()
        after = self.server.get("/api/status")
        computed = 7 + 5 - 1  # the last token is drawn, not computed
        for old, new in zip(before["experts"], after["experts"], strict=True):
            self.assertEqual(len(new["counts"]), NUM_EXPERTS)
            self.assertEqual(sum(new["counts"]) - sum(old["counts"]), computed * EXPERTS_PER_TOKEN)
        self.assertEqual(after["tokens"]["generated"] - before["tokens"]["generated"], 5)
        self.assertEqual(after["tokens"]["prompt"] - before["tokens"]["prompt"], 7)
        self.assertEqual((after["max_num_seqs"], after["max_queued"], after["speculation"]), (3, 7, None))
        self.assertEqual(after["kv_pages"]["page_size"], 64)
        self.assertLessEqual(after["kv_pages"]["used"], after["kv_pages"]["total"])

    def test_speed_is_of_now(self) -> None:
        body = {"prompt": [5] * 8, "max_tokens": 400, "ignore_eos": True}
        start = time.monotonic()
        while time.monotonic() < start + 1.2:
            self.server.post("/v1/completions", body)
        self.assertGreater(self.server.get("/api/status")["tok_s"]["generated"], 1)
        time.sleep(0.6)
        self.server.get("/api/status")
        time.sleep(0.6)
        self.assertEqual(self.server.get("/api/status")["tok_s"]["generated"], 0)

    def test_speculation(self) -> None:
        server = self.start("--speculative-algorithm", "mtp").wait()
        server.post("/v1/completions", {"prompt": [11, 12, 13], "max_tokens": 9, "ignore_eos": True})
        status = server.get("/api/status")
        self.assertGreater(status["speculation"]["drafted"], 0)
        self.assertEqual([row["layer"] for row in status["experts"]], [*MOE_LAYERS, 4])
        self.assertGreater(sum(status["experts"][-1]["counts"]), 0)


class RequestLogTest(ServerTest):
    def read(self, path: pathlib.Path, count: int) -> list[dict[str, Any]]:
        for _ in range(200):  # a line is written after the answer has gone out
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            if len(lines) >= count:
                return [json.loads(line) for line in lines]
            time.sleep(0.02)
        self.fail(f"{len(lines)} lines of {count}")

    def test_fields(self) -> None:
        path = self.scratch() / "requests.jsonl"
        server = self.start("--request-log", path).wait()
        body = {"prompt": [5, 6, 7], "max_tokens": 4, "ignore_eos": True, "n": 2}
        server.ask("POST", "/v1/completions", body, {"X-Request-Id": "mine-1"})
        server.ask("POST", "/v1/completions", {"prompt": 7})
        server.ask("GET", "/nothing")
        first, refused, unknown = self.read(path, 3)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        expected = {
            "id": "mine-1",
            "method": "POST",
            "route": "/v1/completions",
            "status": 200,
            "model": "tiny-chat",
            "key": None,
            "stream": False,
            "prompt_tokens": 3,
            "cached_tokens": 0,
            "completion_tokens": 8,
            "reasoning_tokens": 0,
            "finish_reasons": ["length", "length"],
        }
        self.assertEqual({name: first[name] for name in expected}, expected)
        self.assertRegex(first["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertTrue(0 <= first["queue_ms"] <= first["ttft_ms"] <= first["total_ms"], first)
        self.assertEqual((refused["status"], refused["route"]), (400, "/v1/completions"))
        self.assertNotIn("prompt_tokens", refused)
        self.assertEqual((unknown["status"], unknown["route"]), (404, "unknown"))
        page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
        section = page.split("## The request log", 1)[1].split("\n## ", 1)[0]
        documented = set(re.findall(r"^\| `(\w+)` \|", section, re.M))
        self.assertEqual(documented, set(first) | {"body"})

    def test_who_hangs_up(self) -> None:
        path = self.scratch() / "requests.jsonl"
        server = self.start("--request-log", path).wait()
        body = json.dumps({"prompt": [5], "max_tokens": 500, "ignore_eos": True, "stream": True}).encode()
        with server.connect() as wire:
            wire.send(support.request("POST", "/v1/completions", body)).read_until(b"data: ")
        (line,) = self.read(path, 1)
        self.assertEqual((line["status"], line["finish_reasons"], line["stream"]), (499, ["abort"], True))
        self.assertEqual(numbers(server)['hadal:request_success_total{finished_reason="abort"}'], 1)

    def test_a_full_disk_is_a_warning(self) -> None:
        for path in ("/dev/full", self.scratch() / "no" / "such" / "folder"):
            server = self.start("--request-log", path).wait()
            for _ in range(3):
                self.assertEqual(server.ask("GET", "/health").status, 200)
            self.assertEqual(server.stop(), 0)
            self.assertEqual(sum("requests are not logged" in line for line in server.log), 1, server.log)

    def test_prompts_are_logged_on_demand_only(self) -> None:
        path = self.scratch() / "requests.jsonl"
        server = self.start("--request-log", path, "--log-prompts").wait()
        server.post("/v1/completions", {"prompt": CANARY, "max_tokens": 1})
        (line,) = self.read(path, 1)
        self.assertEqual(json.loads(line["body"])["prompt"], CANARY)
        done = subprocess.run(
            [support.hadal, "serve", "--log-prompts"], capture_output=True, env=support.environment(), timeout=60
        )
        self.assertEqual(done.returncode, 2)


class CanaryTest(ServerTest):
    """A word that clients send in every place; it comes back in answers to them at most."""

    def bodies(self) -> list[tuple[str, Any]]:
        schema = {"type": "object", "properties": {CANARY: {"type": "integer"}}, "required": [CANARY]}
        tool = {"type": "function", "function": {"name": f"f_{CANARY}", "description": CANARY, "parameters": schema}}
        chat: dict[str, Any] = {"messages": [{"role": "user", "content": CANARY}], "max_tokens": 4, "user_id": CANARY}
        call = {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": CANARY})}}
            ],
        }
        return [
            ("/v1/chat/completions", chat),
            ("/v1/chat/completions", chat | {"stream": True}),
            ("/v1/chat/completions", chat | {"tools": [tool]}),
            (
                "/v1/chat/completions",
                chat
                | {"messages": [*chat["messages"], call, {"role": "tool", "tool_call_id": "c1", "content": CANARY}]},
            ),
            (
                "/v1/chat/completions",
                chat | {"response_format": {"type": "json_schema", "json_schema": {"name": CANARY, "schema": schema}}},
            ),
            ("/v1/completions", {"prompt": CANARY, "max_tokens": 4, "stop": CANARY}),
            ("/generate", {"text": CANARY, "sampling_params": {"max_new_tokens": 3}}),
            ("/tokenize", {"prompt": CANARY}),
        ]

    def refused(self) -> list[tuple[str, Any]]:
        """Bodies that are wrong, with the word where prompts are."""
        chat: dict[str, Any] = {"messages": [{"role": "user", "content": CANARY}], "max_tokens": 4}
        return [
            ("/v1/chat/completions", chat | {"temperature": 1000}),
            ("/v1/chat/completions", chat | {"messages": CANARY}),
            ("/v1/chat/completions", chat | {"messages": [{"role": "user", "content": {"text": CANARY}}]}),
            ("/v1/chat/completions", chat | {"max_tokens": 100000}),
            ("/v1/completions", {"prompt": {CANARY: 1}}),
            ("/v1/completions", {"prompt": CANARY * 2000, "max_tokens": 4}),
            ("/v1/completions", f'{{"prompt": "{CANARY}'.encode()),
            ("/v1/completions", f'{{"prompt": {CANARY}}}'.encode()),
            ("/v1/completions", {"prompt": CANARY, "guided_regex": "("}),
            ("/generate", {"text": [CANARY, 3]}),
            ("/detokenize", {"tokens": [CANARY]}),
        ]

    def test_nowhere(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "requests.jsonl"
            server = support.Server("--request-log", path, "--api-key", "k")
            self.addCleanup(server.kill)
            server.wait()
            fields = {
                "Authorization": "Bearer k",
                "X-Custom": CANARY,
                "User-Agent": CANARY,
                "X-Request-Id": f"{CANARY} {CANARY}",
            }
            for where, body in self.bodies():
                self.assertEqual(server.ask("POST", where, body, fields).status, 200, body)
            replies: list[tuple[Any, Reply]] = []
            for where, body in self.refused():
                replies.append((body, server.ask("POST", where, body, fields)))
            replies.append(("a key", server.ask("GET", "/v1/models", fields={"Authorization": f"Bearer {CANARY}"})))
            server.ask("GET", f"/v1/models/{CANARY}?q={CANARY}", fields=fields)
            server.ask("GET", f"/{CANARY}", fields=fields)
            server.ask(CANARY, "/health", fields=fields)
            seen = b"".join(
                server.ask("GET", page, fields=fields).body
                for page in ("/metrics", "/api/status", "/server_info", "/openapi.json")
            )
            self.assertEqual(server.stop(), 0)
            log = path.read_text(encoding="utf-8")
        self.assertGreater(len(log.splitlines()), 20)
        for text in (seen.decode(), log, "".join(server.log)):
            self.assertNotIn(CANARY, text)
        for body, reply in replies:
            self.assertIn(reply.status, range(400, 500), body)
            self.assertNotIn(CANARY, reply.body.decode(), body)
