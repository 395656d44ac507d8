"""Beginnings and ends: of the server, of clients in the middle of an answer, of patience."""
import asyncio
import concurrent.futures
import contextlib
import json
import pathlib
import random
import re
import resource
import shutil
import signal
import socket
import struct
import threading
import time
from typing import Any

import support
from support import Server, ServerTest, request

MIB = 1 << 20
LONG = {"prompt": "Once upon a time", "max_tokens": 480, "ignore_eos": True, "seed": 7}
SHORT = {"prompt": "Once upon a time", "max_tokens": 5, "temperature": 0}


def post(body: Any, fields: list[str] | None = None) -> bytes:
    return request("POST", "/v1/completions", json.dumps(body).encode(), fields or [])


class ClientsThatLeave(ServerTest):
    """What nobody waits for is not computed: its place and its pages are free within a step."""

    flags = ("--max-num-seqs", "8")

    def test_at_random_moments(self) -> None:
        """While it waits, in the prompt, between two tokens; stream or not; with and without a reset."""
        rng = random.Random(5)
        for _ in range(20):
            wires = []
            for _ in range(10):
                body = LONG | {"n": rng.choice((1, 1, 1, 4)), "stream": rng.random() < 0.5}
                if rng.random() < 0.3:
                    body["prompt"] = "a little dog named Max " * rng.randint(1, 60)
                    body["max_tokens"] = 100
                plain = socket.create_connection(("127.0.0.1", self.server.port))
                if rng.random() < 0.5:
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                data = post(body)
                if rng.random() < 0.2:
                    data += request("GET", "/version")  # one more behind it, which nobody reads
                if rng.random() < 0.1:
                    data = data[: rng.randint(1, len(data) - 1)]
                plain.sendall(data)
                wires.append(plain)
            for plain in rng.sample(wires, len(wires)):
                time.sleep(rng.choice((0, 0, 0.001, 0.01, 0.05)))
                plain.close()
            self.server.wait_idle(60)  # not for ever: how long it takes is the machine's business
        self.assertEqual(self.server.ask("POST", "/v1/completions", SHORT).status, 200)

    def test_a_client_that_only_stops_sending(self) -> None:
        """A half-closed connection is one that has ended, as the other servers see it too; the work for it stops."""
        with self.server.connect() as wire:
            wire.send(post(LONG | {"n": 8}))
            time.sleep(0.05)
            wire.socket.shutdown(socket.SHUT_WR)
            self.server.wait_idle(5)

    def test_one_choice_of_many_is_cut_by_a_stop_string(self) -> None:
        """The others go on, and what was cut does not run on behind the scenes."""
        body = {"prompt": "Once upon a time", "max_tokens": 400, "n": 4, "seed": 3, "stop": ["."]}
        for choice in self.server.post("/v1/completions", body)["choices"]:
            self.assertEqual(choice["finish_reason"], "stop")
            self.assertNotIn(".", choice["text"])
        self.server.wait_idle(60)



class LargeRequests(ServerTest):
    """What takes seconds to read is read aside: with one thread for all connections the others go on meanwhile."""

    flags = ("--threads-http", "1")
    digits = (1 if support.sanitized() else 3) * MIB
    large = {"prompt": "7" * digits}

    def test_the_others_go_on(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            large = pool.submit(self.server.ask, "POST", "/tokenize", self.large)
            meanwhile = 0
            while not large.done():
                self.assertEqual(self.server.ask("POST", "/v1/completions", SHORT).status, 200)
                meanwhile += not large.done()
        self.assertEqual(large.result().status, 200)
        self.assertGreaterEqual(large.result().json()["count"], self.digits // 3)
        self.assertGreater(meanwhile, 3)

    def test_the_server_can_end_meanwhile(self) -> None:
        server = self.start("--threads-http", "1", "--drain-timeout", "0").wait()
        with contextlib.ExitStack() as wires:
            for _ in range(3):  # one is being read, two wait for that
                wire = wires.enter_context(server.connect())
                wire.send(request("POST", "/tokenize", json.dumps(self.large).encode()))
            self.assertEqual(server.ask("GET", "/version").status, 200)
            self.assertEqual(server.stop(), 0)


class Ends(ServerTest):
    def stream(self, server: Server, body: Any, began: threading.Semaphore) -> bytes:
        with server.connect(timeout=support.ANSWER_S) as wire:
            wire.send(post(body | {"stream": True, "return_token_ids": True}))
            wire.read_until(b"data: ")
            began.release()
            return wire.read_all()

    def run_streams(self, server: Server, count: int) -> tuple[Any, list[concurrent.futures.Future[bytes]]]:
        pool = concurrent.futures.ThreadPoolExecutor(count)
        self.addCleanup(pool.shutdown)
        began = threading.Semaphore(0)
        futures = [pool.submit(self.stream, server, LONG | {"seed": i}, began) for i in range(count)]
        for _ in range(count):
            self.assertTrue(began.acquire(timeout=support.ANSWER_S))
        return pool, futures

    def test_sigterm_loses_nothing(self) -> None:
        server = self.start("--drain-timeout", "120").wait()
        _, futures = self.run_streams(server, 16)
        server.process.send_signal(signal.SIGTERM)
        with self.assertRaises(OSError):  # nothing new is taken
            for _ in range(200):
                server.ask("GET", "/version", timeout=5)
                time.sleep(0.01)
        for future in futures:
            data = future.result(support.ANSWER_S)
            self.assertIn(b'"finish_reason":"length"', data)
            self.assertTrue(data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), data[-100:])
            self.assertNotIn(b'"error"', data)
        self.assertEqual(server.process.wait(30), 0)

    def test_a_second_sigterm_ends_streams_with_an_error(self) -> None:
        server = self.start("--drain-timeout", "120").wait()
        _, futures = self.run_streams(server, 16)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.02)
        server.process.send_signal(signal.SIGTERM)
        cut = 0
        for future in futures:
            data = future.result(support.ANSWER_S)
            self.assertTrue(data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), data[-300:])
            if b'"error"' in data:
                cut += 1
                self.assertNotIn(b'"finish_reason":"', data)
        self.assertGreater(cut, 0)
        self.assertEqual(server.process.wait(30), 0)

    def test_the_drain_has_a_limit(self) -> None:
        server = self.start("--drain-timeout", "0").wait()
        _, futures = self.run_streams(server, 16)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        self.assertTrue(all(future.result(support.ANSWER_S).endswith(b"0\r\n\r\n") for future in futures))
        self.assertEqual(server.process.wait(30), 0)
        self.assertLess(time.monotonic() - start, 60 if support.sanitized() else 10)

    def test_idle_connections_do_not_hold_it(self) -> None:
        server = self.start().wait()
        with server.connect() as idle, server.connect() as half:
            idle.send(request("GET", "/version")).reply()
            half.send(b"GET /version HTT")
            start = time.monotonic()
            self.assertEqual(server.stop(), 0)
            self.assertLess(time.monotonic() - start, 3)

    def test_a_port_that_is_taken(self) -> None:
        other = self.start("--port", str(self.server.port))
        self.assertEqual(other.process.wait(60), 2)

    def test_others_can_reach_it_only_with_keys(self) -> None:
        other = self.start("--host", "0.0.0.0")
        self.assertEqual(other.process.wait(60), 2)
        self.assertTrue(any("--api-key" in line for line in other.log), other.log)
        guarded = self.start("--host", "0.0.0.0", "--api-key", "k").wait()
        self.assertEqual(guarded.ask("GET", "/v1/models").status, 401)
        self.assertEqual(guarded.stop(), 0)


def make_slow_model(folder: pathlib.Path) -> None:
    """The built-in model with a vocabulary of a million, all of it a hole in the file: 1 GB to copy, nothing on the disk."""
    for file in support.TINY_CHAT.iterdir():
        if file.name not in ("model.safetensors", "config.json", "README.md"):
            shutil.copy(file, folder)
    config = json.loads((support.TINY_CHAT / "config.json").read_text())
    content = (support.TINY_CHAT / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    rows, end, entries = 1 << 20, 0, {}
    kept = [name for name, entry in header.items() if entry.get("shape", [0])[0] != config["vocab_size"]]
    for name in kept + [name for name in header if name not in kept]:
        if name == "__metadata__":
            continue
        entry = dict(header[name])
        size = entry["data_offsets"][1] - entry["data_offsets"][0]
        if name not in kept:
            size = size // config["vocab_size"] * rows
            entry["shape"] = [rows, entry["shape"][1]]
        entries[name] = entry | {"data_offsets": [end, end + size]}
        end += size
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name in kept:
            if name != "__metadata__":
                first, last = header[name]["data_offsets"]
                out.write(content[8 + length + first : 8 + length + last])
        out.truncate(8 + len(text) + end)
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": rows}))


class Loading(ServerTest):
    def test_what_is_said_meanwhile(self) -> None:
        folder = self.scratch()
        make_slow_model(folder)
        server = self.start("--model", folder, "--no-mmap", "--kv-cache-tokens", "1024", "--max-num-seqs", "2")
        server.wait_listening()
        reply = server.ask("POST", "/v1/completions", SHORT)
        self.assertEqual(reply.status, 503, reply.body)
        self.assertGreater(int(reply.fields["retry-after"]), 0)
        self.assertIn("Loading", reply.json()["error"]["message"])
        self.assertEqual(server.ask("GET", "/health").status, 503)
        self.assertEqual(server.ask("GET", "/ready").status, 503)
        self.assertEqual(server.ask("GET", "/version").status, 200)
        server.wait()
        self.assertEqual(server.ask("GET", "/health").status, 200)
        self.assertEqual(server.ask("POST", "/v1/completions", SHORT).status, 200)
        self.assertEqual(server.stop(), 0)

    def test_sigterm_meanwhile(self) -> None:
        folder = self.scratch()
        make_slow_model(folder)
        server = self.start("--model", folder, "--no-mmap", "--kv-cache-tokens", "1024", "--max-num-seqs", "2")
        server.wait_listening()
        start = time.monotonic()
        self.assertEqual(server.stop(), 0)
        self.assertLess(time.monotonic() - start, 5)


class Queue(ServerTest):
    flags = ("--max-num-seqs", "2", "--max-queued-requests", "3")

    def test_full(self) -> None:
        """Two run, three wait; one more is told to come back."""
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            asked = [pool.submit(self.server.ask, "POST", "/v1/completions", LONG | {"max_tokens": 300}) for _ in range(20)]
            replies = [future.result() for future in asked]
        refused = [reply for reply in replies if reply.status != 200]
        self.assertGreaterEqual(len(replies) - len(refused), 5)
        self.assertGreater(len(refused), 0)
        for reply in refused:
            self.assertEqual(reply.status, 429)
            self.assertGreater(int(reply.fields["retry-after"]), 0)
            self.assertEqual(reply.json()["error"]["type"], "rate_limit_error")
        self.server.wait_idle(10)
        self.assertEqual(self.server.ask("POST", "/v1/completions", SHORT).status, 200)

    def test_streams_are_refused_by_status_too(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            for path, body in (
                ("/v1/completions", LONG | {"max_tokens": 200}),
                ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 200, "ignore_eos": True}),
            ):
                asked = [pool.submit(self.server.ask, "POST", path, body | {"stream": True}) for _ in range(20)]
                statuses = sorted({future.result().status for future in asked})
                self.assertEqual(statuses, [200, 429], path)


class ManyStreams(ServerTest):
    """1,000 clients at a time on two cores, and slow ones among them."""

    flags = ("--max-queued-requests", "4096", "--max-num-seqs", "256")

    @classmethod
    def setUpClass(cls) -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))

    async def one(self, statuses: dict[int, int], seconds: float) -> None:
        end = time.monotonic() + seconds
        data = post(SHORT | {"stream": True, "return_token_ids": True})
        while True:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ")[1])
            statuses[status] = statuses.get(status, 0) + 1
            if status == 200:
                body = await reader.readuntil(b"\r\n0\r\n\r\n")
                assert body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") and b'"error"' not in body, body[-300:]
                tokens = b",".join(re.findall(rb'"token_ids":\[([0-9,]+)\]', body))  # none lost, none twice
                assert tokens == self.expected and body.count(b'"finish_reason":"') == 1, body
            else:
                assert b"retry-after" in head.lower(), head
            writer.close()
            if time.monotonic() >= end:
                return

    async def load(self, clients: int, seconds: float) -> dict[int, int]:
        statuses: dict[int, int] = {}
        await asyncio.gather(*(self.one(statuses, seconds) for _ in range(clients)))
        return statuses

    def test_a_thousand(self) -> None:
        clients = 100 if support.sanitized() else 1000
        whole = self.server.post("/v1/completions", SHORT | {"return_token_ids": True})["choices"][0]
        self.expected = ",".join(map(str, whole["token_ids"])).encode()
        self.assertEqual(len(whole["token_ids"]), SHORT["max_tokens"])
        asyncio.run(self.load(clients, 0))  # the first of each is what stays
        self.server.wait_idle(30)
        time.sleep(0.2)
        files, memory = self.server.num_files(), self.server.memory_bytes()
        start = time.monotonic()
        statuses = asyncio.run(self.load(clients, 60 if support.long else 5))
        seconds = time.monotonic() - start
        self.server.wait_idle(30)
        time.sleep(0.2)
        grown = self.server.memory_bytes() - memory
        print(
            f"{clients} clients, {seconds:.1f} s, {statuses}, memory {memory / MIB:.1f} +{grown / MIB:.1f} MiB", flush=True
        )
        self.assertLessEqual(set(statuses), {200, 429, 503})
        self.assertGreater(statuses.get(200, 0), clients // 2)
        self.assertLessEqual(self.server.num_files(), files + 2)
        if not support.sanitized():
            self.assertLess(grown, 32 * MIB)

    def test_slow_readers_hold_up_nobody(self) -> None:
        """256 that ask for much and read nothing."""
        slow = []
        for _ in range(32 if support.sanitized() else 256):
            plain = socket.socket()
            self.addCleanup(plain.close)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            plain.connect(("127.0.0.1", self.server.port))
            plain.sendall(post(LONG | {"stream": True, "logprobs": 20, "max_tokens": 150}))
            slow.append(plain)
        before = self.server.memory_bytes()
        asked = time.monotonic()
        self.assertEqual(self.server.ask("GET", "/health").status, 200)
        self.assertLess(time.monotonic() - asked, 1)
        reply = self.server.ask("POST", "/v1/completions", SHORT)  # waits for its turn, not for them to read
        self.assertEqual(reply.status, 200)
        self.server.wait_idle(120)
        self.assertLess(self.server.memory_bytes() - before, 512 * MIB)
        for plain in slow:
            plain.close()
        time.sleep(0.3)
        self.assertEqual(self.server.ask("POST", "/v1/completions", SHORT).status, 200)
