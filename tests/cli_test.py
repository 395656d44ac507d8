#!/usr/bin/env python3
"""The commands as a user meets them: what they print, where, and with which exit code.

    tests/cli_test.py BINARY [--build FOLDER] [PART...]

A part is a file tests/cli/PART_test.py; none named: all of them. FOLDER is what `cmake --install` takes, for the test of
an installed binary.
"""
import argparse
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "cli"))
import support  # noqa: E402


def main() -> int:
    folder = pathlib.Path(__file__).resolve().parent / "cli"
    parts = sorted(file.name.removesuffix("_test.py") for file in folder.glob("*_test.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=pathlib.Path)
    parser.add_argument("--build", type=pathlib.Path)
    parser.add_argument("-k", dest="pattern", help="only tests whose name has this in it")
    parser.add_argument("part", nargs="*", default=parts)
    options = parser.parse_intermixed_args()
    support.hadal = options.binary.resolve()
    support.build = options.build
    loader = unittest.TestLoader()
    if options.pattern:
        loader.testNamePatterns = [f"*{options.pattern}*"]
    suite = unittest.TestSuite(loader.loadTestsFromName(f"{part}_test") for part in options.part)
    result = unittest.TextTestRunner(verbosity=2).run(suite)
    return 0 if result.wasSuccessful() and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
