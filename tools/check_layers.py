#!/usr/bin/env python3
"""An #include points to a lower layer or into its own folder, never sideways, never up; x.cc first includes its x.h.

Checks hadal/ and cli/. The table below is the one place where the layers are written; docs/architecture.md quotes
it (tests/docs_test.py compares).
"""
import pathlib
import re
import sys

LAYERS = [
    ["core"],
    ["io", "kernels", "dist", "text"],
    ["ops"],
    ["model", "cuda"],
    ["engine", "convert"],
    ["serve", "train", "eval"],
    ["cli", "python"],
]
LEVEL = {folder: level for level, row in enumerate(LAYERS) for folder in row}
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.MULTILINE)
INCLUDE_LINE = re.compile(r"^\s*#\s*include\s*[\"<]([^\">]+)", re.MULTILINE)


def check(file: pathlib.Path, folder: str) -> list[str]:
    """One line for each include of `file`, which lies in `folder`, that the table forbids."""
    bad, text = [], file.read_text(encoding="utf-8")
    for target in INCLUDE.findall(text):
        to = re.sub(r"^hadal/", "", target).split("/")[0]
        if folder not in LEVEL:
            bad.append(f"{file}: the folder {folder} is not in the table of tools/check_layers.py")
        elif target == "hadal_bridge.h":
            bad += [] if folder == "text" else [f"{file}: only text/ includes hadal_bridge.h"]
        elif to not in LEVEL or (to != folder and LEVEL[to] >= LEVEL[folder]):
            bad.append(f"{file}: {folder} ({LEVEL[folder]}) includes {target} ({LEVEL.get(to, 'no layer')})")
    own = file.with_suffix(".h")
    if file.suffix == ".cc" and own.exists() and not INCLUDE_LINE.search(text).group(1).endswith(f"/{own.name}"):
        bad.append(f"{file}: the first #include is {folder}/{own.name}, which shows that it compiles alone")
    return bad


if __name__ == "__main__":
    root = pathlib.Path(__file__).resolve().parent.parent
    problems, count = [], 0
    for file in sorted([*(root / "hadal").rglob("*"), *(root / "cli").rglob("*")]):
        if file.suffix in (".h", ".cc", ".cu"):
            parts = file.relative_to(root).parts
            problems += check(file, parts[1] if parts[0] == "hadal" else parts[0])
            count += 1
    print("\n".join(problems) or f"{count} files keep to the layers")
    sys.exit(bool(problems))
