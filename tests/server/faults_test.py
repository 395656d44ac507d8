"""What goes wrong in a machine room: the process is killed, told to end, out of disk; and that it says what it refused."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import http.client
import itertools
import json
import math
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable

import support
from support import Server, ServerTest, keys, request

MICRO = 10**6
BALANCE = 1000  # of each key
PRICES = ("0.07", "0.27", "1.10")  # cache hit, cache miss, output; a million tokens
PRICES_MICRO = (70_000, 270_000, 1_100_000)
PROGRESS_TOKENS = 64  # docs/platform.md: what a killed server may lose of an answer is less
READY_S = 60.0
OPEN, SETTLED = 0, 1  # states of the ledger's rows


def make_accounts(database: pathlib.Path, count: int) -> list[str]:
    """So many keys with a balance, and prices for everything."""
    made = [keys(database, "create", "--name", f"client {i}", "--balance", str(BALANCE)) for i in range(count)]
    keys(database, "prices", "--set", "*", *PRICES)
    return made


def key_id(key: str) -> str:
    return key.removeprefix("sk-hadal-")[:10]


def headers(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}


def cost_of(row: sqlite3.Row) -> int:
    tokens = (row["hit_tokens"], row["miss_tokens"], row["completion_tokens"])
    return math.ceil(sum(n * price for n, price in zip(tokens, PRICES_MICRO, strict=True)) / MICRO)


class Ledger:
    """The database as it lies on the disk, in a copy, so that nobody but its server mends it."""

    def __init__(self, database: pathlib.Path) -> None:
        with tempfile.TemporaryDirectory(prefix="hadal_ledger_") as folder:
            copy = pathlib.Path(folder) / "accounts.db"
            for end in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy(f"{database}{end}", f"{copy}{end}")
            with contextlib.closing(sqlite3.connect(copy)) as db:
                db.row_factory = sqlite3.Row
                self.integrity = [row[0] for row in db.execute("PRAGMA integrity_check")]
                self.rows = db.execute("SELECT * FROM ledger").fetchall()
                self.keys = {row["id"]: row for row in db.execute("SELECT * FROM keys")}
                self.usage = db.execute(
                    "SELECT key_id, SUM(requests) AS requests, SUM(hit_tokens + miss_tokens) AS prompt_tokens, "
                    "SUM(completion_tokens) AS completion_tokens, SUM(cost) AS cost FROM usage GROUP BY key_id"
                ).fetchall()

    def check_sums(self, test: ServerTest) -> None:
        """What left the balances is the sum of the costs, which is the sum of the usage; held is what is open."""
        test.assertEqual(self.integrity, ["ok"])
        settled = [row for row in self.rows if row["state"] != OPEN]
        for row in settled:
            test.assertEqual(row["cost"], cost_of(row), dict(row))
        usage = {row["key_id"]: row for row in self.usage}
        for key, account in self.keys.items():
            mine = [row for row in settled if row["key_id"] == key]
            test.assertEqual(account["topped_up"], BALANCE * MICRO - sum(row["cost"] for row in mine), key)
            unsettled = [row for row in self.rows if row["key_id"] == key and row["state"] == OPEN]
            test.assertEqual(account["held"], sum(row["held"] for row in unsettled))
            if mine:
                sums = usage[key]
                test.assertEqual((sums["requests"], sums["cost"]), (len(mine), sum(row["cost"] for row in mine)))
                test.assertEqual(sums["completion_tokens"], sum(row["completion_tokens"] for row in mine))
                test.assertEqual(
                    sums["prompt_tokens"], sum(row["hit_tokens"] + row["miss_tokens"] for row in mine)
                )


@dataclasses.dataclass
class Asked:
    """A request as its client saw it; no other one of its key may take as many tokens, so its row is known by them."""

    key: str
    prompt_tokens: int
    max_tokens: int
    seen_tokens: int = 0
    is_complete: bool = False  # the last byte was seen


class Client:
    """Asks one thing after the other, until the server is gone."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.asked: list[Asked] = []

    def run(self, server: Server) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            short, long = random.sample(range(4, 100), 96), random.sample(range(100, 400), 96)
            for total in itertools.chain.from_iterable(zip(short[::2], short[1::2], long, strict=False)):
                prompt_tokens = random.randint(2, min(total - 1, 60))
                self.ask(server, Asked(key_id(self.key), prompt_tokens, total - prompt_tokens))

    def ask(self, server: Server, asked: Asked) -> None:
        self.asked.append(asked)
        stream = random.random() < 0.7
        body = {
            "prompt": [random.randrange(10, support.VOCAB) for _ in range(asked.prompt_tokens)],
            "max_tokens": asked.max_tokens,
            "ignore_eos": True,
            "stream": stream,
            "return_token_ids": True,
        }
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=support.ANSWER_S)
        try:
            connection.request("POST", "/v1/completions", json.dumps(body), headers(self.key))
            response = connection.getresponse()
            assert response.status == 200, response.read()
            if not stream:
                asked.seen_tokens = json.loads(response.read())["usage"]["completion_tokens"]
                asked.is_complete = True
                return
            for line in response:
                if line == b"data: [DONE]\n":
                    asked.is_complete = True
                elif line.startswith(b"data: "):
                    asked.seen_tokens += sum(len(c["token_ids"]) for c in json.loads(line[6:])["choices"])
        finally:
            connection.close()


class Killed(ServerTest):
    NUM_CLIENTS = 8

    def check_answers(self, ledger: Ledger, clients: list[Client]) -> collections.Counter[str]:
        """Each answer against its row; how many there are of each kind."""
        rows: dict[tuple[str, int], list[sqlite3.Row]] = {}
        for row in ledger.rows:
            rows.setdefault((row["key_id"], row["held_tokens"]), []).append(row)
        found: collections.Counter[str] = collections.Counter()
        for asked in (each for client in clients for each in client.asked):
            mine = rows.pop((asked.key, asked.prompt_tokens + asked.max_tokens), [])
            self.assertLessEqual(len(mine), 1, asked)
            if not mine:
                self.assertEqual((asked.seen_tokens, asked.is_complete), (0, False), asked)
                found["never admitted"] += 1
                continue
            row = mine[0]
            charged, prompt = row["completion_tokens"], row["hit_tokens"] + row["miss_tokens"]
            if asked.is_complete:
                self.assertEqual((row["state"], prompt), (SETTLED, asked.prompt_tokens), asked)
                self.assertEqual((charged, asked.seen_tokens), (asked.max_tokens, asked.max_tokens))
            else:  # the rule for what was cut
                self.assertGreater(charged, asked.seen_tokens - PROGRESS_TOKENS, asked)
                self.assertIn(prompt, (asked.prompt_tokens,) if asked.seen_tokens else (0, asked.prompt_tokens))
            found["complete" if asked.is_complete else "cut"] += 1
        self.assertEqual(rows, {}, "rows of nobody")
        return found

    def test_the_ledger_is_exact(self) -> None:
        """kill -9 at random moments, again and again on the same database."""
        database = self.scratch() / "accounts.db"
        clients: list[Client] = []
        open_rows, found = 0, collections.Counter[str]()
        rounds = 20 if support.long else 5
        for number in range(rounds):
            fresh = [Client(key) for key in make_accounts(database, self.NUM_CLIENTS)]
            clients += fresh
            server = self.start("--accounts", database, "--max-num-seqs", "6").wait()
            with concurrent.futures.ThreadPoolExecutor(len(fresh)) as pool:
                runs = [pool.submit(client.run, server) for client in fresh]
                while number % 2 == 1 and not any(asked.is_complete for client in fresh for asked in client.asked):
                    time.sleep(0.01)  # however slow the machine is, some answers are complete
                time.sleep(random.uniform(0.05, 2.0))
                server.process.kill()
            for run in runs:
                run.result()
            server.kill()
            ledger = Ledger(database)
            ledger.check_sums(self)
            open_rows += sum(row["state"] == OPEN for row in ledger.rows)
            found = self.check_answers(ledger, clients)
        server = self.start("--accounts", database).wait()  # which settles what was open
        ledger = Ledger(database)
        ledger.check_sums(self)
        self.assertEqual([dict(row) for row in ledger.rows if row["state"] == OPEN], [])
        self.assertEqual(self.check_answers(ledger, clients), found)
        for client in clients:
            info = server.ask("GET", "/user/balance", fields=headers(client.key)).json()["balance_infos"][0]
            spent = sum(row["cost"] for row in ledger.rows if row["key_id"] == key_id(client.key))
            self.assertAlmostEqual(float(info["total_balance"]), BALANCE - spent / MICRO, delta=0.01)
        self.assertEqual(server.stop(), 0)
        print(f"{rounds} kills, answers {dict(found)}, rows open at a kill {open_rows}", flush=True)
        self.assertGreater(found["complete"], 0)
        self.assertGreater(open_rows, 0, "no kill came in the middle of an answer")


class Sigterm(ServerTest):
    """Under load, with most of what was accepted still waiting for its turn."""

    flags = ("--max-num-seqs", "32", "--max-queued-requests", "400", "--drain-timeout", "300")
    NUM_STREAMS = 40 if support.sanitized() else 150
    NUM_TOKENS = 60

    def stream(self, number: int, accepted: threading.Semaphore) -> bytes:
        body = {"prompt": [number % 100 + 10, 11, 12], "max_tokens": self.NUM_TOKENS, "ignore_eos": True}
        options = {"stream": True, "return_token_ids": True, "stream_options": {"include_usage": True}}
        with self.server.connect(timeout=support.ANSWER_S) as wire:
            wire.send(request("POST", "/v1/completions", json.dumps(body | options).encode()))
            head = wire.read_until(b"\r\n\r\n")
            accepted.release()
            return head + wire.read_all()

    def check_stream(self, data: bytes) -> None:
        self.assertTrue(data.startswith(b"HTTP/1.1 200 "), data[:200])
        self.assertTrue(data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), data[-300:])
        events = [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: {")]
        self.assertEqual([event for event in events if "error" in event], [])
        choices = [choice for event in events for choice in event["choices"]]
        self.assertEqual(sum(len(choice["token_ids"]) for choice in choices), self.NUM_TOKENS)
        reasons = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
        self.assertEqual(reasons, ["length"])
        self.assertEqual(events[-1]["usage"]["completion_tokens"], self.NUM_TOKENS)

    def test_no_accepted_stream_is_lost(self) -> None:
        accepted = threading.Semaphore(0)
        with concurrent.futures.ThreadPoolExecutor(self.NUM_STREAMS) as pool:
            streams = [pool.submit(self.stream, i, accepted) for i in range(self.NUM_STREAMS)]
            for _ in streams:
                self.assertTrue(accepted.acquire(timeout=support.ANSWER_S))
            with self.server.connect() as kept:  # a connection that is open, and asks for more meanwhile
                kept.send(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
                time.sleep(0.1)
                self.server.process.send_signal(signal.SIGTERM)
                time.sleep(0.2)
                with contextlib.suppress(OSError):
                    kept.send(b"Content-Length: 15\r\n\r\n" + b'{"prompt": "a"}')
                self.assertRegex(kept.read_all(), rb"\A(HTTP/1.1 503 [\s\S]*)?\Z")
            waiting = sum(not stream.done() for stream in streams)
            with self.assertRaises(OSError):
                self.server.ask("POST", "/v1/completions", {"prompt": "a"}, timeout=10)
            for stream in streams:
                self.check_stream(stream.result(support.ANSWER_S))
        self.assertEqual(self.server.process.wait(30), 0)
        print(f"{self.NUM_STREAMS} streams complete, {waiting} of them after SIGTERM", flush=True)
        self.assertGreater(waiting, self.NUM_STREAMS // 2)

    def tearDown(self) -> None:
        """It has ended, as it was told to."""


class FullDisk(ServerTest):
    """A small file system that is full for a while: no answer is free, none is paid for in vain, and the server goes on."""

    def start_on_small_disk(
        self, size: str, *args: str, content: pathlib.Path | None = None
    ) -> tuple[Server, pathlib.Path]:
        """The server in a mount namespace of its own, and its small file system as it is seen from here. `{}` in args is
        what the server calls that; content: a folder whose files are there from the beginning."""
        inside = self.scratch()
        script = 'mount -t tmpfs -o size=$1 none "$0" && cp -a "$2/." "$0" && shift 2 && exec "$@"'
        empty = content or self.scratch()
        mount = ["unshare", "-rm", "sh", "-c", script, str(inside), size, str(empty)]
        try:
            subprocess.run([*mount, "true"], check=True, capture_output=True, timeout=READY_S)
        except (OSError, subprocess.CalledProcessError) as e:
            self.skipTest(f"no file system of one's own here: {e}")
        server = Server(*(arg.replace("{}", str(inside)) for arg in args), prefix=mount)
        self.addCleanup(server.kill)
        server.wait_listening()
        return server, pathlib.Path(f"/proc/{server.process.pid}/root{inside}")

    @staticmethod
    def fill(folder: pathlib.Path) -> pathlib.Path:
        filler = folder / "filler"
        with contextlib.suppress(OSError), open(filler, "ab", buffering=0) as out:
            while True:
                out.write(bytes(4096))
        return filler

    def warnings(self, server: Server, text: str) -> list[str]:
        time.sleep(0.1)
        return [line for line in server.log if text in line]

    def test_ledger(self) -> None:
        before = self.scratch()
        (key,) = make_accounts(before / "accounts.db", 1)
        server, folder = self.start_on_small_disk("4m", "--accounts", "{}/accounts.db", content=before)
        server.wait()
        fields = headers(key)
        ask = {"prompt": [5, 6, 7], "max_tokens": 4, "ignore_eos": True}
        server.post("/v1/completions", ask, fields=fields)
        with server.connect(timeout=support.ANSWER_S) as stream, server.connect(timeout=support.ANSWER_S) as whole:
            long = ask | {"max_tokens": 480}
            fields_list = [f"{name}: {value}" for name, value in fields.items()]
            stream.send(request("POST", "/v1/completions", json.dumps(long | {"stream": True}).encode(), fields_list))
            stream.read_until(b"data: ")
            whole.send(request("POST", "/v1/completions", json.dumps(long).encode(), fields_list))
            self.wait_for(lambda: server.ask("GET", "/api/status", fields=fields).json()["running"] == 2)
            filler = self.fill(folder)
            begun, refused = stream.read_until(b"\r\n0\r\n\r\n"), whole.reply()
        # What had begun has no good end, and what had not comes with the reason.
        self.assertIn(b"accounts database", begun)
        self.assertNotIn(b'"finish_reason":"stop"', begun)
        self.assertEqual(refused.status, 503, refused.body)
        for _ in range(20):
            reply = server.ask("POST", "/v1/completions", ask, fields)
            self.assertEqual(reply.status, 503, reply.body)
            self.assertGreater(int(reply.fields["retry-after"]), 0)
            self.assertEqual(reply.json()["error"]["type"], "unavailable_error")
            self.assertNotIn(str(folder), reply.body.decode())
        for path in ("/health", "/v1/models", "/user/balance", "/metrics"):
            self.assertEqual(server.ask("GET", path, fields=fields).status, 200, path)
        self.assertEqual(len(self.warnings(server, "warning")), 1, server.log)
        filler.unlink()
        self.assertEqual(server.ask("POST", "/v1/completions", ask, fields).status, 200)
        self.assertEqual(len(self.warnings(server, "written again")), 1, server.log)
        ledger = Ledger(folder / "accounts.db")
        ledger.check_sums(self)
        charged = sorted((row["state"], row["completion_tokens"]) for row in ledger.rows)
        # The stream pays for what its client got, who was told nothing pays nothing.
        self.assertEqual(charged, [(SETTLED, 0), (SETTLED, 4), (SETTLED, 4), (SETTLED, 480)])
        self.assertEqual(server.stop(), 0)

    def test_request_log(self) -> None:
        server, folder = self.start_on_small_disk("64k", "--request-log", "{}/requests.jsonl")
        server.wait()
        ask = {"prompt": [5, 6, 7], "max_tokens": 4, "ignore_eos": True}
        filler = self.fill(folder)
        for _ in range(30):
            server.post("/v1/completions", ask)
        self.assertEqual(len(self.warnings(server, "not logged")), 1, server.log)
        filler.unlink()
        server.ask("GET", "/version", fields={"X-Request-Id": "there-again"})
        self.assertEqual(len(self.warnings(server, "logged again")), 1, server.log)
        lines = (folder / "requests.jsonl").read_text().splitlines()
        self.assertEqual(json.loads(lines[-1])["id"], "there-again")
        self.assertEqual(server.stop(), 0)

    def test_prefix_cache(self) -> None:
        server, folder = self.start_on_small_disk("2m", "--kv-cache-dir", "{}/kv", "--kv-cache-tokens", "2048")
        server.wait()
        ask = {"max_tokens": 4, "temperature": 0}
        prompts = [[i + 10] * 140 for i in range(30)]
        kept = server.post("/v1/completions", ask | {"prompt": prompts[0]})["choices"][0]["text"]
        self.wait_for(lambda: len(list((folder / "kv").glob("*.kv"))) == 2)
        filler = self.fill(folder)
        for prompt in prompts[1:]:
            server.post("/v1/completions", ask | {"prompt": prompt})
        self.assertEqual(len(self.warnings(server, "not kept on disk")), 1, server.log)
        self.assertEqual(server.post("/v1/completions", ask | {"prompt": prompts[0]})["choices"][0]["text"], kept)
        self.assertEqual([file.name for file in (folder / "kv").glob("*.tmp*")], [])
        filler.unlink()
        server.post("/v1/completions", ask | {"prompt": [9] * 140})
        self.wait_for(lambda: len(list((folder / "kv").glob("*.kv"))) >= 4)
        self.assertEqual(len(self.warnings(server, "kept on disk again")), 1, server.log)
        self.assertEqual(server.stop(), 0)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not condition():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)


class Logged(ServerTest):
    """What is refused before anybody knows what it is has its line and its count too."""

    def test_garbage_and_slowness(self) -> None:
        log = self.scratch() / "requests.jsonl"
        server = self.start("--request-log", log).wait()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n"
        cases = [
            (b"GET /version HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"a" * 20000, 431),
            (head + b"Content-Length: 99999999\r\n\r\n", 413),
            (bytes(range(256)) * 8, 400),
            (request("GET", "/version") + b"\x16\x03\x01garbage\r\n\r\n", 400),
            (head, 408),
            (head + b"Content-Length: 100\r\n\r\n{", 408),
        ]
        with contextlib.ExitStack() as stack:
            wires = [stack.enter_context(server.connect()) for _ in cases]
            silent = stack.enter_context(server.connect())
            for wire, (data, status) in zip(wires, cases, strict=True):
                wire.send(data)
            for wire, (data, status) in zip(wires, cases, strict=True):
                reply = wire.reply()
                if data.startswith(request("GET", "/version")):
                    self.assertEqual(reply.status, 200)
                    reply = wire.reply()
                self.assertEqual(reply.status, status, data[:100])
                self.assertIn("message", reply.json()["error"])
                self.assertTrue(wire.is_closed(5))
            self.assertEqual(silent.read_all(), b"")  # who said nothing is told nothing
        self.assertEqual(server.stop(), 0)
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        refused = sorted(line["status"] for line in lines if line["route"] == "unknown")
        self.assertEqual(refused, sorted(status for _, status in cases))
