#!/usr/bin/env python3
"""Who was late: reads what TUTTI_STATS=FILE has written (docs/statistics.md).

    TUTTI_STATS=stats.json mpirun -np 4 my_program && read_statistics.py stats.json
"""
import json
import sys


def microseconds(histogram, quantile):
    return f"{histogram[quantile] / 1000:10.1f}" if histogram.get("count") else f"{'-':>10}"


def print_worst(ranks):
    worst = max(ranks, key=lambda rank: rank["late_ns"])
    if not worst["times_last"]:
        return
    uncertain = f" (uncertain by {worst['uncertainty_mean_ns'] / 1000:.1f} us)" if "uncertainty_mean_ns" in worst else ""
    print(f"rank {worst['rank']} cost most: the last to arrive in {worst['share_last']:.0%} of operations, "
          f"{worst['mean_late_ns'] / 1000:.1f} us after the rank before it{uncertain}, {worst['max_late_ns'] / 1000:.1f} us at worst")


def print_job(job):
    """Rank 0 of several nodes: all ranks, compared by clocks that are known so well and no better."""
    print(f"\nall ranks of all nodes: {job['derived']} operations compared")
    print(f"{'collective':<12}{'up to bytes':>12}{'skew p99':>12}{'service p99':>14}{'uncertain by':>15}   (us)")
    for kind in job["kinds"]:
        most = kind.get("bytes_to", "any")
        print(f"{kind['collective']:<12}{'more' if most is None else most:>12}{microseconds(kind['skew'], 'p99_ns'):>12}"
              f"{microseconds(kind['service'], 'p99_ns'):>14}{microseconds(kind['skew'], 'uncertainty_mean_ns'):>15}")
    print_worst(job["ranks"])


def print_rails(rails):
    """RDMA: equal rails that are used equally have equal shares."""
    print(f"\n{'rail':<12}{'bytes':>14}{'share':>8}{'complete p50':>14}{'p99':>12}   (us)")
    for rail in rails:
        amiss = "" if rail["up"] else "  down"
        amiss += f"  dead for {rail['dead_peers']} ranks" if rail["dead_peers"] else ""
        print(f"{rail['rail']:<12}{rail['bytes']:>14}{rail['share']:>8.1%}{microseconds(rail['completion'], 'p50_ns'):>14}"
              f"{microseconds(rail['completion'], 'p99_ns'):>12}{amiss}")


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        stats = json.load(file)

    print(f"{stats['operations']} operations of rank {stats['rank']}, {stats['derived']} compared with {stats['scope']}")
    print(f"{'collective':<12}{'up to bytes':>12}{'latency p99':>14}{'skew p99':>12}{'service p99':>14}   (us)")
    for kind in stats["kinds"]:
        columns = [microseconds(kind.get(name, {}), "p99_ns") for name in ("latency", "skew", "service")]
        most = kind.get("bytes_to", "any")
        print(f"{kind['collective']:<12}{'more' if most is None else most:>12}{columns[0]:>14}{columns[1]:>12}{columns[2]:>14}")

    print_worst(stats["ranks"])
    if "rails" in stats:
        print_rails(stats["rails"])
    if "job" in stats:
        print_job(stats["job"])


if __name__ == "__main__":
    main()
