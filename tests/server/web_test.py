"""The website in a real Chromium, by web/e2e: against a server that is open, and against one with accounts."""

import os
import pathlib
import shutil
import subprocess

import support
from support import ROOT, Server, ServerTest

LONGEST_S = 600


class Website(ServerTest):
    def browse(self, server: Server, *flags: str) -> None:
        chromium = shutil.which("chromium")
        if not chromium:
            self.skipTest("no chromium: tools/install_deps.sh browser")
        node = shutil.which("node") or shutil.which("nodejs")
        shots = pathlib.Path(support.build or ROOT / "build").resolve() / "web_shots"
        done = subprocess.run(
            [node, "e2e/run.mjs", server.url, "--shots", shots, *flags],
            cwd=ROOT / "web",
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            env=os.environ | {"CHROMIUM": chromium},
        )
        self.assertEqual(done.returncode, 0, done.stdout[-8000:] + done.stderr[-4000:])

    def test_open(self) -> None:
        self.browse(self.server)

    def test_with_accounts(self) -> None:
        database = self.scratch() / "accounts.db"
        key = support.keys(database, "create", "--name", "operator", "--admin")
        server = self.start("--accounts", database).wait()
        self.browse(server, "--key", key, "--only", "platform")
