#!/usr/bin/env python3
"""Prints a Markdown table from results of allreduce_bench or broadcast_bench with --baseline mpi --json FILE.

Usage: scripts/results_table.py RESULT.json...
One line per size: p50 and p99 of both libraries in microseconds, and how many times longer the baseline took.
"""
import json
import sys


def size_text(size):
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def number(value):
    if value is None:
        return "-"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def ratio(baseline, ours):
    return "-" if baseline is None or ours is None else f"{baseline / ours:.2f}"


def print_table(path):
    with open(path, encoding="utf-8") as file:
        results = json.load(file)["results"]
    ours = {row["bytes"]: row for row in results if row["library"] == "tutti"}
    theirs = {row["bytes"]: row for row in results if row["library"] == "mpi"}
    print("| size | algorithm | Tutti p50 / p99 | Open MPI p50 / p99 | ratio p50 | ratio p99 |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size, row in sorted(ours.items()):
        other = theirs.get(size, {})
        print(
            f"| {size_text(size)} | {row['algorithm']} | {number(row['p50_us'])} / {number(row['p99_us'])} "
            f"| {number(other.get('p50_us'))} / {number(other.get('p99_us'))} "
            f"| {ratio(other.get('p50_us'), row['p50_us'])} | {ratio(other.get('p99_us'), row['p99_us'])} |"
        )
    print()


def main():
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(__doc__)
        return 0 if len(sys.argv) > 1 else 2
    for path in sys.argv[1:]:
        print_table(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
