#!/usr/bin/env python3
"""Tries the gate on recorded launches: how often does it cry wolf here, and which slowdown does it find?

  scripts/try_gate.py LAUNCHES [--launches 30] [--repeats 60] [--slowdown 10%] [--apart]

LAUNCHES is a folder (or files joined by commas) of many launches of ONE build, in the order in which they were measured. Each repeat takes
2 x --launches neighbouring ones and deals them to OLD and NEW in turns. First as they are: every alarm is a false one. Then with all
times of NEW longer by --slowdown: every row without an alarm is a miss. So anybody can see what the gate is worth on a machine before relying on it.
"""
import argparse
import dataclasses
import sys

try:
    from compare import gate, level
    from tutti_results import comparison, read, words
except ModuleNotFoundError as error:
    print(f"try_gate.py: {error.name} is needed (package python3-{error.name})", file=sys.stderr)
    sys.exit(2)


def parser():
    parsing = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parsing.add_argument("results", metavar="LAUNCHES")
    parsing.add_argument("--launches", type=int, default=30, metavar="N", help="launches of each side in a repeat (default 30)")
    parsing.add_argument("--repeats", type=int, default=60, metavar="N", help="repeats (default 60)")
    parsing.add_argument("--gate", type=gate, default=gate("p50=5%,p99=10%"), metavar="P=SHARE,...", help="default p50=5%%,p99=10%%")
    parsing.add_argument("--slowdown", type=lambda text: gate(f"p50={text}")["p50"], default=0.1, metavar="SHARE", help="default 10%%")
    parsing.add_argument("--alpha", type=level, default=0.001, metavar="P", help="as of compare.py (default 0.001)")
    parsing.add_argument("--unpaired", action="store_true", help="two independent sets instead of pairs")
    parsing.add_argument("--apart", action="store_true", help="OLD wholly before NEW instead of in turns: what the machine's drift does")
    return parsing


def dealt(launches, apart):
    """OLD and NEW; in turns means A B B A A B B A, so that a steady drift is on both sides alike."""
    if apart:
        return launches[: len(launches) // 2], launches[len(launches) // 2:]
    turn = [(number + 1) // 2 % 2 for number in range(len(launches))]
    return [launch for launch, side in zip(launches, turn) if side == 0], [launch for launch, side in zip(launches, turn) if side == 1]


def slower(launches, share):
    def stretched(row):
        columns = dict(row.columns, **{f"{name}_us": (row.columns.get(f"{name}_us") or 0) * (1 + share) for name in words.PERCENTILES})
        return dataclasses.replace(row, columns=columns, us=None if row.us is None else row.us * (1 + share))

    return [dataclasses.replace(launch, rows=[stretched(row) for row in launch.rows]) for launch in launches]


def alarms(old, new, settings):
    """{(identity, percentile): Result}."""
    results, _ = comparison.compare_sides(old, new, {"tutti"}, settings)
    comparison.check_power(results, settings, settings.paired)
    return {(result.identity, result.percentile): result for result in results}


def run(options):
    launches = read.read_launches(read.paths_of(options.results))
    needed = 2 * options.launches
    if options.launches < 2 or options.repeats < 1 or len(launches) < needed:
        raise read.InputError(f"{len(launches)} launches: --launches {options.launches} needs {needed}, and at least 2 launches and 1 repeat")
    settings = comparison.Settings(options.gate, tuple(options.gate), not options.unpaired, None, options.alpha)
    false, found, times, tried = 0, {}, {}, 0
    comparison.RESAMPLES = comparison.REPLICATES = 2  # intervals are not looked at here
    for repeat in range(options.repeats):
        start = round(repeat * (len(launches) - needed) / max(1, options.repeats - 1))
        old, new = dealt(launches[start:start + needed], options.apart)
        tried += 1
        false += any(result.verdict == "REGRESSION" for result in alarms(old, new, settings).values())
        for key, result in alarms(old, slower(new, options.slowdown), settings).items():
            found.setdefault(key, []).append(result.verdict == "REGRESSION")
            times.setdefault(key, []).append(result.old_us)
    overlap = "" if options.repeats * needed <= len(launches) else ", which overlap"
    print(f"# {len(launches)} launches; {tried} repeats of {options.launches} + {options.launches} neighbours{overlap}, "
          f"{'OLD before NEW' if options.apart else 'in turns'}, {'independent sets' if options.unpaired else 'pairs'}")
    print(f"A/A: {false} of {tried} repeats with an alarm")
    print(f"NEW slower by {100 * options.slowdown:g} %, found in:")
    for (identity, percentile), hits in found.items():
        if options.gate[percentile] >= options.slowdown:
            continue  # the gate allows it
        typical = sorted(times[identity, percentile])[len(hits) // 2]
        print(f"  {words.size(identity[5]):>8} {words.percentile_name(percentile):>5} {words.time(typical):>10}  {100 * sum(hits) / len(hits):5.1f} %")
    return 0


def main(arguments):
    try:
        return run(parser().parse_args(arguments))
    except read.InputError as error:
        print(f"try_gate.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
