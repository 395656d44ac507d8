"""Where --model finds a model: a folder, the Hugging Face cache, or the built-in one."""
import os
import pathlib
import shutil
import subprocess

import support
from support import TINY_CHAT, CliTest

TEXT = '{"text": "Once"}\n'
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Lookup(CliTest):
    def add_to_cache(self, cache: pathlib.Path, name: str = "org/name", commit: str = COMMIT) -> pathlib.Path:
        """A repository as huggingface_hub leaves it: blobs, and snapshots of links to them."""
        repository = cache / ("models--" + name.replace("/", "--"))
        snapshot = repository / "snapshots" / commit
        (repository / "blobs").mkdir(parents=True, exist_ok=True)
        snapshot.mkdir(parents=True)
        for number, file in enumerate(TINY_CHAT.iterdir()):
            blob = repository / "blobs" / f"{commit[:8]}{number}"
            blob.symlink_to(file)
            (snapshot / file.name).symlink_to(pathlib.Path("../../blobs") / blob.name)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(commit)
        return snapshot

    def folder_of(self, model: str, env: dict[str, str | None]) -> str:
        return self.ok("inspect", model, env=env).out.split("folder")[1].split()[0]

    def test_folder(self) -> None:
        for model in (str(TINY_CHAT), str(TINY_CHAT) + "/", "tiny-chat", "./tiny-chat", "../models/tiny-chat"):
            out = self.ok("tokenize", "-m", model, stdin=TEXT, cwd=TINY_CHAT.parent).out
            self.assertEqual(out, '{"ids": [515]}\n')

    def test_folder_comes_before_the_cache(self) -> None:
        self.add_to_cache(self.folder / "cache")
        (self.folder / "org").mkdir()
        self.failure("tokenize", "-m", "org/name", env={"HF_HUB_CACHE": "nowhere"}, cwd=self.folder)
        (self.folder / "org" / "name").symlink_to(TINY_CHAT)
        self.ok("tokenize", "-m", "org/name", stdin=TEXT, env={"HF_HUB_CACHE": "nowhere"}, cwd=self.folder)

    def test_cache(self) -> None:
        caches = {
            "HF_HUB_CACHE": self.add_to_cache(self.folder / "a"),
            "HF_HOME": self.add_to_cache(self.folder / "b" / "hub"),
            "XDG_CACHE_HOME": self.add_to_cache(self.folder / "c" / "huggingface" / "hub"),
            "HOME": self.add_to_cache(self.folder / "d" / ".cache" / "huggingface" / "hub"),
        }
        values = {
            "HF_HUB_CACHE": str(self.folder / "a"),
            "HF_HOME": str(self.folder / "b"),
            "XDG_CACHE_HOME": str(self.folder / "c"),
            "HOME": str(self.folder / "d"),
        }
        env: dict[str, str | None] = {}
        for variable in reversed(values):  # each comes before those that are set already
            env[variable] = values[variable]
            self.assertEqual(self.folder_of("org/name", env), str(caches[variable]))
        row = self.generate_json("-m", "org/name", "-p", "Once", "-n", "2", env=env)
        self.assertEqual(row["completion_tokens"], 2)

    def test_snapshot_of_main(self) -> None:
        cache = self.folder / "cache"
        self.add_to_cache(cache)
        other = self.add_to_cache(cache, commit="f" * 40)
        env: dict[str, str | None] = {"HF_HUB_CACHE": str(cache)}
        self.assertEqual(self.folder_of("org/name", env), str(other))
        (cache / "models--org--name" / "refs" / "main").write_text(COMMIT + "\n")
        self.assertTrue(self.folder_of("org/name", env).endswith(COMMIT))
        (cache / "models--org--name" / "refs" / "main").write_text("../../../../etc")
        self.failure("tokenize", "-m", "org/name", env=env, says=["refs/main", "the hash of a commit"])

    def test_absent_model_names_the_download(self) -> None:
        env: dict[str, str | None] = {"HF_HUB_CACHE": str(self.folder)}
        for command in (
            ("generate", "-p", "x"),
            ("chat",),
            ("tokenize",),
            ("render", "--messages", str(self.write("m.json", []))),
            ("logits", "--ids", str(self.write("ids.json", [0])), "--out", str(self.folder / "out")),
            ("inspect",),
            ("verify",),
        ):
            says = ["--model org/absent", str(self.folder), "hf download org/absent\n"]
            self.failure(*command, "--model", "org/absent", env=env, says=says)
        self.failure("generate", "--ckpt-path", "org/absent", "-p", "x", env=env, says=["hf download org/absent\n"])
        self.assertFalse((self.folder / "out").exists())
        # a download that stopped before its files came
        (self.folder / "models--org--absent" / "refs").mkdir(parents=True)
        (self.folder / "models--org--absent" / "refs" / "main").write_text(COMMIT)
        self.failure("tokenize", "-m", "org/absent", env=env, says=["hf download org/absent\n"])

    def test_what_is_no_model(self) -> None:
        file = self.write("model.safetensors", b"x")
        self.failure("generate", "-p", "x", "-m", file, says=[str(file), "expected  a folder", "found     a file"])
        self.failure("generate", "-p", "x", "-m", file / "x", says=[str(file / "x"), "no such folder"])
        self.failure("generate", "-p", "x", "-m", self.folder / "absent", says=["absent", "no such folder"])
        self.failure("generate", "-p", "x", "-m", "absent", says=["--model absent", "no such folder"])
        empty = self.folder / "empty"
        empty.mkdir()
        self.failure("generate", "-p", "x", "-m", empty, says=["empty", "config.json"])
        self.failure("generate", "-p", "x", "-m", "x" * 300, says=["File name too long"])
        loop = self.folder / "loop"
        loop.symlink_to("loop")
        self.failure("generate", "-p", "x", "-m", loop, says=["loop", "symbolic links"])

    def test_unreadable_folder(self) -> None:
        if os.getuid() == 0 and shutil.which("setpriv") is None:
            self.skipTest("nothing is closed to root, and there is no setpriv to be somebody else")
        closed = self.folder / "closed"
        closed.mkdir()
        shutil.copy(TINY_CHAT / "config.json", closed)
        binary = self.folder / "hadal"
        shutil.copy(support.hadal, binary)  # its own folder may be closed to others
        closed.chmod(0)
        self.folder.chmod(0o755)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
        command = [*nobody, str(binary), "generate", "-p", "x", "-m", str(closed)]
        done = subprocess.run(command, capture_output=True, text=True, env=support.environment())
        closed.chmod(0o755)
        self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
        self.assertIn(str(closed), done.stderr)
        self.assertIn("Permission denied", done.stderr)


class BuiltIn(CliTest):
    def test_where_it_is_looked_for(self) -> None:
        binary = self.folder / "x" / "bin" / "hadal"
        binary.parent.mkdir(parents=True)
        shutil.copy(support.hadal, binary)
        none: dict[str, str | None] = {"HADAL_MODELS": None}
        result = self.failure("tokenize", binary=binary, env=none, says=["--model", "built-in"])
        self.assertIn(str(self.folder / "x" / "share/hadal/models/tiny-chat"), result.err)
        self.ok("tokenize", binary=binary, stdin=TEXT)  # HADAL_MODELS
        for place in ("x/share/hadal/models", "x/models", "models"):
            (self.folder / place).mkdir(parents=True)
            (self.folder / place / "tiny-chat").symlink_to(TINY_CHAT)
            self.ok("tokenize", binary=binary, stdin=TEXT, env=none, cwd="/")
            (self.folder / place / "tiny-chat").unlink()

    def test_link_to_the_binary(self) -> None:
        (self.folder / "models").mkdir()
        (self.folder / "models" / "tiny-chat").symlink_to(TINY_CHAT)
        shutil.copy(support.hadal, self.folder / "hadal")
        link = self.write("elsewhere/x", "").parent / "hadal"
        link.symlink_to(self.folder / "hadal")
        self.ok("tokenize", binary=link, stdin=TEXT, env={"HADAL_MODELS": None})


if __name__ == "__main__":
    raise SystemExit("run tests/cli_test.py")
