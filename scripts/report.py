#!/usr/bin/env python3
"""Makes a page of results that people look at.

  scripts/report.py RESULT... -o report.html [--plots DIR]

A RESULT is what a benchmark wrote with --raw FILE (all sections) or --json FILE (no samples, hence no details), or a folder of such files; several
launches of the same rows are put together. The page is one file that needs nothing else. How to read it: docs/benchmarking.md.
Exit status: 0 written, 2 a file or an option is wrong, with the reason.
"""
import argparse
import os
import shutil
import subprocess
import sys

try:
    from tutti_results import charts, page, read, summary, words
except ModuleNotFoundError as error:
    if error.name != "numpy":
        raise
    print("report.py: numpy is needed (package python3-numpy); Debian's lies in /usr/bin/python3", file=sys.stderr)
    sys.exit(2)

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def size(text):
    """64K as a number of bytes, as the benchmarks' -b takes it."""
    unit = text[-1:].upper() if text[-1:].upper() in UNITS and not text[-1:].isdigit() else ""
    digits = text[: len(text) - len(unit)]
    if not digits.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}': expected a size, such as 8, 64K or 1M")
    return int(digits) * UNITS[unit]


def parser():
    parsing = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parsing.add_argument("results", nargs="+", metavar="RESULT", help="file of --raw or --json, or a folder of them")
    parsing.add_argument("-o", "--output", default="report.html", metavar="FILE", help="the page (default report.html)")
    parsing.add_argument("--title", default="Collectives: how fast, how steady", metavar="TEXT", help="heading of the page")
    parsing.add_argument("--size", type=size, metavar="BYTES", help="the message size whose details are shown first (default: the middle one)")
    parsing.add_argument("--plots", metavar="DIR", help="also write each picture as SVG and, where rsvg-convert is there (package librsvg2-bin), as PNG")
    return parsing


def pictures(groups, wanted):
    """(name, canvas) of everything that can be drawn; details of one size of each series."""
    for number, group in enumerate(groups):
        prefix = f"{number}-" if len(groups) > 1 else ""
        for picture in (charts.latency, charts.bandwidth, charts.arrival, charts.cpu):
            yield f"{prefix}{picture.__name__}", picture(group, charts.WIDE)
        sizes = group.detailed_sizes()
        if not sizes:
            continue
        chosen = wanted if wanted in sizes else sizes[len(sizes) // 2]
        for picture in (charts.histogram, charts.tail, charts.over_time, charts.lateness):
            yield f"{prefix}{picture.__name__}-{chosen}", picture(group.at(chosen), charts.WIDE)


def write_plots(folder, groups, wanted):
    os.makedirs(folder, exist_ok=True)
    converter = shutil.which("rsvg-convert")
    written = 0
    for name, canvas in pictures(groups, wanted):
        if canvas is None:
            continue
        path = os.path.join(folder, f"{name}.svg")
        write(path, canvas.to_svg(standalone=True))
        written += 1
        if converter:
            subprocess.run([converter, "--zoom", "2", "--output", path[:-3] + "png", path], check=True)
    print(f"{folder}: {written} pictures as SVG{' and PNG' if converter else '; for PNG rsvg-convert is needed (package librsvg2-bin)'}")


def write(path, text):
    """Whole or not at all."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def run(options):
    paths = [path for result in options.results for path in (read.paths_of(result) if os.path.isdir(result) else [result])]
    launches = [launch for launch in read.read_launches(paths) if launch.rows]
    if not launches:
        raise read.InputError(f"{', '.join(options.results)}: no row was measured")
    groups = summary.groups(launches)
    if options.size is not None and not any(options.size in group.sizes() for group in groups):
        there = sorted({each for group in groups for each in group.sizes()})
        raise read.InputError(f"--size: there is no row of {options.size} bytes; there are {', '.join(words.size(each) for each in there)}")
    write(options.output, page.page(launches, options.title, options.size))
    print(f"{options.output}: {sum(len(launch.rows) for launch in launches)} rows of {len(launches)} launch{'es' if len(launches) > 1 else ''}")
    if options.plots:
        write_plots(options.plots, groups, options.size)
    return 0


def main(arguments):
    try:
        return run(parser().parse_args(arguments))
    except read.InputError as error:
        print(f"report.py: {error}", file=sys.stderr)
    except OSError as error:
        print(f"report.py: {error.filename}: {error.strerror}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
