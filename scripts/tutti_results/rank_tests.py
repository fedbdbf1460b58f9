"""Is one side slower than the other? Tests and estimates that ask nothing of how launches are distributed.

What varies between launches (where memory came to lie, which core, who else runs) has heavy tails, and there are few launches.
So each launch gives one number per percentile, and the tests use ranks: they are exact for any distribution, at any number of launches.
One launch that went wrong moves them by one rank. The price: few launches cannot be significant at all, which is as it should be.

- two independent sides: Mann-Whitney's rank-sum test, estimate of Hodges and Lehmann (median of all differences);
- paired sides: Wilcoxon's signed-rank test, estimate of Hodges and Lehmann (median of all means of two differences).

All values are logarithms of times here, so that differences are ratios.
"""
import math

import numpy

# Launches, both sides together, up to which all arrangements are counted; above that the normal approximation is exact enough.
EXACT_UP_TO = 60


def midranks(values):
    """Twice the ranks, whole numbers even where values tie."""
    values = numpy.asarray(values)
    below = (values[None, :] < values[:, None]).sum(axis=1)
    equal = (values[None, :] == values[:, None]).sum(axis=1)
    return (2 * below + equal + 1).astype(int)


def rank_sum_p(old, new):
    """Probability that `new` ranks at least so high if both sides are alike."""
    ranks = midranks(numpy.concatenate([old, new]))
    observed = int(ranks[len(old):].sum())
    if len(ranks) > EXACT_UP_TO:
        return _rank_sum_normal(ranks, len(old), len(new), observed)
    total = int(ranks.sum())
    ways = numpy.zeros((len(new) + 1, total + 1))
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : total + 1 - rank].copy()
    return float(ways[-1, observed:].sum() / ways[-1].sum())


def _rank_sum_normal(ranks, olds, news, observed):
    count = olds + news
    variance = olds * news / (count - 1) / count * float(((ranks - ranks.mean()) ** 2).sum())
    return _above((observed - 1 - news * ranks.mean()) / math.sqrt(variance)) if variance > 0 else 1.0


def signed_rank_p(differences):
    """Probability that differences lie so far above 0 if their signs are a matter of chance."""
    differences = numpy.asarray(differences)
    differences = differences[differences != 0]
    if len(differences) == 0:
        return 1.0
    ranks = midranks(numpy.abs(differences))
    observed = int(ranks[differences > 0].sum())
    if len(ranks) > EXACT_UP_TO:
        return _above((observed - 1 - ranks.sum() / 2) / math.sqrt(float((ranks.astype(float) ** 2).sum()) / 4))
    ways = numpy.zeros(int(ranks.sum()) + 1)
    ways[0] = 1
    for rank in ranks:
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
    return float(ways[observed:].sum() / ways.sum())


def _above(z):
    return 0.5 * math.erfc(z / math.sqrt(2))


def smallest_p(olds, news, paired):
    """What the test says where all launches of one side are beyond all of the other: it cannot say less."""
    return 0.5**olds if paired else 1 / math.comb(olds + news, olds)


def shift(old, new, paired):
    """By how much `new` lies above `old`. Along the last axis, so that resamples are estimated all at once."""
    old, new = numpy.asarray(old), numpy.asarray(new)
    if paired:
        differences = new - old
        first, second = numpy.triu_indices(differences.shape[-1])
        return numpy.median((differences[..., first] + differences[..., second]) / 2, axis=-1)
    between = new[..., :, None] - old[..., None, :]
    return numpy.median(between.reshape(*between.shape[:-2], -1), axis=-1)


def holm(values):
    """p-values corrected for how many there are: the chance of any false alarm among all of them stays below the level."""
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected, largest = [1.0] * len(values), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(values) - place) * values[index]))
        corrected[index] = largest
    return corrected
