"""cmake --install: what lies under the prefix runs by itself."""
import pathlib
import shutil
import subprocess

import support
from support import CliTest


class Installed(CliTest):
    def test_generates_with_its_own_model(self) -> None:
        if support.build is None or shutil.which("cmake") is None:
            self.skipTest("needs --build and cmake")
        prefix = self.folder / "prefix"
        command = ["cmake", "--install", support.build, "--prefix", prefix]
        done = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.check(prefix)
        self.check(pathlib.Path(shutil.move(prefix, self.folder / "elsewhere")))

    def check(self, prefix: pathlib.Path) -> None:
        ask = ("generate", "-p", "Once upon a time", "-n", "8", "--temperature", "0")
        installed = {"binary": prefix / "bin" / "hadal", "env": {"HADAL_MODELS": None}, "cwd": "/"}
        self.assertEqual(self.ok(*ask, **installed).out, self.ok(*ask).out)
        self.assertIn(f"{prefix}/share/hadal/models/tiny-chat\n", self.ok("inspect", **installed).out)


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
