#!/usr/bin/env python3
"""The gate: has a benchmark become slower?

  scripts/compare.py OLD NEW --gate p50=5%,p99=10%       two builds, two settings
  scripts/compare.py RESULTS --within tutti:nccl --gate p50=0%    two libraries of the same launches

OLD, NEW and RESULTS are each a file, several files joined by commas, or a folder: several launches of the same benchmark, as --raw FILE
wrote them, or --json FILE (then the intervals come from launches alone). Exit status: 0 no regression, 1 a regression is significant,
2 the input is not fit for it, with the reason. The method: docs/benchmarking.md, "The gate".
"""
import argparse
import sys

try:
    from tutti_results import comparison, gate_text, read, words
    from tutti_results.words import PERCENTILES
except ModuleNotFoundError as error:
    if error.name != "numpy":
        raise
    print("compare.py: numpy is needed (package python3-numpy); Debian's lies in /usr/bin/python3", file=sys.stderr)
    sys.exit(2)

REGRESSION, UNFIT = 1, 2


def gate(text):
    """p50=5%,p99=10% as {percentile: threshold}."""
    wanted = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        name = "p999" if name.strip() == "p99.9" else name.strip()
        if name not in PERCENTILES or not equals:
            raise argparse.ArgumentTypeError(f"'{part}': expected a percentile ({', '.join(PERCENTILES)}) and a share, as in p50=5%")
        try:
            share = float(value.strip().removesuffix("%")) / (100 if value.strip().endswith("%") else 1)
        except ValueError:
            share = -1.0
        if not 0 <= share < 10:
            raise argparse.ArgumentTypeError(f"'{part}': expected a share from 0% up to 1000%, not '{value}'")
        wanted[name] = share
    return wanted


def pair(text):
    first, colon, second = text.partition(":")
    if not colon or not first or not second or first == second:
        raise argparse.ArgumentTypeError(f"'{text}': expected two libraries, as in tutti:mpi")
    return first, second


def level(text):
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 0.5:
        raise argparse.ArgumentTypeError(f"'{text}': expected a probability between 0 and 0.5")
    return value


def parser():
    parsing = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parsing.add_argument("results", nargs="+", metavar="RESULTS", help="OLD and NEW, or one set of results with --within")
    parsing.add_argument("--gate", type=gate, default={}, metavar="P=SHARE,...",
                         help="by how much a percentile may grow, such as p50=5%%,p99=10%%; without it nothing fails")
    parsing.add_argument("--within", type=pair, metavar="A:B", help="compare library A with library B launch by launch; the ratio is A / B")
    parsing.add_argument("--paired", action="store_true",
                         help="the n-th launch of OLD and the n-th of NEW were measured in turns: compare them pair by pair")
    parsing.add_argument("--control", metavar="LIBRARY",
                         help="divide each time by that of this library in the same launch, which takes the machine's own changes out")
    parsing.add_argument("--library", default="tutti", metavar="NAME,...", help="rows of these libraries (default tutti), or all")
    parsing.add_argument("--alpha", type=level, default=0.001, metavar="P", help="chance of any false alarm (default 0.001)")
    parsing.add_argument("--seed", type=int, default=1, metavar="N", help="of the resampling (default 1): same input and seed, same output")
    parsing.add_argument("--other-machine", action="store_true", help="accept OLD and NEW of different machines")
    parsing.add_argument("--markdown", metavar="FILE", help="write a summary as Markdown")
    return parsing


def launches_of(spec):
    launches = read.read_launches(read.paths_of(spec))
    wrong = [(launch, row) for launch in launches for row in launch.rows if row.columns.get("wrong")]
    if wrong:
        launch, row = wrong[0]
        raise read.InputError(f"{launch.path}: {row.columns['wrong']} wrong elements ({row.columns['library']}, {row.columns['bytes']} bytes): "
                              "times of wrong results are not compared")
    if not any(launch.rows for launch in launches):
        raise read.InputError(f"{spec}: no row was measured")
    return launches


def compare(options, settings):
    """Heading and results, and what to say besides."""
    if options.within:
        if len(options.results) != 1:
            raise read.InputError(f"--within compares inside one set of results, and there are {len(options.results)}")
        if settings.control or settings.paired:
            raise read.InputError("--within needs neither --control nor --paired: its launches are pairs")
        launches = launches_of(options.results[0])
        settings.sides = tuple(words.library_name(library) for library in reversed(options.within))
        results = comparison.compare_within(launches, *options.within, settings)
        if not results:
            found = sorted({row.columns["library"] for launch in launches for row in launch.rows})
            raise read.InputError(f"no row was measured with both {options.within[0]} and {options.within[1]}; there are rows of {', '.join(found)}")
        return gate_text.within_heading(launches, options.within), results, gate_text.notes(launches)
    if len(options.results) != 2:
        raise read.InputError(f"expected OLD and NEW (or --within), and there are {len(options.results)} arguments")
    old, new = (launches_of(spec) for spec in options.results)
    if settings.paired and len(old) != len(new):
        raise read.InputError(f"--paired: {len(old)} launches of OLD and {len(new)} of NEW make no pairs")
    differences = gate_text.other_machine(old, new)
    if differences and not options.other_machine:
        raise read.InputError(f"OLD and NEW are of different machines ({differences}); --other-machine compares them all the same")
    libraries = None if options.library == "all" else options.library.split(",")
    results, alone = comparison.compare_sides(old, new, libraries, settings)
    return gate_text.sides_heading(old, new, settings), results, gate_text.notes(old, new, alone, settings.paired or settings.control)


def run(options):
    percentiles = tuple(options.gate) or ("p50", "p99")
    settings = comparison.Settings(options.gate, percentiles, options.paired, options.control, options.alpha, options.seed)
    heading, results, notes = compare(options, settings)
    if options.gate:
        comparison.check_power(results, settings, bool(options.within or options.paired))
    print(gate_text.table(heading, results, notes, settings))
    if options.markdown:
        try:
            with open(options.markdown, "w", encoding="utf-8") as file:
                file.write(gate_text.markdown(heading, results, notes, settings))
        except OSError as error:
            raise read.InputError(f"--markdown: {options.markdown}: {error.strerror}") from error
    return REGRESSION if any(result.verdict == "REGRESSION" for result in results) else 0


def main(arguments):
    try:
        return run(parser().parse_args(arguments))
    except read.InputError as error:
        print(f"compare.py: {error}", file=sys.stderr)
        return UNFIT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
