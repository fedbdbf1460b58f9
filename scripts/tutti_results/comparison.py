"""Which rows of two sides differ, by how much, and which of them are regressions.

For each row and each gated percentile there is one number per launch. From these come

- the ratio NEW / OLD, an estimate that single launches cannot carry away (rank_tests.shift);
- its interval, by resampling whole launches and, inside them, blocks of iterations (quantiles.replicates). Resampling few launches
  gives intervals that are too narrow; so they are widened by Student's quantile over the normal one and by sqrt(n / (n - 1)),
  n being the launches of the smaller side;
- a p-value of "not slower", an exact test over the launches, corrected by Holm's method over all rows and percentiles.

A *regression* is both: slower beyond doubt (corrected p at most alpha), and by more than the gate allows (ratio above 1 + threshold).
Either alone is none: noise can exceed a threshold, and enough launches make any trifle certain.
"""
import dataclasses
import math

import numpy

from tutti_results import quantiles, rank_tests
from tutti_results.read import InputError
from tutti_results.words import PERCENTILES

REPLICATES = 60  # resamples inside each launch
RESAMPLES = 2000  # resamples of launches
# Student's quantile for 95 % over the normal one, by degrees of freedom.
WIDER = {1: 6.48, 2: 2.20, 3: 1.62, 4: 1.42, 5: 1.31, 6: 1.25, 7: 1.21, 8: 1.18, 9: 1.15, 10: 1.14, 15: 1.09, 20: 1.06, 30: 1.04}


@dataclasses.dataclass
class Sample:
    """One launch's percentile of one row: the logarithm of its time, and of resamples of its blocks (one where there are no samples)."""

    log: float
    replicates: numpy.ndarray

    def relative_to(self, other):
        """Where both have the same iterations, they were resampled by the same blocks."""
        count = max(len(self.replicates), len(other.replicates))
        return Sample(self.log - other.log, numpy.resize(self.replicates, count) - numpy.resize(other.replicates, count))


@dataclasses.dataclass
class Result:
    """One row, one percentile."""

    identity: tuple
    percentile: str
    threshold: float | None
    launches: tuple  # OLD's, NEW's
    old_us: float
    new_us: float
    ratio: float
    low: float
    high: float
    p_slower: float
    p_faster: float
    smallest_p: float
    samples: bool  # blocks of iterations were resampled too
    algorithms: tuple
    corrected: float = 1.0
    corrected_faster: float = 1.0
    verdict: str = ""


@dataclasses.dataclass
class Settings:
    gate: dict = dataclasses.field(default_factory=dict)  # percentile: threshold
    percentiles: tuple = ("p50", "p99")
    paired: bool = False
    control: str | None = None
    alpha: float = 0.001
    seed: int = 1
    sides: tuple = ("old", "new")  # what the two are called


def percentile_of(row, name, settings, launch_number):
    """The row's Sample, None where it has too few iterations for this percentile."""
    permille = PERCENTILES[name]
    if row.us is None:
        value = row.columns.get(f"{name}_us")
        if not isinstance(value, (int, float)) or value <= 0:
            return None
        return Sample(math.log(value), numpy.array([math.log(value)]))
    value = quantiles.percentile(row.us, permille)
    if value is None or value <= 0:
        return None
    rng = numpy.random.default_rng([settings.seed, launch_number])
    drawn = quantiles.replicates(row.us, [permille], REPLICATES, rng)[:, 0]
    return Sample(math.log(value), numpy.log(numpy.maximum(drawn, 1e-9)))


def rows_by_identity(launches):
    """identity: {launch number: row}. Rows during which the machine itself changed say nothing about the code."""
    table = {}
    for number, launch in enumerate(launches):
        for row in launch.rows:
            if not row.columns.get("machine_changed"):
                table.setdefault(row.identity, {})[number] = row
    return table


def sampled(rows, name, settings, control_rows=None):
    """launch number: Sample. With a control, each launch's time over the control's in the same launch."""
    samples = {}
    for number, row in rows.items():
        sample = percentile_of(row, name, settings, number)
        if sample is None:
            continue
        if control_rows is not None:
            other = control_rows.get(number) and percentile_of(control_rows[number], name, settings, number)
            if not other:
                continue
            sample = sample.relative_to(other)
        samples[number] = sample
    return samples


def typical(rows, name, numbers):
    """The median over launches, in us, whatever control there is."""
    values = [quantiles.percentile(rows[number].us, PERCENTILES[name]) if rows[number].us is not None else rows[number].columns[f"{name}_us"]
              for number in numbers]
    return float(numpy.median(values))


def compare_row(identity, old_rows, new_rows, name, settings, controls=(None, None), paired=None):
    """Result of one row and percentile; None where no launch of a side has this percentile."""
    paired = settings.paired if paired is None else paired
    old = sampled(old_rows, name, settings, controls[0])
    new = sampled(new_rows, name, settings, controls[1])
    if paired:
        both = sorted(old.keys() & new.keys())
        old, new = {number: old[number] for number in both}, {number: new[number] for number in both}
    if not old or not new:
        return None
    old_logs = numpy.array([sample.log for sample in old.values()])
    new_logs = numpy.array([sample.log for sample in new.values()])
    estimate = float(rank_tests.shift(old_logs, new_logs, paired))
    low, high = interval(list(old.values()), list(new.values()), estimate, paired, settings)
    slower, faster = ((rank_tests.signed_rank_p(new_logs - old_logs), rank_tests.signed_rank_p(old_logs - new_logs)) if paired else
                      (rank_tests.rank_sum_p(old_logs, new_logs), rank_tests.rank_sum_p(new_logs, old_logs)))
    algorithms = tuple("/".join(sorted({str(row.columns.get("algorithm", "?")) for row in rows.values()})) for rows in (old_rows, new_rows))
    return Result(identity, name, settings.gate.get(name), (len(old), len(new)), typical(old_rows, name, old), typical(new_rows, name, new),
                  math.exp(estimate), math.exp(low), math.exp(high), slower, faster,
                  rank_tests.smallest_p(len(old), len(new), paired),
                  all(len(sample.replicates) > 1 for sample in (*old.values(), *new.values())), algorithms)


def interval(old, new, estimate, paired, settings):
    """95 % of the resampled estimates, widened for few launches. With one launch on a side: of blocks alone."""
    rng = numpy.random.default_rng([settings.seed, 0x10C])
    if paired:
        chosen = rng.integers(len(old), size=(RESAMPLES, len(old)))
        inside = rng.integers(1 << 30, size=chosen.shape)
        drawn = rank_tests.shift(_draw(old, chosen, inside), _draw(new, chosen, inside), True)
    else:
        sides = []
        for side in (old, new):
            chosen = rng.integers(len(side), size=(RESAMPLES, len(side)))
            sides.append(_draw(side, chosen, rng.integers(1 << 30, size=chosen.shape)))
        drawn = rank_tests.shift(*sides, False)
    fewest = min(len(old), len(new))
    widen = widening(fewest) if fewest > 1 else 1.0
    low, high = numpy.quantile(drawn, [0.025, 0.975])
    return estimate - widen * max(0.0, estimate - low), estimate + widen * max(0.0, high - estimate)


def widening(launches):
    freedom = max(known for known in WIDER if known <= launches - 1)
    return WIDER[freedom] * math.sqrt(launches / (launches - 1))


def _draw(samples, chosen, inside):
    """Replicates `inside` of the launches `chosen`."""
    counts = numpy.array([len(sample.replicates) for sample in samples])
    table = numpy.full((len(samples), counts.max()), numpy.nan)
    for number, sample in enumerate(samples):
        table[number, : len(sample.replicates)] = sample.replicates
    return table[chosen, inside % counts[chosen]]


def compare_sides(old_launches, new_launches, libraries, settings):
    """All rows that both sides have, judged; and the identities that only one side has."""
    old, new = rows_by_identity(old_launches), rows_by_identity(new_launches)
    wanted = {identity for identity in old.keys() | new.keys() if libraries is None or identity[0] in libraries}
    if settings.control:
        wanted = {identity for identity in wanted if identity[0] != settings.control}
    if not wanted & old.keys() & new.keys():
        raise InputError(f"OLD and NEW have no row in common{f' of {chr(44).join(sorted(libraries))}' if libraries else ''}")
    results, alone = [], sorted((identity for identity in wanted if (identity in old) != (identity in new)), key=str)
    for identity in (identity for identity in old if identity in new and identity in wanted):
        controls = (None, None)
        if settings.control:
            beside = (settings.control, *identity[1:])
            if beside not in old or beside not in new:
                continue
            controls = (old[beside], new[beside])
        for name in settings.percentiles:
            result = compare_row(identity, old[identity], new[identity], name, settings, controls)
            if result is not None:
                results.append(result)
    judge(results, settings)
    return results, alone


def compare_within(launches, first, second, settings):
    """`first` over `second`, launch by launch: both took turns in it, so launches are pairs."""
    table = rows_by_identity(launches)
    results = []
    for identity, rows in table.items():
        other = table.get((second, *identity[1:]))
        if identity[0] != first or other is None:
            continue
        for name in settings.percentiles:
            result = compare_row(identity, other, rows, name, settings, paired=True)
            if result is not None:
                results.append(result)
    judge(results, settings)
    return results


def judge(results, settings):
    """Corrects p-values over all that is gated, and says what each result means."""
    gated = [result for result in results if result.threshold is not None]
    for tested in (gated, [result for result in results if result.threshold is None]):
        for result, slower in zip(tested, rank_tests.holm([result.p_slower for result in tested])):
            result.corrected = slower
        for result, faster in zip(tested, rank_tests.holm([result.p_faster for result in tested])):
            result.corrected_faster = faster
    for result in results:
        result.verdict = verdict(result, settings.alpha)


def verdict(result, alpha):
    allowed = 1 + (result.threshold or 0)
    if result.corrected <= alpha:
        if result.threshold is None:
            return "slower"
        return "REGRESSION" if result.ratio > allowed else "slower, within the gate"
    if result.corrected_faster <= alpha:
        return "faster"
    if result.threshold is not None and result.high > allowed:
        return "not certain"
    return "no change" if result.low <= 1 <= result.high else "not certain"


def check_power(results, settings, paired):
    """Raises where no gated row could ever be found slower: such a gate would let everything pass."""
    gated = [result for result in results if result.threshold is not None]
    if not gated:
        beside = f" beside {settings.control}" if settings.control else ""
        raise InputError(f"no row{beside} has the gated percentiles: too few iterations (p99 needs 100 of them, p99.9 1000)")
    if min(result.smallest_p for result in gated) * len(gated) <= settings.alpha:
        return
    olds, news = max(result.launches for result in gated)
    needed = launches_needed(len(gated), settings.alpha, paired)
    have = f"{olds} launches" if paired else f"{olds} launches of OLD and {news} of NEW"
    raise InputError(f"too few launches: with {have} and {len(gated)} comparisons no difference, however large, is significant at "
                     f"{settings.alpha:g}; record at least {needed}{'' if paired else ' of each'}")


def launches_needed(comparisons, alpha, paired):
    """The fewest launches (of each side) with which one of so many comparisons can be significant."""
    needed = 2
    while rank_tests.smallest_p(needed, needed, paired) * comparisons > alpha:
        needed += 1
    return needed
