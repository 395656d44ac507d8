#!/usr/bin/env python3
"""Files and functions stay short enough to be read: warns beyond the limits below, fails beyond 1.5 times.

Functions are found by their layout, which clang-format and rustfmt guarantee: a line that ends a signature with '{',
and the next line that is '}' at the same indentation.
"""
import pathlib
import re
import sys

HEADER, SOURCE, KERNEL_OR_TEST = 250, 500, 600  # lines of a file
FUNCTION, KERNEL_FUNCTION = 50, 80  # lines of a function, signature included
FAIL_FACTOR = 1.5
RAW_STRING = re.compile(r'R"(\w*)\(.*?\)\1"', re.S)
NOT_A_FUNCTION = re.compile(r"\b(namespace|struct|class|enum|union|extern|mod|impl|trait|if|else|for|while|switch|do|match|loop)\b")


def functions(lines: list[str]) -> list[tuple[int, int]]:
    """(first line, number of lines) of each outermost function."""
    found, end = [], 0
    for i, line in enumerate(lines):
        if i < end or not line.rstrip().endswith("{"):
            continue
        first = i  # a signature of several lines begins after the last line that ended something, or a comment
        while first > 0 and not re.search(r"[;{}:]\s*$|^\s*$|^\s*(//|#)", lines[first - 1]):
            first -= 1
        signature = " ".join(lines[first : i + 1])
        if "(" not in signature or NOT_A_FUNCTION.search(re.split(r"\(", signature)[0]):
            continue
        indent = re.match(r"\s*", lines[first])[0]
        close = next((j for j in range(i + 1, len(lines)) if re.match(re.escape(indent) + r"\}", lines[j])), i)
        found.append((first, close - first + 1))
        end = close + 1
    return found


def check(file: pathlib.Path, name: str) -> list[tuple[str, float]]:
    """(message, size over limit) of each excess."""
    text = file.read_text(encoding="utf-8")
    # A table within a string has braces, but is no function.
    lines = RAW_STRING.sub(lambda raw: '""' + "\n" * raw[0].count("\n"), text).splitlines()
    kernel = name.startswith("hadal/kernels/")
    limit = KERNEL_OR_TEST if kernel or "_test." in name or name.startswith("tests/") else SOURCE
    limit = HEADER if file.suffix == ".h" else limit
    sizes = [(name, len(lines), limit)]
    if file.suffix != ".py":
        limit = KERNEL_FUNCTION if kernel else FUNCTION
        sizes += [(f"{name}:{first + 1} (function)", count, limit) for first, count in functions(lines)]
    return [(f"{what}: {size} lines, limit {most}", size / most) for what, size, most in sizes if size > most]


if __name__ == "__main__":
    root = pathlib.Path(__file__).resolve().parent.parent
    names = [
        file.relative_to(root).as_posix()
        for top in ("hadal", "cli", "tests", "fuzz", "bench", "bridge/src", "bridge/include", "tools")
        for file in sorted((root / top).rglob("*"))
        if file.suffix in (".h", ".cc", ".rs", ".py")
    ]
    excesses = [excess for name in names for excess in check(root / name, name)]
    for message, ratio in excesses:
        print(("error: " if ratio > FAIL_FACTOR else "warning: ") + message)
    print(f"{len(names)} files looked at")
    sys.exit(any(ratio > FAIL_FACTOR for _, ratio in excesses))
