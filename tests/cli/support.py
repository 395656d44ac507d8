"""What the tests of the commands share: running the binary, checkpoints made on the fly, a terminal."""
import dataclasses
import json
import os
import pathlib
import re
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import termios
import time
import unittest
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TINY_CHAT = ROOT / "models" / "tiny-chat"
GOLDEN = ROOT / "tests" / "golden"
TIMEOUT_S = 60  # one command; a sanitizer makes it some twenty times slower

hadal = pathlib.Path()  # the binary
build: pathlib.Path | None = None  # the build folder that it comes from

Path = str | pathlib.Path


def environment(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """The caller's environment without what changes where models are found; None in `changes` takes one away."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HADAL_", "XDG_", "LC_"))}
    env |= {"HADAL_MODELS": str(ROOT / "models"), "HOME": "/nonexistent", "TERM": "xterm", "LANG": "C.UTF-8"}
    for name, value in (changes or {}).items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return env


def sanitized() -> bool:
    """Whether the binary is a sanitizer's build."""
    settings = (build / "CMakeCache.txt").read_text() if build else ""
    return re.search(r"^HADAL_SANITIZE:\w+=.", settings, re.M) is not None


@dataclasses.dataclass
class Result:
    args: list[str]
    code: int
    out_bytes: bytes
    err_bytes: bytes
    seconds: float

    @property
    def out(self) -> str:
        return self.out_bytes.decode("utf-8")

    @property
    def err(self) -> str:
        return self.err_bytes.decode("utf-8", "replace")

    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.split("\n") if line]


def run(
    *args: str | bytes | pathlib.Path,
    stdin: str | bytes = b"",
    env: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    stdout: Any = subprocess.PIPE,
    binary: Path | None = None,
) -> Result:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    start = time.monotonic()
    done = subprocess.run(
        [binary or hadal, *args],
        input=data,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(env),
        cwd=cwd,
        timeout=TIMEOUT_S,
    )
    words = [os.fsdecode(arg) for arg in args]
    return Result(words, done.returncode, done.stdout or b"", done.stderr, time.monotonic() - start)


class CliTest(unittest.TestCase):
    """A scratch folder for each test, and what a result must look like."""

    folder: pathlib.Path

    def setUp(self) -> None:
        scratch = tempfile.TemporaryDirectory(prefix="hadal_cli_")
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)

    def ok(self, *args: str | bytes | pathlib.Path, **options: Any) -> Result:
        """Runs what must succeed."""
        result = run(*args, **options)
        self.assertEqual(result.code, 0, f"{result.args}: {result.err}")
        return result

    def usage_error(self, *args: str | bytes | pathlib.Path, says: Sequence[str] = (), **options: Any) -> Result:
        return self.refused(2, *args, says=says, **options)

    def failure(self, *args: str | bytes | pathlib.Path, says: Sequence[str] = (), **options: Any) -> Result:
        """Runs what must fail by a message with each of `says` in it."""
        result = self.refused(1, *args, says=says, **options)
        self.assertTrue(result.err.startswith("hadal: "), result.err)
        return result

    def run_failing(self, *args: Any, **options: Any) -> Result:
        """Runs what must fail, after it may have printed something."""
        result = run(*args, **options)
        self.assertEqual(result.code, 1, f"{result.args}: {result.err}")
        return result

    def refused(self, code: int, *args: Any, says: Sequence[str], **options: Any) -> Result:
        result = run(*args, **options)
        self.assertEqual(result.code, code, f"{result.args}: {result.err}{result.out_bytes!r}")
        self.assertEqual(result.out_bytes, b"", f"{result.args}: stdout is for the product")
        self.assertTrue(result.err.endswith("\n") and len(result.err) < 4000, result.err)
        for text in says:
            self.assertIn(text, result.err, f"{result.args}")
        return result

    def write(self, name: str, content: str | bytes | Any) -> pathlib.Path:
        """A file in the scratch folder: bytes, text, or anything else as JSON."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def copy_model(self, source: pathlib.Path, name: str = "model") -> "ModelFolder":
        return ModelFolder.copy(source, self.folder / name)

    def generate_json(self, *args: str | bytes | pathlib.Path, **options: Any) -> Any:
        """The one object that `generate --json` prints."""
        rows = self.ok("generate", "--json", *args, **options).json_lines()
        self.assertEqual(len(rows), 1)
        return rows[0]


@dataclasses.dataclass
class TensorData:
    dtype: str
    shape: list[int]
    data: bytearray

    def put(self, index: int, code: bytes) -> None:
        """Overwrites the element at the flat index."""
        self.data[index * len(code) : (index + 1) * len(code)] = code


def read_safetensors(path: Path) -> dict[str, TensorData]:
    content = pathlib.Path(path).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    return {
        name: TensorData(
            entry["dtype"],
            entry["shape"],
            bytearray(content[8 + length + entry["data_offsets"][0] : 8 + length + entry["data_offsets"][1]]),
        )
        for name, entry in header.items()
    }


def safetensors_header(entries: Mapping[str, Any]) -> bytes:
    header = json.dumps(entries).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header


def write_safetensors(path: Path, tensors: Mapping[str, TensorData]) -> None:
    entries, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + len(tensor.data)
        entries[name] = {"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [offset, end]}
        offset = end
    with open(path, "wb") as file:
        file.write(safetensors_header(entries))
        for tensor in tensors.values():
            file.write(tensor.data)


def floats(tensor: TensorData) -> list[float]:
    assert tensor.dtype == "F32"
    return list(struct.unpack(f"<{len(tensor.data) // 4}f", tensor.data))


class ModelFolder:
    """A checkpoint's folder that a test may change: its files are links until they are written."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __fspath__(self) -> str:
        return str(self.path)

    @classmethod
    def copy(cls, source: pathlib.Path, path: pathlib.Path) -> "ModelFolder":
        path.mkdir(parents=True)
        for file in source.iterdir():
            if not file.name.startswith("golden") and file.suffix != ".md":
                (path / file.name).symlink_to(file)
        return cls(path)

    def write(self, name: str, content: str | bytes | Any) -> pathlib.Path:
        file = self.path / name
        file.unlink(missing_ok=True)
        if not isinstance(content, (str, bytes)):
            content = json.dumps(content)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def edit_json(self, name: str, edit: Callable[[Any], Any]) -> None:
        """edit changes the parsed file in place, or returns another."""
        value = json.loads((self.path / name).read_text())
        changed = edit(value)
        self.write(name, value if changed is None else changed)

    def edit_config(self, **changes: Any) -> None:
        self.edit_json("config.json", lambda config: config.update(changes))

    def edit_tensors(self, edit: Callable[[dict[str, TensorData]], None], name: str = "model.safetensors") -> None:
        tensors = read_safetensors(self.path / name)
        edit(tensors)
        (self.path / name).unlink()
        write_safetensors(self.path / name, tensors)
        (self.path / "model.safetensors.index.json").unlink(missing_ok=True)

    def writable(self, name: str) -> pathlib.Path:
        """A copy in place of the link."""
        file = self.path / name
        content = file.read_bytes()
        return self.write(name, content)

    def set_template(self, template: str) -> None:
        self.edit_json("tokenizer_config.json", lambda config: config.update(chat_template=template))


class Terminal:
    """The binary on a pseudo-terminal, as a person sits at one."""

    def __init__(self, *args: str, env: Mapping[str, str | None] | None = None) -> None:
        self.pid, self.fd = os.forkpty()
        if self.pid == 0:
            try:
                os.execve(hadal, [str(hadal), *args], environment(env))
            finally:
                os._exit(127)
        self.seen = ""  # all that came and no expect() has taken
        self.code: int | None = None

    def type(self, text: str) -> None:
        os.write(self.fd, text.encode())

    def read(self, seconds: float) -> bool:
        """Takes what comes within the time; False at the end of the program's output."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:  # EIO: nobody holds the other side
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)

    def expect(self, pattern: str) -> str:
        """Waits until the pattern has come; returns everything up to its end."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            if found := re.search(pattern, self.seen, re.DOTALL):
                before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
                return before
            if time.monotonic() > deadline or not self.read(0.2):
                raise AssertionError(f"no {pattern!r} in {self.seen!r}")

    def mode(self) -> int:
        """The local flags of the terminal: ECHO and ICANON are what a shell wants to find."""
        return termios.tcgetattr(self.fd)[3]

    def prompt(self, before: str = "") -> str:
        """Waits for what comes before a prompt, the prompt, and the moment when line editing takes keys: it shows the
        prompt a little earlier, and the terminal's own line editing gets what is typed in between."""
        shown = self.expect(before + r"(?:^|\r\n?|\n)>+ $")
        deadline = time.monotonic() + TIMEOUT_S
        while self.mode() & termios.ICANON and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        return shown

    def wait(self) -> int:
        """The rest of the output is read; returns the exit code, or -N for signal N."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.read(0.2):
            if time.monotonic() > deadline:
                raise AssertionError(f"does not end: {self.seen!r}")
            if self.ended():
                while self.read(0) and select.select([self.fd], [], [], 0)[0]:
                    pass
                break
        while not self.ended():
            time.sleep(0.01)
        assert self.code is not None
        return self.code

    def ended(self) -> bool:
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid != 0:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def close(self) -> None:
        if not self.ended():
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


def has_command(name: str) -> bool:
    return shutil.which(name) is not None
