"""What the tests of the server share: starting it, asking it, and bytes over a socket."""
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from collections.abc import Callable, Iterator, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TINY_CHAT = ROOT / "models" / "tiny-chat"
START_S = 120  # a sanitizer's build on a busy machine
ANSWER_S = 120
VOCAB = 4096  # of the built-in model
CONTEXT = 512

hadal = pathlib.Path()  # the binary
build: pathlib.Path | None = None  # the build folder that it comes from
long = False  # the minutes of load

GOLDEN = json.loads((TINY_CHAT / "golden.json").read_text())
# Sums of FP32 products in another order, four layers deep (tests/tiny_chat_test.cc has the same).
LOGPROB_TOLERANCE = 2e-3


def environment() -> dict[str, str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HADAL_", "XDG_", "OPENAI_"))}
    return env | {"HADAL_MODELS": str(ROOT / "models"), "HOME": "/nonexistent"}


def sanitized() -> bool:
    """Whether the binary is a sanitizer's build, some twenty times slower."""
    settings = (build / "CMakeCache.txt").read_text() if build else ""
    return re.search(r"^HADAL_SANITIZE:\w+=.", settings, re.M) is not None


def run_cli(*args: str | pathlib.Path, stdin: str = "") -> list[Any]:
    """What a command prints as JSON lines."""
    done = subprocess.run(
        [hadal, *args], input=stdin.encode(), capture_output=True, env=environment(), timeout=ANSWER_S, check=True
    )
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


@dataclasses.dataclass
class Reply:
    status: int
    fields: dict[str, str]  # names in lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The JSON of a stream's events, without its [DONE], which must be there."""
        lines = [line[6:] for line in self.body.decode().split("\n") if line.startswith("data: ")]
        assert lines[-1:] == ["[DONE]"], lines[-1:]
        return [json.loads(line) for line in lines[:-1]]


class Server:
    """A `hadal serve` on a free port. Its stderr is read all the time and kept."""

    def __init__(self, *args: str | pathlib.Path, prefix: Sequence[str] = ()) -> None:
        """prefix: a command that runs the rest of its arguments in its place."""
        command = [*prefix, hadal, "serve", "--port", "0", *args]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=environment()
        )
        self.log: list[str] = []
        self._ready = threading.Event()
        self._listens = threading.Event()
        self.port = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        _servers.append(self)

    def _read(self) -> None:
        assert self.process.stderr
        for line in self.process.stderr:
            text = line.decode("utf-8", "replace")
            self.log.append(text)
            if found := re.search(r"listening on https?://[^ ]*:(\d+)", text):
                self.port = int(found[1])
                self._listens.set()
            if " is ready at " in text:
                self._ready.set()
        self._listens.set()
        self._ready.set()

    def wait(self) -> "Server":
        """Until it can answer."""
        assert self._ready.wait(START_S) and self.process.poll() is None, "".join(self.log)
        return self

    def wait_listening(self) -> "Server":
        assert self._listens.wait(START_S) and self.port, "".join(self.log)
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: Any = None, fields: dict[str, str] | None = None, timeout: float = ANSWER_S
    ) -> Reply:
        """One request over a connection of its own; a body that is no bytes goes as JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, data, {"Content-Type": "application/json"} | (fields or {}))
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, content)

    def post(self, path: str, body: Any, **options: Any) -> Any:
        """What must be answered with 200."""
        reply = self.ask("POST", path, body, **options)
        assert reply.status == 200, (reply.status, reply.body[:1000])
        return reply.json()

    def get(self, path: str) -> Any:
        reply = self.ask("GET", path)
        assert reply.status == 200, (reply.status, reply.body[:1000])
        return reply.json()

    def requests(self) -> tuple[int, int]:
        """Running and waiting."""
        state = self.get("/server_info")["internal_states"][0]
        return state["num_running_reqs"], state["num_queue_reqs"]

    def wait_idle(self, seconds: float = 10) -> float:
        """Until nothing runs or waits; how long that took."""
        start = time.monotonic()
        while self.requests() != (0, 0):
            assert time.monotonic() < start + seconds, f"requests left: {self.requests()}"
            time.sleep(0.01)
        return time.monotonic() - start

    def memory_bytes(self) -> int:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) * 1024

    def num_files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @contextlib.contextmanager
    def connect(self, timeout: float = 20) -> Iterator["Wire"]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as plain:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield Wire(plain)

    def stop(self, seconds: float = 60) -> int:
        """SIGTERM, and its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        finally:
            self.kill()

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._reader.join(10)
        if self.process.stderr:
            self.process.stderr.close()
        if self in _servers:
            _servers.remove(self)


class Wire:
    """A connection's bytes."""

    def __init__(self, plain: socket.socket) -> None:
        self.socket = plain
        self.rest = b""

    def send(self, data: bytes) -> "Wire":
        self.socket.sendall(data)
        return self

    def read_some(self) -> bytes:
        """Nothing: the other side has closed."""
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def read_until(self, end: bytes) -> bytes:
        while end not in self.rest:
            more = self.read_some()
            if not more:
                raise EOFError(self.rest)
            self.rest += more
        head, _, self.rest = self.rest.partition(end)
        return head + end

    def read_exactly(self, count: int) -> bytes:
        while len(self.rest) < count:
            more = self.read_some()
            if not more:
                raise EOFError(self.rest)
            self.rest += more
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def read_all(self) -> bytes:
        while more := self.read_some():
            self.rest += more
        data, self.rest = self.rest, b""
        return data

    def reply(self, has_body: bool = True) -> Reply:
        """One answer, with its length or in chunks."""
        head = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = int(head[0].split(" ")[1])
        fields = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = b""
        if not has_body or status == 100:
            pass
        elif "content-length" in fields:
            body = self.read_exactly(int(fields["content-length"]))
        elif fields.get("transfer-encoding") == "chunked":
            while size := int(self.read_until(b"\r\n"), 16):
                body += self.read_exactly(size)
                assert self.read_exactly(2) == b"\r\n"
            assert self.read_exactly(2) == b"\r\n"
        else:
            body = self.read_all()
        return Reply(status, fields, body)

    def is_closed(self, seconds: float) -> bool:
        """Whether the other side closes within that time; what it still says is thrown away."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return False
            if not self.read_some():
                return True
        return False


def request(method: str, path: str, body: bytes = b"", fields: Sequence[str] = (), version: str = "1.1") -> bytes:
    """A request's bytes, with Host and, for a body, Content-Length."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *fields]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


_servers: list[Server] = []
_shared: dict[tuple[str | pathlib.Path, ...], Server] = {}


def shared(*args: str | pathlib.Path) -> Server:
    """A server with these flags that tests use one after the other; started anew if it has ended."""
    if args not in _shared or _shared[args].process.poll() is not None:
        _shared[args] = Server(*args)
    return _shared[args].wait()


def stop_all() -> None:
    for server in list(_servers):
        server.kill()


def _scratch(clean_up: Callable[..., None]) -> pathlib.Path:
    folder = tempfile.TemporaryDirectory(prefix="hadal_server_")
    clean_up(folder.cleanup)
    return pathlib.Path(folder.name)


def keys(database: pathlib.Path, command: str, *args: str) -> str:
    """What `hadal keys` prints."""
    done = subprocess.run(
        [hadal, "keys", command, "--db", database, *args],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=ANSWER_S,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class ServerTest(unittest.TestCase):
    """A server with the class's flags; it must be alive and idle after each test."""

    flags: tuple[str | pathlib.Path, ...] = ()
    server: Server

    def setUp(self) -> None:
        self.server = shared(*self.flags)

    def tearDown(self) -> None:
        self.assertIsNone(self.server.process.poll(), "the server has ended: " + "".join(self.server.log[-20:]))
        self.server.wait_idle(30)

    @classmethod
    def tearDownClass(cls) -> None:
        server = _shared.pop(cls.flags, None)
        if server:
            code = server.stop()
            assert code == 0, (code, server.log[-20:])

    def scratch(self) -> pathlib.Path:
        """A folder of this test's own."""
        return _scratch(self.addCleanup)

    @classmethod
    def class_scratch(cls) -> pathlib.Path:
        """A folder of this class's own."""
        return _scratch(cls.addClassCleanup)

    def start(self, *args: str | pathlib.Path) -> Server:
        """A server of this test's own."""
        server = Server(*args)
        self.addCleanup(server.kill)
        return server
