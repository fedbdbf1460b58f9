#!/usr/bin/env python3
"""Fails when a ctest run skipped a test without an agreed reason, or ran no test at all.

Usage: check_skips.py JUNIT_FILE ALLOWED_FILE

JUNIT_FILE is what `ctest --output-junit` wrote. Each line of ALLOWED_FILE is `test-name : reason-regex`; a test
of that name may be skipped when its message or output matches the regular expression. `#` starts a comment line.
"""
import re
import sys
import xml.etree.ElementTree as ElementTree


def read_allowed(path):
    allowed = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            name, separator, reason = line.partition(" : ")
            if not separator or not reason.strip():
                raise ValueError(f"{path}:{number}: not `test-name : reason-regex`: {line}")
            allowed.setdefault(name.strip(), []).append(re.compile(reason.strip()))
    return allowed


def skipped_reason(case):
    """The text that says why this test case did not run, None for one that did."""
    skipped = case.find("skipped")
    if skipped is None and case.get("status") not in ("notrun", "disabled"):
        return None
    message = "" if skipped is None else skipped.get("message", "")
    return message + "\n" + (case.findtext("system-out") or "")


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    junit, allowed_path = arguments
    allowed = read_allowed(allowed_path)
    cases = list(ElementTree.parse(junit).getroot().iter("testcase"))
    skipped = {case.get("name"): skipped_reason(case) for case in cases if skipped_reason(case) is not None}

    problems = 0
    for name, reason in sorted(skipped.items()):
        if any(pattern.search(reason) for pattern in allowed.get(name, [])):
            print(f"skipped as allowed: {name}")
            continue
        problems += 1
        print(f"skipped, and not allowed to be: {name}: {reason.strip()[-500:]}")
    for name in sorted(allowed.keys() - {case.get("name") for case in cases}):
        problems += 1
        print(f"{allowed_path} names a test that does not exist: {name}")
    ran = len(cases) - len(skipped)
    print(f"{ran} tests ran, {len(skipped)} were skipped")
    return 1 if problems or ran == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
