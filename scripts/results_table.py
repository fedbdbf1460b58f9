#!/usr/bin/env python3
"""Prints a Markdown table from results of allreduce_bench or broadcast_bench with --baseline LIBRARY,... --json FILE.

Usage: scripts/results_table.py RESULT.json...
One line per size: p50 and p99 of every library in microseconds, and how many times longer each baseline took; with several baselines the
ratios of p50 with their intervals (95 %).
"""
import json
import sys

NAMES = {"mpi": "Open MPI", "ucc": "UCC", "gloo": "Gloo", "nccl": "NCCL"}


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


def ratio_with_interval(baseline, ours):
    text, interval = ratio(baseline.get("p50_us"), ours["p50_us"]), baseline.get("p50_ratio_interval")
    return f"{text} ({interval[0]:.2f} to {interval[1]:.2f})" if interval and text != "-" else text


def times(row):
    return f"{number(row.get('p50_us'))} / {number(row.get('p99_us'))}"


def line(cells):
    print(f"| {' | '.join(cells)} |")


def print_table(path):
    with open(path, encoding="utf-8") as file:
        results = json.load(file)["results"]
    baselines = list(dict.fromkeys(row["library"] for row in results if row["library"] != "tutti")) or ["mpi"]
    rows = {(row["library"], row["bytes"]): row for row in results}
    several = len(baselines) > 1
    names = [NAMES[name] for name in baselines]
    heads = ["size", "algorithm", "Tutti p50 / p99", *(f"{name} p50 / p99" for name in names)]
    heads += [f"{name} / Tutti" for name in names] if several else ["ratio p50", "ratio p99"]
    line(heads)
    line(["---"] * len(heads))
    for size, row in sorted((size, row) for (name, size), row in rows.items() if name == "tutti"):
        others = [rows.get((name, size), {}) for name in baselines]
        ratios = [ratio_with_interval(other, row) for other in others] if several else \
            [ratio(others[0].get(key), row[key]) for key in ("p50_us", "p99_us")]
        line([size_text(size), row["algorithm"], times(row), *(times(other) for other in others), *ratios])
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
