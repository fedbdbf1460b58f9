"""Where does a series of times change its level?

The series is cut into windows of equal length; each gives its median. Pettitt's test asks whether the medians before some window rank
differently from those after it, and where; it asks nothing of their distribution. Where it is certain (p < 0.001, p ~ 2 exp(-6 K^2 / (n^3 + n^2)))
that window begins a new stretch, and both parts are searched again. Stretches have at least 8 windows: a single late window is an outlier,
and no change of level. At last stretches are joined, the most alike first, until neighbours differ by at least 5 %. (Not earlier: a level
that rises and falls back leaves the medians of the halves as they were.)
"""
import dataclasses
import math

import numpy

from tutti_results import quantiles

MOST_WINDOWS = 120
FEWEST_ITERATIONS = 20  # of a window
SHORTEST_STRETCH = 8  # windows
CERTAIN = 0.001
LEAST_CHANGE = 0.05


@dataclasses.dataclass
class Windows:
    """One value per window: where it lies (seconds, or iterations where no start is known), p50 and p99."""

    at: numpy.ndarray
    p50: numpy.ndarray
    p99: numpy.ndarray
    length: int
    seconds: bool


@dataclasses.dataclass
class Change:
    window: int  # the first of the new level
    at: float
    ratio: float  # new level / old level


def windows_written(columns):
    """Of a long run, whose windows the benchmark has written itself; None where there are not at least two."""
    written = columns.get("windows") or []
    if len(written) < 2:
        return None
    p50 = numpy.array([window["p50_us"] for window in written])
    p99 = numpy.array([window["p99_us"] if window["p99_us"] is not None else window["p50_us"] for window in written])
    return Windows(numpy.array([window["start_s"] for window in written]), p50, p99, int(written[0]["iterations"]), True)


def windows_of(row, most=MOST_WINDOWS):
    """The row's samples in windows, None where there are too few for two windows."""
    iterations = len(row.us)
    length = max(FEWEST_ITERATIONS, -(-iterations // most))
    count = iterations // length
    if count < 2:
        return None
    cut = row.us[: count * length].reshape(count, length)
    p50 = numpy.array([quantiles.percentile(window, 500) for window in cut])
    # Of a short window p99 is its longest time, as nearest rank has it.
    p99 = numpy.sort(cut, axis=1)[:, max(0, math.ceil(length * 0.99) - 1)]
    if row.start_us is None:
        return Windows(numpy.arange(count) * length, p50, p99, length, False)
    return Windows(row.start_us[: count * length: length] / 1e6, p50, p99, length, True)


def changes(windows):
    found = _search(windows.p50, 0)
    while found:
        ratios = _ratios(windows.p50, found)
        smallest = min(range(len(found)), key=lambda index: abs(math.log(ratios[index])))
        if abs(math.log(ratios[smallest])) >= math.log1p(LEAST_CHANGE):
            return [Change(window, float(windows.at[window]), ratio) for window, ratio in zip(found, ratios)]
        del found[smallest]
    return []


def _ratios(values, found):
    """The level from each of these windows on, over the level before it."""
    borders = [0, *found, len(values)]
    levels = [float(numpy.median(values[begin:end])) for begin, end in zip(borders, borders[1:])]
    return [after / before for before, after in zip(levels, levels[1:])]


def _search(values, offset):
    count = len(values)
    if count < 2 * SHORTEST_STRETCH:
        return []
    signs = numpy.sign(values[:, None] - values[None, :])
    # statistic[k]: how much more often values before k exceed those from k on than the other way round.
    statistic = numpy.array([signs[:split, split:].sum() for split in range(1, count)])
    allowed = numpy.abs(statistic[SHORTEST_STRETCH - 1: count - SHORTEST_STRETCH])
    split = int(allowed.argmax()) + SHORTEST_STRETCH
    probability = 2 * math.exp(-6 * float(allowed.max()) ** 2 / (count**3 + count**2))
    if probability >= CERTAIN:
        return []
    return _search(values[:split], offset) + [offset + split] + _search(values[split:], offset + split)
