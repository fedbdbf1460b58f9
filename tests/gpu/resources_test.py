#!/usr/bin/env python3
"""No kernel spills registers: reads what the assembler said when the kernels were compiled.

Usage: resources_test.py FOLDER TYPE...   FOLDER holds TYPE.resources for every type."""

import pathlib
import re
import sys

SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")


def problems_of(path):
    """What is wrong with one type's kernels, and how many kernels there were."""
    text = path.read_text()
    kernels = ENTRY.findall(text)
    found = [f"{path.name}: {match.group(0)}" for match in SPILLS.finditer(text) if match.groups() != ("0", "0")]
    if len(SPILLS.findall(text)) < len(kernels):
        found.append(f"{path.name}: says nothing of spills for some kernels")
    return found, kernels


def main():
    folder, types = pathlib.Path(sys.argv[1]), sys.argv[2:]
    problems, kernels = [], set()
    for name in types:
        found, entries = problems_of(folder / f"{name}.resources")
        problems += found
        kernels |= {(kernel, architecture) for kernel, architecture in entries}
        missing = [op for op in ("sum", "prod", "min", "max") if not any(k == f"tutti_{op}_{name}" for k, _ in entries)]
        problems += [f"{name}: no kernel tutti_{op}_{name}" for op in missing]
    print(f"{len(kernels)} kernels of {len(types)} types, {len(problems)} problems")
    for problem in problems:
        print("  " + problem)
    return 1 if problems or not kernels else 0


if __name__ == "__main__":
    sys.exit(main())
