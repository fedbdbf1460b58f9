"""Percentiles of a row's iterations, and how far another run of the same length might have had them.

Percentiles are nearest-rank and need as many iterations as benchmarks/statistics.h says, so a figure here is the figure there.

Iterations that follow each other are alike: a row's times are autocorrelated. So whole blocks of them are resampled, each
about 2 * sqrt(iterations) long, and never single iterations, whose spread would promise a precision that is not there.
"""
import math

import numpy


def supported(iterations, permille):
    """Whether at least one sample lies in the share that the percentile leaves out."""
    return iterations > 0 and (permille <= 500 or permille >= 1000 or iterations * (1000 - permille) >= 1000)


def percentile(samples, permille):
    """Nearest rank, or None where there are too few samples."""
    count = len(samples)
    if not supported(count, permille):
        return None
    rank = max(1, (count * permille + 999) // 1000)
    return float(numpy.partition(samples, rank - 1)[rank - 1])


def block_length(iterations):
    return min(iterations, math.ceil(2 * math.sqrt(iterations)))


def replicates(samples, permilles, count, rng):
    """`count` resamples of blocks: an array of count x percentiles. Rows of one length and one `rng` seed draw the same blocks."""
    samples = numpy.asarray(samples)
    order = numpy.argsort(samples, kind="stable")
    ordered = samples[order]
    block = order // block_length(len(samples))
    blocks = int(block.max()) + 1
    result = numpy.empty((count, len(permilles)))
    for index in range(count):
        weights = numpy.bincount(rng.integers(blocks, size=blocks), minlength=blocks)
        reached = numpy.cumsum(weights[block])
        wanted = [max(1, -(-int(reached[-1]) * permille // 1000)) for permille in permilles]
        result[index] = ordered[numpy.searchsorted(reached, wanted)]
    return result
