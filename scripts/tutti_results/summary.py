"""Launches put together for the report: one curve per library, one point per size.

Where there are several launches, a point's figures are the medians over them, each launch counting once.
"""
import dataclasses
import statistics

from tutti_results import quantiles
from tutti_results.read import IDENTITY

LIBRARY_ORDER = ("tutti", "mpi", "nccl", "ucc", "gloo")
PERMILLES = {"p50_us": 500, "p90_us": 900, "p99_us": 990, "p999_us": 999}


@dataclasses.dataclass
class Point:
    """One row of all launches."""

    identity: tuple
    columns: dict
    rows: list

    @property
    def bytes(self):
        return self.columns["bytes"]

    def typical_row(self):
        """Of the launches with samples the one whose median is the middle one; None without samples."""
        sampled = sorted((row for row in self.rows if row.us is not None), key=lambda row: quantiles.percentile(row.us, 500))
        return sampled[len(sampled) // 2] if sampled else None


@dataclasses.dataclass
class Group:
    """Rows that differ in library and size only."""

    identity: tuple
    libraries: dict  # name: points by size

    def points(self):
        return [point for points in self.libraries.values() for point in points]

    def sizes(self):
        return sorted({point.bytes for point in self.points()})

    def detailed_sizes(self):
        """Of which there are samples, or windows of a long run."""
        return [size for size in self.sizes() if any(point.typical_row() or point.columns.get("windows") for point in self.at(size))]

    def at(self, size):
        """The points of one size, Tutti's first."""
        return [point for points in self.libraries.values() for point in points if point.bytes == size]


def groups(launches):
    rows = {}
    for launch in launches:
        for row in launch.rows:
            rows.setdefault(row.identity, []).append(row)
    found = {}
    for identity, members in rows.items():
        shared = tuple(None if name in ("library", "bytes") else value for name, value in zip((*IDENTITY, ""), identity))
        found.setdefault(shared, []).append(Point(identity, merged(members), members))
    return [Group(shared, _by_library(points)) for shared, points in found.items()]


def _by_library(points):
    def place(library):
        return LIBRARY_ORDER.index(library) if library in LIBRARY_ORDER else len(LIBRARY_ORDER)

    names = sorted({point.columns["library"] for point in points}, key=lambda library: (place(library), library))
    return {name: sorted((point for point in points if point.columns["library"] == name), key=lambda point: point.bytes) for name in names}


def merged(rows):
    """Medians of what are figures, the first launch's word for the rest. Percentiles of raw rows are taken from their samples."""
    columns = dict(rows[0].columns)
    for name in {name for row in rows for name in row.columns}:
        values = [_value(row, name) for row in rows]
        figures = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if name not in IDENTITY and name != "culprit_rank" and figures:
            columns[name] = statistics.median(figures)
        elif name == "culprit_rank" and figures:
            columns[name] = statistics.mode(figures)
    columns["machine_changed"] = any(row.columns.get("machine_changed") for row in rows)
    columns["algorithm"] = "/".join(sorted({str(row.columns.get("algorithm") or "?") for row in rows}))
    return columns


def _value(row, name):
    value = row.columns.get(name)
    if value is None and row.us is not None and name in PERMILLES:
        return quantiles.percentile(row.us, PERMILLES[name])
    return value


def paired_ratio(group, library, name):
    """Geometric mean over sizes of how many times longer `library` took than Tutti, and over how many sizes; None without pairs."""
    ratios = []
    for size in group.sizes():
        times = {point.columns["library"]: point.columns.get(name) for point in group.at(size)}
        if times.get("tutti") and times.get(library):
            ratios.append(times[library] / times["tutti"])
    return (statistics.geometric_mean(ratios), len(ratios)) if ratios else None
