#!/usr/bin/env python3
"""The server as its clients meet it: a process, an address, and what comes back.

    tests/server_test.py BINARY [--build FOLDER] [--venv FOLDER] [--long] [-k PATTERN] [PART...]

A part is a file tests/server/PART_test.py; none named: all of them. --long: the minutes of load that are not for every change.
Parts that use clients need the packages of tests/server/requirements.txt: --venv is where tests/server/install_clients.sh has
put them. If it could not, the exit code is 77, which ctest takes for "skipped"; under CI it is a failure.
"""
import argparse
import importlib.util
import os
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "server"))
import support  # noqa: E402

CLIENT_PARTS = {"openai", "clients", "anthropic", "responses", "openapi"}


def go_to(venv: pathlib.Path | None) -> int:
    """Goes on in the environment that has the clients; comes back with an exit code if there is none."""
    python = venv / "bin" / "python" if venv else None
    if python and (venv / "installed.txt").exists() and pathlib.Path(sys.prefix) != venv.resolve():
        os.execv(python, [str(python), *sys.argv])
    print("server_test: no clients here; tests/server/install_clients.sh FOLDER, then --venv FOLDER", file=sys.stderr)
    return 1 if os.environ.get("CI") else 77


def main() -> int:
    folder = pathlib.Path(__file__).resolve().parent / "server"
    parts = sorted(file.name.removesuffix("_test.py") for file in folder.glob("*_test.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("--venv", type=pathlib.Path)
    parser.add_argument("--long", action="store_true", help="load for a minute instead of seconds")
    parser.add_argument("-k", dest="pattern", help="only tests whose name has this in it")
    parser.add_argument("part", nargs="*", default=parts)
    options = parser.parse_intermixed_args()
    if CLIENT_PARTS & set(options.part) and not importlib.util.find_spec("openai"):
        return go_to(options.venv)
    support.hadal = options.binary.resolve()
    support.build = options.build
    support.long = options.long
    loader = unittest.TestLoader()
    if options.pattern:
        loader.testNamePatterns = [f"*{options.pattern}*"]
    suite = unittest.TestSuite(loader.loadTestsFromName(f"{part}_test") for part in options.part)
    try:
        result = unittest.TextTestRunner(verbosity=2).run(suite)
    finally:
        support.stop_all()
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
