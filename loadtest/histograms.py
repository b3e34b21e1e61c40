"""Histograms of latencies in microseconds: one range and precision for the whole kit.

Never here: when a latency begins; the loops say so.
"""

from typing import Final

from hdrh.histogram import HdrHistogram

LATENCY_US_MAX: Final = 120_000_000
SIGNIFICANT_DIGITS: Final = 3


def new_histogram() -> HdrHistogram:
    """Make an empty histogram."""
    return HdrHistogram(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS)


def record(histogram: HdrHistogram, seconds: float) -> None:
    """Record one latency; what is longer than the range counts as the longest."""
    histogram.record_value(min(max(1, round(seconds * 1e6)), LATENCY_US_MAX))


def percentile_ms(histogram: HdrHistogram, percentile: float) -> float:
    """Give a percentile (0 to 100) in milliseconds."""
    microseconds: float = histogram.get_value_at_percentile(percentile)
    return round(microseconds / 1000, 3)
