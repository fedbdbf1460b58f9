"""Results of launches: --json documents (schema tutti-bench/1) and --raw files, read into one form.

A *launch* is one run of a benchmark program. A *row* of it is what was measured of one library, collective, type, operator or
root, size and placement. Rows of different launches belong together when their identities are equal; the algorithm is no part
of an identity, for it is what a change may change.
"""
import dataclasses
import json
import os

import numpy

SCHEMA = "tutti-bench/1"
IDENTITY = ("library", "collective", "dtype", "op", "root", "bytes", "in_place", "ranks", "nodes", "memory", "ranks_per_gpu", "mode",
            "chain", "rate", "disturbance")
SUFFIXES = (".json", ".jsonl", ".raw", ".ndjson")


class InputError(Exception):
    """A file is missing or is not what it should be; the text says which and why."""


@dataclasses.dataclass
class Row:
    """One row of one launch. `us`, `start_us` and `late_us` (ranks x iterations) are None where only a --json document was there."""

    columns: dict
    occurrence: int = 0
    us: numpy.ndarray | None = None
    start_us: numpy.ndarray | None = None
    late_us: numpy.ndarray | None = None

    @property
    def identity(self):
        """Equal for rows that may be compared between launches."""
        values = []
        for name in IDENTITY:
            value = self.columns.get(name)
            if value is None and name in ("memory", "mode", "chain"):
                # Files from before a column was added mean what was possible then.
                value = {"memory": "host", "mode": "isolated", "chain": 1}[name]
            values.append(value)
        return tuple(values) + (self.occurrence,)

    @property
    def fingerprint(self):
        """What two measurements practically never share; tells that two files are of one launch."""
        return self.identity + tuple(self.columns.get(name) for name in ("iterations", "p50_us", "max_us", "mean_us"))

    def without_library(self):
        return self.identity[1:]


@dataclasses.dataclass
class Launch:
    path: str
    machine: dict
    rows: list
    raw: bool
    interrupted: bool = False

    @property
    def command(self):
        return self.machine.get("command", "")


def paths_of(spec):
    """The files that FILE[,FILE...] or a folder names, in order."""
    if os.path.isdir(spec):
        names = sorted(name for name in os.listdir(spec) if name.endswith(SUFFIXES))
        if not names:
            raise InputError(f"{spec}: no result in this folder (a file ending in {', '.join(SUFFIXES)})")
        return [os.path.join(spec, name) for name in names]
    paths = [path for path in spec.split(",") if path]
    if not paths:
        raise InputError("an empty list of files")
    return paths


def read_launches(paths):
    """The launches in these files; where a --json document and a --raw file are of one launch, the samples' file stands for both."""
    launches, seen = [], set()
    read = [read_file(path) for path in paths]
    for launch in sorted(read, key=lambda launch: not launch.raw):
        prints = frozenset(row.fingerprint for row in launch.rows)
        if prints and prints <= seen:
            continue
        seen |= prints
        launches.append(launch)
    order = {path: number for number, path in enumerate(paths)}
    return sorted(launches, key=lambda launch: order[launch.path])


def read_file(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            head = file.readline()
            first = _parse_line(path, 1, head) if _is_whole(head) else None
            if isinstance(first, dict) and first.get("kind") == "tutti-raw":
                return _raw(path, first, file)
            return _document(path, head + file.read())
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error


def _is_whole(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _parse_line(path, number, line):
    try:
        return json.loads(line)
    except ValueError as error:
        raise InputError(f"{path}:{number}: not JSON: {error}") from error


def _document(path, text):
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: neither a --json document nor a --raw file: {error}") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        found = document.get("schema") or document.get("kind") if isinstance(document, dict) else None
        raise InputError(f"{path}: expected schema {SCHEMA} (--json) or kind tutti-raw (--raw), found {found!r}")
    rows = document.get("results")
    if not isinstance(rows, list):
        raise InputError(f"{path}: 'results' is not a list of rows")
    launch = Launch(path, document.get("machine") or {}, [], raw=False, interrupted=bool(document.get("interrupted")))
    for number, columns in enumerate(rows):
        _add(launch, Row(_checked(f"{path}: row {number}", columns)))
    return launch


def _raw(path, head, lines):
    """The rows' lines. The last one may be cut off: a run that was killed leaves what it had written until then."""
    if head.get("version") != 1:
        raise InputError(f"{path}: version {head.get('version')!r} of tutti-raw; this program reads version 1")
    machine = dict(head.get("machine") or {})
    machine.setdefault("command", head.get("command") or "")
    launch = Launch(path, machine, [], raw=True)
    for number, line in enumerate(lines, start=2):
        if not line.strip():
            continue
        if not line.endswith("\n") and not _is_whole(line):
            launch.interrupted = True
            break
        content = _parse_line(path, number, line)
        if not isinstance(content, dict):
            raise InputError(f"{path}:{number}: not an object with 'row' and 'us'")
        if "row" not in content:
            launch.interrupted = launch.interrupted or bool(content.get("interrupted"))
            continue
        _add(launch, _samples(f"{path}:{number}", content))
    return launch


def _samples(where, content):
    row = Row(_checked(where, content["row"]))
    row.us = _numbers(where, content, "us", 1)
    if row.us is None or len(row.us) == 0:
        raise InputError(f"{where}: a row of a --raw file needs 'us', the time of each iteration")
    row.start_us = _numbers(where, content, "start_us", 1)
    row.late_us = _numbers(where, content, "late_us", 2)
    iterations = len(row.us)
    if row.start_us is not None and len(row.start_us) != iterations:
        raise InputError(f"{where}: {len(row.start_us)} values in 'start_us' and {iterations} in 'us'")
    if row.late_us is not None and row.late_us.shape[1] != iterations:
        raise InputError(f"{where}: {row.late_us.shape[1]} values in 'late_us' and {iterations} in 'us'")
    return row


def _numbers(where, content, name, dimensions):
    values = content.get(name)
    if values is None or (dimensions == 2 and len(values) == 0):
        return None
    try:
        array = numpy.asarray(values, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: '{name}' is not {'a list' if dimensions == 1 else 'a list per rank'} of numbers") from error
    if array.ndim != dimensions or not numpy.isfinite(array).all():
        raise InputError(f"{where}: '{name}' is not {'a list' if dimensions == 1 else 'a list per rank'} of numbers")
    return array


def _checked(where, columns):
    if not isinstance(columns, dict):
        raise InputError(f"{where}: not an object")
    for name, kinds in (("library", str), ("collective", str), ("dtype", str), ("bytes", int), ("ranks", int)):
        if not isinstance(columns.get(name), kinds):
            raise InputError(f"{where}: '{name}' is missing or of another type")
    return columns


def _add(launch, row):
    """A row measured twice in one launch is compared with the other side's first and second."""
    same = sum(other.identity[:-1] == row.identity[:-1] for other in launch.rows)
    row.occurrence = same
    launch.rows.append(row)
    launch.interrupted = launch.interrupted or row.columns.get("interrupted") is True
