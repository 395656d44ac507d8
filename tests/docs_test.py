#!/usr/bin/env python3
"""What README and docs/ say is true of this tree and this binary.

    tests/docs_test.py BINARY

* a block fenced as ```sh test runs, in a scratch copy of the repository whose build/hadal is BINARY; an ```output
  block right after it is what it prints, byte for byte
* every `hadal` command in any other ```sh block names a command and flags that --help knows
* links and anchors lead somewhere, also those from comments in the code (docs/model.md#yarn)
* a table row with a source file and a function() names a function of that file
* docs/architecture.md quotes the layer table of tools/check_layers.py
* docs/formats.md names every key that hadal/model/config.cc reads
* docs/dependencies.md names every package of tools/install_deps.sh and every crate with its version
"""
import functools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import check_layers  # noqa: E402

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```\s*$", re.MULTILINE | re.DOTALL)
SECONDS_PER_BLOCK = 300


def name_of(page: pathlib.Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: pathlib.Path) -> list[tuple[str, str, int]]:
    """(info string, text, line number) of each fenced block."""
    text = page.read_text(encoding="utf-8")
    return [(m[1].strip(), m[2], text.count("\n", 0, m.start()) + 1) for m in FENCE.finditer(text)]


def scratch_copy(folder: pathlib.Path, binary: pathlib.Path) -> None:
    for entry in ROOT.iterdir():
        if entry.name not in ("build", ".git"):
            (folder / entry.name).symlink_to(entry)
    (folder / "build").mkdir()
    (folder / "build" / "hadal").symlink_to(binary)


def run_blocks(binary: pathlib.Path) -> list[str]:
    problems = []
    for page in PAGES:
        found = blocks(page)
        for i, (info, text, line) in enumerate(found):
            if info != "sh test":
                continue
            with tempfile.TemporaryDirectory() as folder:
                scratch_copy(pathlib.Path(folder), binary)
                try:
                    done = subprocess.run(
                        ["bash", "-euo", "pipefail", "-c", text],
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        env=os.environ | {"HADAL_MODELS": str(ROOT / "models")},  # BINARY may lie elsewhere
                        capture_output=True,
                        text=True,
                        timeout=SECONDS_PER_BLOCK,
                    )
                except subprocess.TimeoutExpired:
                    problems.append(f"{name_of(page)}:{line}: longer than {SECONDS_PER_BLOCK} s")
                    continue
            if done.returncode != 0:
                problems.append(f"{name_of(page)}:{line}: exit code {done.returncode}\n{done.stderr[-1000:]}")
            elif i + 1 < len(found) and found[i + 1][0] == "output" and found[i + 1][1] != done.stdout:
                problems.append(f"{name_of(page)}:{line}: prints\n{done.stdout}instead of\n{found[i + 1][1]}")
    return problems


@functools.lru_cache(maxsize=None)
def help_text(binary: pathlib.Path, command: str) -> str | None:
    """`hadal COMMAND --help`, of a command's own command too; None when there is no such one."""
    done = subprocess.run([binary, *command.split(), "--help"], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def check_commands(binary: pathlib.Path) -> list[str]:
    problems = []
    for page in PAGES:
        for info, text, line in blocks(page):
            if not info.startswith("sh"):
                continue
            for command_line in text.replace("\\\n", " ").splitlines():
                words = shlex.split(command_line, comments=True)
                starts = [i for i, word in enumerate(words) if word in ("hadal", "build/hadal")]
                for start in starts[:1]:
                    command = words[start + 1] if start + 1 < len(words) and words[start + 1][0] != "-" else ""
                    known = help_text(binary, command)
                    inner = words[start + 2] if start + 2 < len(words) else "-"
                    if known is not None and "Subcommands:" in known and command and inner[0] != "-":
                        command += " " + inner
                        known = help_text(binary, command)
                    if known is None:
                        problems.append(f"{name_of(page)}:{line}: hadal has no command '{command}'")
                        continue
                    for word in words[start + 1 :]:
                        if word in ("|", ">", "&&", ";"):
                            break
                        flag = word.split("=")[0]
                        if re.fullmatch(r"--?[a-z][a-z0-9-]*", flag) and not re.search(
                            rf"(?<![\w-]){re.escape(flag)}(?![\w-])", known
                        ):
                            problems.append(f"{name_of(page)}:{line}: hadal {command} has no flag {flag}")
    return problems


def anchors(page: pathlib.Path) -> set[str]:
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    slugs = set(re.findall(r'<a id="([^"]+)"', text))
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        slugs.add(re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-"))
    return slugs


def check_link(source: str, base: pathlib.Path, target: str) -> list[str]:
    path, _, anchor = target.partition("#")
    page = (base / path).resolve() if path else None
    if page is not None and not page.exists():
        return [f"{source}: nothing at {target}"]
    if anchor and page is not None and page.suffix == ".md" and anchor not in anchors(page):
        return [f"{source}: no heading for {target}"]
    return []


def check_links() -> list[str]:
    problems = []
    for page in [*PAGES, *ROOT.glob("models/*/*.md"), *ROOT.glob("tests/**/*.md")]:
        text = FENCE.sub("", page.read_text(encoding="utf-8"))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"[a-z]+:", target):
                target = page.name + target if target.startswith("#") else target
                problems += check_link(name_of(page), page.parent, target)
    sources = [f for top in ("hadal", "cli", "tests", "fuzz", "bench", "bridge/src") for f in (ROOT / top).rglob("*")]
    for file in sources:
        if file.suffix in (".h", ".cc", ".rs"):
            for target in re.findall(r"\bdocs/[a-z_]+\.md(?:#[a-z0-9_-]+)?", file.read_text(encoding="utf-8")):
                problems += check_link(name_of(file), ROOT, target)
    return problems


def find_source(path: str) -> pathlib.Path | None:
    return next((ROOT / top / path for top in ("", "hadal") if (ROOT / top / path).is_file()), None)


def check_functions() -> list[str]:
    problems = []
    token = re.compile(r"`(?:([\w/.-]+\.(?:cc|h|rs|py))|([\w:~]+)\(\))`")
    for page in PAGES:
        for row in re.findall(r"^\|.*$", page.read_text(encoding="utf-8"), re.MULTILINE):
            path, code = "", ""
            for named_path, function in token.findall(row):
                if named_path:
                    path, file = named_path, find_source(named_path)
                    if file is None:
                        problems.append(f"{name_of(page)}: no file {path}")
                    text = file.read_text(encoding="utf-8") if file else ""
                    code = re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE)
                elif path and not re.search(rf"\b{function.split('::')[-1]}\s*(<[^>]*>)?\(", code):
                    problems.append(f"{name_of(page)}: {path} has no {function}()")
    return problems


def check_layer_table() -> list[str]:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    found = [(int(level), folders.split()) for level, folders in re.findall(r"^(\d)  ([a-z ]+?)   ", text, re.MULTILINE)]
    expected = list(reversed(list(enumerate(check_layers.LAYERS))))
    if found != expected:
        return [f"docs/architecture.md: layer table is {found}, tools/check_layers.py has {expected}"]
    return []


def check_config_keys() -> list[str]:
    code = (ROOT / "hadal/model/config.cc").read_text(encoding="utf-8")
    page = (ROOT / "docs/formats.md").read_text(encoding="utf-8")
    keys = set(re.findall(r'\b(?:in\.\w+|check_derived|integer_or_none)\((?:in, )?"([a-z_0-9]+)"', code))
    keys |= set(re.findall(r'^    \{"([a-z_]+)", ', code, re.MULTILINE))  # kFixedKeys
    return [f"docs/formats.md: config.json's {key} is missing" for key in sorted(keys) if f"`{key}`" not in page]


def check_dependencies() -> list[str]:
    page = (ROOT / "docs/dependencies.md").read_text(encoding="utf-8")
    script = (ROOT / "tools/install_deps.sh").read_text(encoding="utf-8")
    packages = " ".join(re.findall(r"packages\+=\(([^)]*)\)", script)).split()
    crates = re.findall(r'^([\w-]+) = (?:\{ version = )?"=([\d.]+)"', (ROOT / "bridge/Cargo.toml").read_text(), re.MULTILINE)
    missing = [package for package in packages if f"`{package}`" not in page]
    for crate, version in crates:
        if not re.search(rf"^\|.*`{crate}`.*\| {re.escape(version)} \|", page, re.MULTILINE):
            missing.append(f"{crate} {version}")
    return [f"docs/dependencies.md: {name} is missing" for name in missing]


if __name__ == "__main__":
    hadal = pathlib.Path(sys.argv[1]).resolve()
    failures = [
        *check_links(),
        *check_functions(),
        *check_layer_table(),
        *check_config_keys(),
        *check_dependencies(),
        *check_commands(hadal),
        *run_blocks(hadal),
    ]
    print("\n".join(failures) or f"{len(PAGES)} pages hold")
    sys.exit(bool(failures))
