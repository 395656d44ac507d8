"""HTTP/1.1 byte by byte: framing, limits, slow and broken clients."""
import concurrent.futures
import json
import select
import socket
import time

import support
from support import ServerTest, Wire, request

CHAT = {"prompt": "Once upon a time", "max_tokens": 3, "temperature": 0}
ASK = json.dumps(CHAT).encode()
GET = request("GET", "/version")
MIB = 1 << 20


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


class Framing(ServerTest):
    def text(self, wire: Wire) -> str:
        reply = wire.reply()
        self.assertEqual(reply.status, 200, reply.body)
        return reply.json()["choices"][0]["text"]

    def setUp(self) -> None:
        super().setUp()
        self.expected = self.server.post("/v1/completions", CHAT)["choices"][0]["text"]

    def test_cut_anywhere(self) -> None:
        """All two-piece cuts of a request, with a length and in chunks, on one connection."""
        fields = ["Content-Type: application/json", "Transfer-Encoding: chunked"]
        plain = request("POST", "/v1/completions", ASK)
        in_chunks = request("POST", "/v1/completions", fields=fields) + chunked(ASK[:7], ASK[7:])
        for whole in (plain, in_chunks):
            with self.server.connect() as wire:
                for cut in range(1, len(whole)):
                    wire.send(whole[:cut])
                    if select.select([wire.socket], [], [], 0.002)[0]:
                        self.fail(f"answered after {cut} of {len(whole)} bytes: {wire.read_some()!r}")
                    wire.send(whole[cut:])
                    self.assertEqual(self.text(wire), self.expected, f"cut at {cut}")

    def test_byte_by_byte(self) -> None:
        with self.server.connect() as wire:
            for byte in request("POST", "/v1/completions", ASK):
                wire.send(bytes([byte]))
            self.assertEqual(self.text(wire), self.expected)

    def test_pipelining(self) -> None:
        """Ten requests in one piece are answered in their order."""
        with self.server.connect() as wire:
            ask = request("POST", "/v1/completions", ASK)
            wire.send((GET + ask) * 5)
            for _ in range(5):
                self.assertIn("version", wire.reply().json())
                self.assertEqual(self.text(wire), self.expected)

    def test_a_good_request_before_a_bad_one_is_answered(self) -> None:
        for bad in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
            with self.server.connect() as wire:
                wire.send(GET + bad)
                self.assertEqual(wire.reply().status, 200)
                self.assertEqual(wire.reply().status, 400)
                self.assertTrue(wire.is_closed(5))

    def test_connections(self) -> None:
        """Which ones stay open, and what is said about that."""
        cases = [
            ("1.1", [], True),
            ("1.1", ["Connection: close"], False),
            ("1.0", [], False),
            ("1.0", ["Connection: keep-alive"], True),
        ]
        for version, fields, stays in cases:
            with self.subTest(version=version, fields=fields), self.server.connect() as wire:
                wire.send(request("GET", "/version", fields=fields, version=version))
                reply = wire.reply()
                self.assertEqual(reply.status, 200)
                self.assertNotIn("transfer-encoding", reply.fields)
                if stays:
                    self.assertEqual(wire.send(GET).reply().status, 200)
                    self.assertNotEqual(reply.fields.get("connection", "keep-alive" if version == "1.1" else ""), "")
                else:
                    self.assertEqual(reply.fields["connection"], "close")
                    self.assertTrue(wire.is_closed(5))

    def test_streams_to_old_clients(self) -> None:
        """HTTP/1.0 has no chunks: the stream ends with the connection."""
        body = json.dumps(CHAT | {"stream": True}).encode()
        with self.server.connect() as wire:
            reply = wire.send(request("POST", "/v1/completions", body, version="1.0")).reply()
        self.assertNotIn("transfer-encoding", reply.fields)
        self.assertEqual("".join(e["choices"][0]["text"] for e in reply.events()), self.expected)

    def test_head(self) -> None:
        with self.server.connect() as wire:
            get = wire.send(request("GET", "/v1/models")).reply()
            head = wire.send(request("HEAD", "/v1/models")).reply(has_body=False)
            self.assertEqual(head.status, 200)
            self.assertEqual(head.fields["content-length"], get.fields["content-length"])
            self.assertEqual(wire.send(GET).reply().status, 200)  # no byte of a body in between

    def test_expect_continue(self) -> None:
        with self.server.connect() as wire:
            whole = request("POST", "/v1/completions", ASK, ["Expect: 100-continue"])
            wire.send(whole[: -len(ASK)])
            self.assertEqual(wire.reply().status, 100)
            wire.send(ASK)
            self.assertEqual(self.text(wire), self.expected)
            wire.send(whole)  # who does not wait may be told to go on, or not
            reply = wire.reply()
            self.assertEqual((reply if reply.status != 100 else wire.reply()).status, 200)

    def test_a_body_too_large_is_not_asked_for(self) -> None:
        with self.server.connect() as wire:
            wire.send(request("POST", "/v1/completions", fields=["Expect: 100-continue", f"Content-Length: {9 * MIB}"]))
            self.assertEqual(wire.reply().status, 413)

    def test_methods_and_paths(self) -> None:
        for method, path, status in (
            ("GET", "/v1/completions", 405),
            ("DELETE", "/v1/models", 405),
            ("PUT", "/version", 405),
            ("GET", "/v1/nothing", 404),
            ("GET", "/nothing", 404),
            ("GET", "/v1/models/../models", 404),
            ("GET", "/%00", 400),
            ("GET", "/a%0d%0ab", 400),
            ("GET", "/v1/%6dodels", 200),
            ("GET", "/version?x=%&y==&&", 200),
        ):
            reply = self.server.ask(method, path)
            self.assertEqual(reply.status, status, f"{method} {path}")
            if status != 200:
                self.assertIn("message", reply.json()["error"])


class Refused(ServerTest):
    """What two readers could understand in two ways ends with 400 and the connection."""

    def refused(self, data: bytes, *statuses: int) -> None:
        with self.server.connect() as wire:
            wire.send(data)
            try:
                reply = wire.reply()
            except EOFError as e:
                self.fail(f"{data[:200]!r}: closed without a word {e}")
            self.assertIn(reply.status, statuses or (400,), data[:200])
            self.assertEqual(reply.fields["connection"], "close", data[:200])
            self.assertIn("message", reply.json()["error"])
            self.assertTrue(wire.is_closed(5), data[:200])

    def test_smuggling(self) -> None:
        inner = GET
        post, end = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n", "\r\n"
        for head, body in (
            ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
            ("Content-Length: 2\r\nContent-Length: 3\r\n", "{}"),
            ("Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
            ("Content-Length: 2, 2\r\n", "{}"),
            ("Content-Length: +2\r\n", "{}"),
            ("Content-Length: -2\r\n", "{}"),
            ("Content-Length: 0x2\r\n", "{}"),
            ("Content-Length: 2 2\r\n", "{}"),
            ("Content-Length: \r\n", "{}"),
            ("Content-Length: 18446744073709551618\r\n", "{}"),
            ("Transfer-Encoding: xchunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked, gzip\r\n", "2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding: gzip, chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding: identity\r\n", "{}"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding : chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding:\r\n chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "-2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "0x2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", " 2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "+2\r\n{}\r\n0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "2\n{}\n0\n\n\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "2\r\n{}xx0\r\n\r\n"),
            ("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\n{}\r\n0\r\n\r\n"),
            ("X: a\r\n b\r\n", ""),
            ("X: a\r\n\tb\r\n", ""),
            ("X: a\nContent-Length: 2\r\n", "{}"),
            ("X: a\rContent-Length: 2\r\n", "{}"),
            ("X: a\x00b\r\n", ""),
            ("X : a\r\n", ""),
            (" X: a\r\n", ""),
            (": a\r\n", ""),
            ("no colon\r\n", ""),
            ("Host: localhost\r\n", ""),
        ):
            with self.subTest(head=head, body=body):
                self.refused((post + head + end + body).encode() + inner)

    def test_request_lines(self) -> None:
        for line in (
            b"GET /version HTTP/2.0",
            b"GET /version HTTP/1.2",
            b"GET /version HTTP/0.9",
            b"GET /version",
            b"GET  /version HTTP/1.1",
            b"GET /ver sion HTTP/1.1",
            b" GET /version HTTP/1.1",
            b"GET /version HTTP/1.1 ",
            b"GE(T /version HTTP/1.1",
            b"GET /ver\x00sion HTTP/1.1",
            b"\xff\xfe /version HTTP/1.1",
        ):
            with self.subTest(line=line):
                self.refused(line + b"\r\nHost: localhost\r\n\r\n")

    def test_a_host_is_needed(self) -> None:
        self.refused(b"GET /version HTTP/1.1\r\n\r\n")

    def test_garbage(self) -> None:
        for data in (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),  # TLS's first words
            b"\r\n\r\n\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            bytes(range(256)) * 20,
            b'{"prompt": "x"}\r\n\r\n',
        ):
            self.refused(data, 400, 431)

    def test_limits_of_the_header(self) -> None:
        lines = "".join(f"X-{i}: {i}\r\n" for i in range(70)).encode()
        self.refused(b"GET /version HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n", 431)
        self.refused(b"GET /nothing" + b"a" * 17000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431)
        self.refused(b"GET /version HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 17000, 431)  # no end in sight
        with self.server.connect() as wire:
            wire.send(request("GET", "/version", fields=["X: " + "a" * 15000])).reply()
            fields = [f"X-{i}: {i}" for i in range(60)]
            self.assertEqual(wire.send(request("GET", "/version", fields=fields)).reply().status, 200)

    def test_limits_of_the_body(self) -> None:
        """413 comes while the rest is still being sent, and the client can read it."""
        for start in (
            request("POST", "/v1/completions", fields=[f"Content-Length: {64 * MIB}"]),
            request("POST", "/v1/completions", fields=["Transfer-Encoding: chunked"]) + b"%x\r\n" % (64 * MIB),
        ):
            with self.server.connect() as wire:
                wire.send(start)
                sent = 0
                piece = b" " * 65536
                try:
                    while sent < 64 * MIB and not select.select([wire.socket], [], [], 0)[0]:
                        wire.send(piece)
                        sent += len(piece)
                except (ConnectionResetError, BrokenPipeError):
                    pass
                self.assertEqual(wire.reply().status, 413)
                self.assertLess(sent, 24 * MIB)

    def test_endless_chunk_sizes_and_trailers(self) -> None:
        """What belongs to no body is bounded too."""
        start = request("POST", "/v1/completions", fields=["Transfer-Encoding: chunked"])
        before = self.server.memory_bytes()
        for head, piece in (
            (b"1;", b"x" * 65536),
            (b"1;a=", b'"' + b"x" * 65536),
            (b"0" * 100, b"0" * 65536),
            (b"0\r\n", b"X: y\r\n" * 10000),
            (b"0\r\nX:", b"y" * 65536),
        ):
            with self.subTest(head=head), self.server.connect() as wire:
                try:
                    wire.send(start + head)
                    for _ in range(256):
                        wire.send(piece)
                except (ConnectionResetError, BrokenPipeError):
                    continue
                self.assertIn(wire.reply().status, (400, 413, 431))
        self.assertLess(self.server.memory_bytes() - before, 64 * MIB)

    def test_trailers_are_no_header(self) -> None:
        """What comes behind the body changes nothing that was checked before it."""
        data = chunked(ASK)[:-2] + b"Host: evil.example\r\nOrigin: http://evil.example\r\nExpect: 100-continue\r\n\r\n"
        with self.server.connect() as wire:
            wire.send(request("POST", "/v1/completions", fields=["Transfer-Encoding: chunked"]) + data)
            self.assertEqual(wire.reply().status, 200)

    def test_trailers_and_extensions_within_reason(self) -> None:
        data = b"%x;name=value\r\n%s\r\n0\r\nX: y\r\n\r\n" % (len(ASK), ASK)
        with self.server.connect() as wire:
            wire.send(request("POST", "/v1/completions", fields=["Transfer-Encoding: chunked"]) + data)
            self.assertEqual(wire.reply().status, 200)


class Browsers(ServerTest):
    def test_host(self) -> None:
        port = self.server.port
        for host, status in (
            ("localhost", 200),
            (f"localhost:{port}", 200),
            (f"127.0.0.1:{port}", 200),
            ("[::1]:80", 200),
            ("evil.example", 403),
            (f"evil.example:{port}", 403),
            ("127.0.0.1.evil.example", 403),
            ("localhost.evil.example", 403),
        ):
            self.assertEqual(self.server.ask("GET", "/version", fields={"Host": host}).status, status, host)

    def test_origin(self) -> None:
        own = f"127.0.0.1:{self.server.port}"
        for origin, status in (
            (f"http://{own}", 200),
            ("http://evil.example", 403),
            (f"http://{own}.evil.example", 403),
            ("https://evil.example", 403),
            ("garbage", 403),
        ):
            reply = self.server.ask("POST", "/v1/completions", CHAT, {"Origin": origin})
            self.assertEqual(reply.status, status, origin)
            self.assertNotIn("access-control-allow-origin", reply.fields)

    def test_a_name_that_was_allowed(self) -> None:
        server = self.start("--allowed-host", "models.example").wait()
        self.assertEqual(server.ask("GET", "/version", fields={"Host": "models.example:80"}).status, 200)
        self.assertEqual(server.ask("GET", "/version", fields={"Host": "other.example"}).status, 403)
        self.assertEqual(server.stop(), 0)


class Keys(ServerTest):
    flags = ("--api-key", "right", "--api-key", "also-right")

    def test_each_path_needs_one(self) -> None:
        open_paths = {"/health", "/v1/health", "/ready", "/version"}
        for method, path in (
            ("POST", "/v1/chat/completions"),
            ("POST", "/v1/completions"),
            ("POST", "/generate"),
            ("POST", "/tokenize"),
            ("POST", "/flush_cache"),
            ("GET", "/v1/models"),
            ("GET", "/server_info"),
            ("GET", "/model_info"),
            ("GET", "/tokenizer_info"),
            ("GET", "/nothing"),
            ("PUT", "/v1/models"),
            *(("GET", path) for path in sorted(open_paths)),
        ):
            for key in (None, "Bearer ", "Bearer wrong", "Bearer right2", "Basic right", "right"):
                reply = self.server.ask(method, path, fields={"Authorization": key} if key else {})
                self.assertEqual(reply.status, 200 if path in open_paths else 401, f"{method} {path} {key}")
                self.assertNotIn(b"also-right", reply.body)

    def test_the_right_one(self) -> None:
        for fields in ({"Authorization": "Bearer right"}, {"x-api-key": "also-right"}):
            self.assertEqual(self.server.ask("GET", "/v1/models", fields=fields).status, 200)
            info = self.server.ask("GET", "/server_info", fields=fields)
            self.assertEqual(info.status, 200)
            self.assertNotIn(b"right", info.body)

    def test_not_behind_the_body(self) -> None:
        for name in ("Authorization: Bearer right", "x-api-key: right"):
            data = chunked(ASK)[:-2] + name.encode() + b"\r\n\r\n"
            with self.server.connect() as wire:
                wire.send(request("POST", "/v1/completions", fields=["Transfer-Encoding: chunked"]) + data)
                self.assertEqual(wire.reply().status, 401)

    def tearDown(self) -> None:  # /server_info needs a key here
        self.assertIsNone(self.server.process.poll())


class SlowClients(ServerTest):
    LIMIT_S = 15

    def test_they_are_closed_and_others_are_served(self) -> None:
        """Headers, bodies and nothing at all, a byte a second each; a request in between takes no longer."""
        starts = [
            b"GET /version HTTP/1.1\r\n",
            request("POST", "/v1/completions", fields=["Content-Length: 100000"]),
            request("POST", "/v1/completions", fields=["Transfer-Encoding: chunked"]) + b"ffff\r\n",
            b"",
        ]
        wires: list[tuple[socket.socket, int]] = []
        for i in range(200):
            plain = socket.create_connection(("127.0.0.1", self.server.port))
            self.addCleanup(plain.close)
            plain.sendall(starts[i % len(starts)])
            wires.append((plain, i % len(starts)))
        begin, open_wires = time.monotonic(), dict(wires)
        while open_wires and time.monotonic() < begin + self.LIMIT_S:
            asked = time.monotonic()
            self.assertEqual(self.server.ask("GET", "/version").status, 200)
            self.assertLess(time.monotonic() - asked, 1.0)
            for plain, kind in list(open_wires.items()):
                try:
                    if kind != 3:
                        plain.sendall(b"X")
                    if select.select([plain], [], [], 0)[0] and not plain.recv(4096):
                        del open_wires[plain]
                except OSError:
                    del open_wires[plain]
            time.sleep(1)
        self.assertEqual(sorted(open_wires.values()), [])

    def test_a_slow_but_steady_body_is_taken(self) -> None:
        body = ASK + b" " * 200_000
        with self.server.connect() as wire:
            whole = request("POST", "/v1/completions", body)
            for i in range(0, len(whole), 16384):
                wire.send(whole[i : i + 16384])
                time.sleep(0.2)
            self.assertEqual(wire.reply().status, 200)

    def test_many_endless_headers(self) -> None:
        """Memory is not taken for what never ends."""
        before = self.server.memory_bytes()
        wires = [socket.create_connection(("127.0.0.1", self.server.port)) for _ in range(500)]
        for plain in wires:
            self.addCleanup(plain.close)
            plain.sendall(b"GET /version HTTP/1.1\r\nX: " + b"a" * 15000)
        self.assertEqual(self.server.ask("GET", "/version").status, 200)
        shadow = 4 if support.sanitized() else 1  # a sanitizer keeps books on each byte
        self.assertLess(self.server.memory_bytes() - before, 40 * MIB * shadow)


class ManyAtOnce(ServerTest):
    def test_a_connection_each(self) -> None:
        expected = self.server.post("/v1/completions", CHAT)["choices"][0]["text"]
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            replies = pool.map(lambda _: self.server.post("/v1/completions", CHAT), range(200))
            self.assertEqual({r["choices"][0]["text"] for r in replies}, {expected})
