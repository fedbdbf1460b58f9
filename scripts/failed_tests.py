#!/usr/bin/env python3
"""Prints how each failed test of a ctest run ended, so that a log's last lines say what was wrong.

Usage: failed_tests.py JUNIT_FILE [LINES]

JUNIT_FILE is what `ctest --output-junit` wrote. Of each failed test's output the last LINES (default 40) are printed.
"""
import sys
import xml.etree.ElementTree as ElementTree


def main(arguments):
    if len(arguments) not in (1, 2):
        print(__doc__, file=sys.stderr)
        return 2
    most = int(arguments[1]) if len(arguments) == 2 else 40
    for case in ElementTree.parse(arguments[0]).getroot().iter("testcase"):
        if case.get("status") != "fail":
            continue
        lines = (case.findtext("system-out") or "").rstrip().splitlines()
        print(f"Failed: {case.get('name')}" + (f", the last {most} of {len(lines)} lines:" if len(lines) > most else ":"))
        for line in lines[-most:]:
            print(f"  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
