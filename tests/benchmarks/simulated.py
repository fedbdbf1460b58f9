"""Launches of a benchmark that never ran: times as real ones have them, from a seed, and the files that a benchmark writes of them.

Within a launch: neighbouring iterations are alike (an autoregressive process), a share of them is far out (heavy tail). Between launches: each
has a level of its own, and levels drift, so that neighbouring launches are alike as well; now and then a launch is slow as a whole.
"""
import json

import numpy

MACHINE = {"cpu": "Simulated Processor", "cores": 4, "memory_bytes": 1 << 34, "kernel": "Linux 6.1", "architecture": "x86_64",
           "node": "0123456789abcdef", "compiler": "gcc 12.2.0", "tutti_version": "0.1.0", "mpi": None, "mpi_yield_when_idle": None,
           "launch": "local", "command": "allreduce_bench -b 8 -e 64K", "gpu": None}


def autoregressive(rng, count, correlation, spread):
    steps = rng.normal(0, spread * (1 - correlation**2) ** 0.5, size=count)
    values, value = numpy.empty(count), rng.normal(0, spread)
    for index, step in enumerate(steps):
        value = correlation * value + step
        values[index] = value
    return values


def times(rng, median_us, iterations, level):
    """One row of one launch."""
    noise = autoregressive(rng, iterations, 0.8, 0.06)
    late = rng.random(iterations) < 0.01
    noise[late] += rng.pareto(2.0, size=int(late.sum())) + 0.3
    return median_us * numpy.exp(noise + level)


def levels(rng, launches, spread=0.04):
    level = autoregressive(rng, launches, 0.7, spread)
    level[rng.random(launches) < 0.05] += 0.5
    return level


def row(us, size, library="tutti", **more):
    ordered = sorted(us)

    def percentile(permille):
        return ordered[max(1, -(-len(us) * permille // 1000)) - 1]

    columns = {"library": library, "collective": "all_reduce", "algorithm": "one_shot" if library == "tutti" else "default", "ranks": 2, "nodes": 1,
               "bytes": size, "count": size // 4, "dtype": "float32", "op": "sum", "root": None, "in_place": False, "iterations": len(us),
               "p50_us": percentile(500), "p90_us": percentile(900), "p99_us": percentile(990) if len(us) >= 100 else None,
               "p999_us": percentile(999) if len(us) >= 1000 else None, "max_us": max(us), "mean_us": sum(us) / len(us), "cv": 0.1,
               "algbw_gbs": size / percentile(500) / 1000, "busbw_gbs": size / percentile(500) / 1000, "wrong": 0, "memory": "host",
               "ranks_per_gpu": None, "mode": None, "chain": None, "bound_us": None, "bound_fraction": None, "call_ns": None, "settings": None,
               "no_baseline": None}
    return {**columns, **more}


def machine(second):
    return {**MACHINE, "time": f"2026-01-02T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"}


def raw_file(path, rows, second=0, **more):
    """`rows`: {"row": columns, "us": times, ...} each."""
    head = {"kind": "tutti-raw", "version": 1, "collective": "all_reduce", "machine": {**machine(second), **more}, "command": MACHINE["command"]}
    with open(path, "w", encoding="utf-8") as file:
        for content in (head, *rows):
            file.write(json.dumps(content, default=list) + "\n")


def document(path, rows, second=0, **more):
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"schema": "tutti-bench/1", "machine": {**machine(second), **more}, "interrupted": False, "results": rows}, file)


def samples(rng, us, row_columns, ranks=2, start_us=0.0, culprit=None):
    """The line of a raw file, with when iterations started and who was late."""
    late = rng.exponential(0.2, size=(ranks, len(us)))
    if culprit is not None:
        late[culprit] += 5
    late -= late.min(axis=0)
    start = start_us + numpy.concatenate([[0], numpy.cumsum(us[:-1] + 1)])
    return {"row": row_columns, "start_us": [round(x, 3) for x in start], "us": [round(x, 4) for x in us],
            "late_us": [[round(x, 3) for x in rank] for rank in late]}
