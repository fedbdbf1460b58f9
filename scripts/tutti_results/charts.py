"""The pictures of the report. Each is a function of what it shows and of a Shape, and gives a Canvas; None where there is nothing to show."""
import dataclasses
import math

import numpy

from tutti_results import change_points, words
from tutti_results.svg import Canvas, LinearScale, LogScale, apart, plain, png, series_class

# Light to dark in even steps of lightness (viridis, read backwards on light paper): from no lateness to the most.
RAMP = ((68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99), (170, 220, 50), (253, 231, 37))
BANDS = (("p999_us", 0.13), ("p99_us", 0.2), ("p90_us", 0.3))
HEAT_COLUMNS = 160
FEWEST_SAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Shape:
    """Where a picture is shown: its pixels, and how much fits."""

    width: int
    height: int
    narrow: bool

    @property
    def ticks_across(self):
        return 5 if self.narrow else 8

    @property
    def ticks_up(self):
        return 6


WIDE = Shape(580, 360, False)
NARROW = Shape(350, 300, True)


@dataclasses.dataclass
class Frame:
    """The part of a canvas that has the axes around it."""

    left: float
    top: float
    right: float
    bottom: float


def _frame(shape, right=None, top=26):
    return Frame(54 if shape.narrow else 62, top, shape.width - (right if right is not None else 58 if shape.narrow else 74), shape.height - 44)


def _axes(canvas, frame, x, y, x_ticks, y_ticks, x_name, y_name):
    for value, label in y_ticks:
        canvas.path([(frame.left, y(value)), (frame.right, y(value))], "grid")
        canvas.text(frame.left - 7, y(value) + 4, label, "end")
    for value, label in x_ticks:
        canvas.path([(x(value), frame.bottom), (x(value), frame.bottom + 4)], "axis")
        canvas.text(x(value), frame.bottom + 18, label, "middle")
    canvas.path([(frame.left, frame.bottom), (frame.right, frame.bottom)], "axis")
    canvas.text(4, 14, y_name, "title-text")
    canvas.text((frame.left + frame.right) / 2, canvas.height - 6, x_name, "middle")


def _end_labels(canvas, frame, ends):
    """ends: (y, text, library) of each curve's last point."""
    placed = apart([y for y, _, _ in ends], 15, frame.top + 6, frame.bottom - 4)
    for (_, text, library), y in zip(ends, placed):
        canvas.label_on(frame.right + 9, y + 4, text, f"strong s-{series_class(library)}")


def _curve(points, name):
    """(bytes, value) where there is a value; 0 bytes have no place on a logarithmic axis."""
    return [(point.bytes, point.columns[name]) for point in points if point.bytes > 0 and (point.columns.get(name) or 0) > 0]


def _size_scale(group, frame):
    sizes = [size for size in group.sizes() if size > 0]
    return LogScale(sizes[0], sizes[-1], frame.left + 8, frame.right - 2) if sizes else None


def _told(point):
    columns = point.columns
    parts = [f"{words.percentile_name(name)} {words.time(columns.get(f'{name}_us'))}" for name in ("p50", "p90", "p99", "p999")
             if columns.get(f"{name}_us") is not None]
    return f"{words.library_name(columns['library'])}, {words.size(point.bytes)}: {', '.join(parts)} ({columns.get('algorithm')})"


def latency(group, shape):
    """p50 against size, with bands up to p90, p99 and p99.9."""
    frame = _frame(shape)
    x = _size_scale(group, frame)
    values = [value for points in group.libraries.values() for name in ("p50_us", *(name for name, _ in BANDS)) for _, value in _curve(points, name)]
    if x is None or not values:
        return None
    canvas = Canvas(shape.width, shape.height, f"Latency against size: {words.series(group.identity)}")
    y = LogScale(min(values) * 0.8, max(values) * 1.15, frame.bottom, frame.top)
    _axes(canvas, frame, x, y, x.size_ticks(shape.ticks_across), y.ticks(shape.ticks_up, words.tick), "bytes of one rank's message", "time of one call")
    for library, points in group.libraries.items():
        for name, opacity in BANDS:
            both = [point for point in points if point.bytes > 0 and point.columns.get(name) and point.columns.get("p50_us")]
            canvas.band([(x(point.bytes), y(point.columns[name])) for point in both], [(x(point.bytes), y(point.columns["p50_us"])) for point in both],
                        f"s-{series_class(library)}", opacity)
    ends = []
    for library, points in reversed(group.libraries.items()):
        curve = [(x(size), y(value)) for size, value in _curve(points, "p50_us")]
        if not curve:
            continue
        canvas.path(curve, f"line s-{series_class(library)}")
        for point in points:
            if point.bytes > 0 and point.columns.get("p50_us"):
                canvas.mark(x(point.bytes), y(point.columns["p50_us"]), library, _told(point), 3.2 if shape.narrow else 3.8)
        ends.append((curve[-1][1], words.library_name(library), library))
    _bound_line(canvas, frame, x, y, group, lambda point: point.columns["bound_us"], ends)
    _end_labels(canvas, frame, ends)
    return canvas


def _bound_line(canvas, frame, x, y, group, value_of, ends):
    """What the hardware allows, where the files know it."""
    known = {point.bytes: value_of(point) for point in group.points() if point.bytes > 0 and (point.columns.get("bound_us") or 0) > 0}
    line = [(x(size), y(known[size])) for size in sorted(known)]
    for start, end in zip(line, line[1:]):
        canvas.path(clipped(start, end, frame.top, frame.bottom), "bound")
    if line and frame.top <= line[-1][1] <= frame.bottom:
        ends.append((line[-1][1], "bound", "other"))


def clipped(start, end, top, bottom):
    """The part of a line that lies between two heights; nothing where no part does."""
    (x0, y0), (x1, y1) = start, end
    inside = [0.0, 1.0]
    for limit in (top, bottom):
        if (y0 - limit) * (y1 - limit) < 0:
            inside.append((limit - y0) / (y1 - y0))
    parts = [part for part in inside if top - 1e-6 <= y0 + part * (y1 - y0) <= bottom + 1e-6]
    return [(x0 + part * (x1 - x0), y0 + part * (y1 - y0)) for part in (min(parts), max(parts))] if parts else []


def bandwidth(group, shape):
    """Bus bandwidth against size, and the bound's."""
    frame = _frame(shape)
    x = _size_scale(group, frame)
    values = [value for points in group.libraries.values() for _, value in _curve(points, "busbw_gbs")]
    if x is None or not values:
        return None

    def bound(point):
        factor = point.columns["busbw_gbs"] / point.columns["algbw_gbs"] if point.columns.get("algbw_gbs") else 1
        return point.bytes / point.columns["bound_us"] / 1000 * factor

    bounds = [bound(point) for point in group.points() if (point.columns.get("bound_us") or 0) > 0 and point.bytes > 0]
    # A bound far above all that was reached would press the curves to the floor.
    highest = max([*values, *(value for value in bounds if value < 2.5 * max(values))]) * 1.08
    canvas = Canvas(shape.width, shape.height, f"Bus bandwidth against size: {words.series(group.identity)}")
    y = LinearScale(0, highest, frame.bottom, frame.top)
    _axes(canvas, frame, x, y, x.size_ticks(shape.ticks_across), y.ticks(shape.ticks_up, plain), "bytes of one rank's message", "bus bandwidth, GB/s")
    ends = []
    for library, points in reversed(group.libraries.items()):
        curve = _curve(points, "busbw_gbs")
        canvas.path([(x(size), y(value)) for size, value in curve], f"line s-{series_class(library)}")
        for size, value in curve:
            canvas.mark(x(size), y(value), library, f"{words.library_name(library)}, {words.size(size)}: {words.number(value)} GB/s",
                        3.2 if shape.narrow else 3.8)
        if curve:
            ends.append((y(curve[-1][1]), words.library_name(library), library))
    _bound_line(canvas, frame, x, y, group, bound, ends)
    _end_labels(canvas, frame, ends)
    return canvas


def cpu(group, shape):
    """Core-seconds per GB against size."""
    frame = _frame(shape)
    x = _size_scale(group, frame)
    values = [value for points in group.libraries.values() for _, value in _curve(points, "cpu_core_s_per_gb")]
    if x is None or not values:
        return None
    canvas = Canvas(shape.width, shape.height, f"CPU cost against size: {words.series(group.identity)}")
    y = LogScale(min(values) * 0.8, max(values) * 1.2, frame.bottom, frame.top)
    _axes(canvas, frame, x, y, x.size_ticks(shape.ticks_across), y.ticks(shape.ticks_up, lambda value: f"{value:.3g}"), "bytes of one rank's message", "core-seconds per GB")
    ends = []
    for library, points in reversed(group.libraries.items()):
        curve = _curve(points, "cpu_core_s_per_gb")
        canvas.path([(x(size), y(value)) for size, value in curve], f"line s-{series_class(library)}")
        for size, value in curve:
            told = f"{words.library_name(library)}, {words.size(size)}: {words.number(value)} core-seconds per GB"
            canvas.mark(x(size), y(value), library, told, 3.5)
        if curve:
            ends.append((y(curve[-1][1]), words.library_name(library), library))
    _end_labels(canvas, frame, ends)
    return canvas


def arrival(group, shape):
    """Skew and service against size: waiting for the last rank, and what the call takes once all are there."""
    frame = _frame(shape)
    x = _size_scale(group, frame)
    curves = [(library, name, _curve(points, name)) for library, points in group.libraries.items() for name in ("skew_p50_us", "service_p50_us")]
    values = [value for _, _, curve in curves for _, value in curve]
    if x is None or not values:
        return None
    canvas = Canvas(shape.width, shape.height, f"Skew and service against size: {words.series(group.identity)}")
    y = LogScale(min(values) * 0.8, max(values) * 1.2, frame.bottom, frame.top)
    _axes(canvas, frame, x, y, x.size_ticks(shape.ticks_across), y.ticks(shape.ticks_up, words.tick), "bytes of one rank's message", "p50 over iterations")
    ends = []
    for library, name, curve in reversed(curves):
        line = [(x(size), y(value)) for size, value in curve]
        called = name.split("_", maxsplit=1)[0]
        canvas.path(line, f"line s-{series_class(library)}{' dashed' if called == 'skew' else ''}")
        for size, value in curve:
            canvas.mark(x(size), y(value), library, f"{words.library_name(library)}, {words.size(size)}: {called} {words.time(value)}", 3.2)
        if line:
            ends.append((line[-1][1], called, library))
    _end_labels(canvas, frame, ends)
    return canvas


def _sampled(points):
    """(library, row) of those points that have samples enough for a distribution."""
    rows = [(point.columns["library"], point.typical_row()) for point in points]
    return [(library, row) for library, row in rows if row is not None and len(row.us) >= FEWEST_SAMPLES]


def histogram(points, shape):
    """How often each time was: one outline per library over a logarithmic axis."""
    rows = _sampled(points)
    if not rows:
        return None
    frame = _frame(shape, right=16, top=30)
    canvas = Canvas(shape.width, shape.height, f"Distribution of times at {words.size(points[0].bytes)}")
    low = min(float(numpy.quantile(row.us, 0.001)) for _, row in rows)
    high = max(float(numpy.quantile(row.us, 0.999)) for _, row in rows)
    low, high = low * 0.93, max(high, low * 1.1) * 1.05
    x = LogScale(low, high, frame.left + 2, frame.right)
    bins = 60 if shape.narrow else 100
    edges = numpy.exp(numpy.linspace(math.log(low), math.log(high), bins + 1))
    shares = [(library, row, numpy.histogram(row.us, edges)[0] / len(row.us)) for library, row in rows]
    y = LinearScale(0, max(float(share.max()) for _, _, share in shares) * 1.12, frame.bottom, frame.top)
    _axes(canvas, frame, x, y, x.ticks(shape.ticks_across, words.tick), y.ticks(4, lambda value: f"{100 * value:.3g} %"), "time of one call",
          "share of iterations")
    labels = []
    for library, _, share in reversed(shares):
        outline = []
        for index, value in enumerate(share):
            outline += [(x(edges[index]), y(value)), (x(edges[index + 1]), y(value))]
        canvas.band(outline, [(x(low), frame.bottom), (x(high), frame.bottom)], f"s-{series_class(library)}", 0.22)
        canvas.path(outline, f"line thin s-{series_class(library)}")
        peak = int(share.argmax())
        labels.append([x(math.sqrt(edges[peak] * edges[peak + 1])), y(float(share.max())), library])
    for index, (place, height, library) in enumerate(labels):
        # Peaks beside each other and equally high: the next name goes above the one before.
        height = min([height, *(other - 15 for across, other, _ in labels[:index] if abs(across - place) < 44 and abs(other - height) < 15)])
        labels[index][1] = height
        canvas.label_on(min(max(place, frame.left + 24), frame.right - 24), max(height - 6, frame.top - 2), words.library_name(library),
                        f"middle strong s-{series_class(library)}")
    return canvas


def tail(points, shape):
    """Every percentile from the median to the last sample: the right-hand side is the tail."""
    rows = _sampled(points)
    if not rows:
        return None
    frame = _frame(shape)
    canvas = Canvas(shape.width, shape.height, f"Tail of times at {words.size(points[0].bytes)}")
    longest = max(len(row.us) for _, row in rows)
    x = LogScale(1.6, max(20.0, 2 * longest), frame.left + 4, frame.right - 2)
    sorted_rows = [(library, numpy.sort(row.us)) for library, row in rows]
    y = LogScale(min(float(us[len(us) // 4]) for _, us in sorted_rows) * 0.9, max(float(us[-1]) for _, us in sorted_rows) * 1.15, frame.bottom, frame.top)
    marks = [(one_in, label) for one_in, label in ((2, "p50"), (10, "p90"), (100, "p99"), (1000, "p99.9"), (10_000, "p99.99"), (100_000, "p99.999"))
             if one_in <= longest]
    _axes(canvas, frame, x, y, marks, y.ticks(shape.ticks_up, words.tick), "share of iterations that are not longer", "time of one call")
    ends = []
    for library, us in reversed(sorted_rows):
        count = len(us)
        # Ranks from the median on, ever denser towards the end.
        above = numpy.unique(numpy.concatenate([numpy.geomspace(1, count / 1.7, 90).astype(int), [1]]))
        curve = [(x(count / rank), y(float(us[max(0, count - rank - 1)]))) for rank in sorted(above, reverse=True)]
        curve.append((x(2 * count), y(float(us[-1]))))  # the longest of all is beyond every share
        canvas.path(curve, f"line s-{series_class(library)}")
        for one_in, label in marks:
            if count >= one_in:
                value = float(us[max(0, count - count // one_in - 1)])
                canvas.mark(x(one_in), y(value), library, f"{words.library_name(library)} {label}: {words.time(value)}", 3.4)
        ends.append((curve[-1][1], words.library_name(library), library))
    _end_labels(canvas, frame, ends)
    return canvas


def over_time(points, shape):
    """p50 and p99 of windows along the run, and where the level changes."""
    series = [(point.columns["library"], _windows(point)) for point in points]
    series = [(library, windows) for library, windows in series if windows is not None]
    if not series:
        return None
    frame = _frame(shape)
    canvas = Canvas(shape.width, shape.height, f"Times along the run at {words.size(points[0].bytes)}")
    seconds = all(windows.seconds for _, windows in series)
    first = min(float(windows.at[0]) for _, windows in series)
    last = max(float(windows.at[-1]) for _, windows in series)
    x = LinearScale(0, last - first, frame.left + 4, frame.right - 4)
    values = [value for _, windows in series for value in (*windows.p50, *windows.p99)]
    y = LogScale(min(values) * 0.9, float(numpy.quantile(values, 0.995)) * 1.3, frame.bottom, frame.top)
    label = (lambda value: words.tick(value * 1e6)) if seconds else plain
    _axes(canvas, frame, x, y, x.ticks(shape.ticks_across - 1, label), y.ticks(shape.ticks_up, words.tick),
          "time since the row's first iteration" if seconds else "iteration", "p50 and p99 of windows")
    ends = []
    for library, windows in reversed(series):
        style = f"s-{series_class(library)}"
        for begin, end in _stretches(windows):
            place = [x(float(at) - first) for at in windows.at[begin:end]]
            upper = [(across, max(frame.top, y(value))) for across, value in zip(place, windows.p99[begin:end])]
            lower = [(across, y(value)) for across, value in zip(place, windows.p50[begin:end])]
            canvas.band(upper, lower, style, 0.1)
            canvas.path(upper, f"line thin {style}")
            canvas.path(lower, f"line {style}")
        ends.append((lower[-1][1], words.library_name(library), library))
    _changes(canvas, frame, x, first, series)
    _end_labels(canvas, frame, ends)
    return canvas


def _windows(point):
    """Those that a long run has of all its iterations, else those of the samples."""
    written = change_points.windows_written(point.columns)
    row = point.typical_row()
    return written or (change_points.windows_of(row) if row is not None else None)


def _stretches(windows):
    """From where to where windows follow each other; where the run stood still the curve has a gap."""
    steps = numpy.diff(windows.at)
    gaps = [index + 1 for index in numpy.flatnonzero(steps > 8 * numpy.median(steps))]
    return list(zip([0, *gaps], [*gaps, len(windows.at)]))


def _changes(canvas, frame, x, first, series):
    for row, (library, windows) in enumerate(series):
        for change in change_points.changes(windows):
            across = x(change.at - first)
            canvas.path([(across, frame.top), (across, frame.bottom)], f"change s-{series_class(library)}")
            side = "end" if across > frame.right - 46 else ""
            canvas.label_on(across + (-4 if side else 4), frame.top + 11 + 14 * row, words.percent(change.ratio), f"{side} strong s-{series_class(library)}")


def colour(share):
    """Of the ramp, between its steps."""
    place = min(max(share, 0.0), 1.0) * (len(RAMP) - 1)
    index = min(int(place), len(RAMP) - 2)
    part = place - index
    return tuple(round(low + (high - low) * part) for low, high in zip(RAMP[index], RAMP[index + 1]))


def late_point(points):
    """The first point that knows how late each rank was, and its row."""
    for point in points:
        row = point.typical_row()
        if row is not None and row.late_us is not None and row.late_us.shape[0] > 1:
            return point, row
    return None


def lateness(points, shape):
    """Ranks down, iterations across, colour how late: a steadily late rank is a line, a hiccup of the machine a spot."""
    found = late_point(points)
    if found is None:
        return None
    point, row = found
    ranks, iterations = row.late_us.shape
    columns = min(iterations, HEAT_COLUMNS)
    borders = numpy.linspace(0, iterations, columns + 1).astype(int)
    means = numpy.stack([row.late_us[:, begin:end].mean(axis=1) for begin, end in zip(borders, borders[1:])], axis=1)
    most = max(float(numpy.quantile(means, 0.99)), 1e-3)
    height = min(shape.height, 96 + 26 * ranks) if ranks > 1 else shape.height
    canvas = Canvas(shape.width, height, f"Lateness of each rank at {words.size(point.bytes)}")
    frame = Frame(34, 26, shape.width - 78, height - 44)
    low = max(most / 200, 1e-3)

    def strength(value):
        return math.log(max(value, low) / low) / math.log(max(most, low * 1.01) / low)

    canvas.image(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top,
                 png([[(*colour(strength(value)), 255) for value in line] for line in means]))
    cell = (frame.bottom - frame.top) / ranks
    for rank in range(ranks):
        if rank % max(1, math.ceil(15 / cell)) == 0:
            canvas.text(frame.left - 7, frame.top + (rank + 0.5) * cell + 4, str(rank), "end")
    x = LinearScale(0, iterations, frame.left, frame.right)
    for value, label in x.ticks(shape.ticks_across - 1, plain):
        canvas.path([(x(value), frame.bottom), (x(value), frame.bottom + 4)], "axis")
        canvas.text(x(value), frame.bottom + 18, label, "middle")
    canvas.text(4, 14, "rank", "title-text")
    canvas.text((frame.left + frame.right) / 2, height - 6, "iteration", "middle")
    _legend(canvas, frame, low, most)
    return canvas


def _legend(canvas, frame, low, most):
    steps = 40
    canvas.image(frame.right + 10, frame.top, 10, frame.bottom - frame.top, png([[(*colour(1 - step / (steps - 1)), 255)] for step in range(steps)]))
    canvas.text(frame.right + 24, frame.top + 9, words.time(most).replace(" ", "\u202f"))
    canvas.text(frame.right + 24, frame.bottom, words.time(low).replace(" ", "\u202f"))


def culprits(points):
    """Per rank: in which share of the iterations it was last, and how late it then was (p50, p99)."""
    found = late_point(points)
    if found is None:
        return None
    _, row = found
    last = row.late_us.argmax(axis=0)
    table = []
    for rank in range(row.late_us.shape[0]):
        when = row.late_us[rank][last == rank]
        table.append((rank, len(when) / row.late_us.shape[1], float(numpy.quantile(when, 0.5)) if len(when) else None,
                      float(numpy.quantile(when, 0.99)) if len(when) else None))
    return table
