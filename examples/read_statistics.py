#!/usr/bin/env python3
"""Who was late: reads what TUTTI_STATS=FILE has written (docs/statistics.md).

    TUTTI_STATS=stats.json mpirun -np 4 my_program && read_statistics.py stats.json
"""
import json
import sys


def microseconds(histogram, quantile):
    return f"{histogram[quantile] / 1000:10.1f}" if histogram.get("count") else f"{'-':>10}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        stats = json.load(file)

    print(f"{stats['operations']} operations of rank {stats['rank']}, {stats['derived']} compared with {stats['scope']}")
    print(f"{'collective':<12}{'up to bytes':>12}{'latency p99':>14}{'skew p99':>12}{'service p99':>14}   (us)")
    for kind in stats["kinds"]:
        columns = [microseconds(kind.get(name, {}), "p99_ns") for name in ("latency", "skew", "service")]
        most = kind.get("bytes_to", "any")
        print(f"{kind['collective']:<12}{'more' if most is None else most:>12}{columns[0]:>14}{columns[1]:>12}{columns[2]:>14}")

    worst = max(stats["ranks"], key=lambda rank: rank["late_ns"])
    if worst["times_last"]:
        print(f"rank {worst['rank']} cost most: the last to arrive in {worst['share_last']:.0%} of operations, "
              f"{worst['mean_late_ns'] / 1000:.1f} us after the rank before it, {worst['max_late_ns'] / 1000:.1f} us at worst")


if __name__ == "__main__":
    main()
