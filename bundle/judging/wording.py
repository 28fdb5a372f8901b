"""How numbers, metrics and verdicts are written: on the page, in a terminal, on a host and on a device alike."""

import math

from bundle.judging.verdict import Verdict
from bundle.tasks import table
from bundle.tasks.metrics import Metric

MARKS: dict[Verdict, str] = {"pass": "✓", "regression": "✗", "inconclusive": "?", "improvement": "↑"}
"""One sign per verdict, so that colour is never the only signal."""

SEVERAL = (
    "The 95% are each verdict's own: with six tasks exactly at their budgets 16.8% of builds show a regression, and the best of four "
    "variants at the budget passes a task in 9.1% (docs/reference/regression.md)."
)
"""What several verdicts on the same images do to a stated confidence, as docs/studies/interval-coverage.json has it measured."""

MINUS = "\N{MINUS SIGN}"
UNDEFINED = "undefined"


def _metric(key: str) -> Metric | None:
    """Return the metric of the task table whose key this is; None: a report names one that this version does not know."""
    rows = [judged for row in table.TASKS for judged in (row, row.by_agreement())]
    figures = (figure for row in rows for figure in row.figures(row.channels or 2))
    return next((figure for figure in figures if figure.name == key), None)


def metric_name(key: str) -> str:
    """Return a metric's name for people, without its unit: ``rmse_m`` is RMSE."""
    known = _metric(key)
    return key.replace("_", " ") if known is None else known.title


def metric_value(key: str, value: float | None) -> str:
    """Write a metric's value with its unit; None is undefined."""
    if value is None or math.isnan(value):
        return UNDEFINED
    known = _metric(key)
    decimals, unit = (4, "") if known is None else (known.decimals, known.unit)
    return f"{value:.{decimals}f}{unit}".replace("-", MINUS)


def percent(fraction: float | None) -> str:
    """Write a fraction as a signed percentage of three digits; what rounds to zero has no sign, None is undefined."""
    return UNDEFINED if fraction is None or math.isnan(fraction) else _signed(100 * fraction) + "%"


def points(value: float | None) -> str:
    """Write a number that is already in percent, as Δm is."""
    return percent(None if value is None else value / 100)


def budget(fraction: float) -> str:
    """Write a budget, which has no sign, with as many digits as it needs: 0.01 is 1%."""
    return f"{100 * fraction:.4g}%"


def _signed(value: float) -> str:
    if math.isinf(value):
        return "+∞" if value > 0 else f"{MINUS}∞"
    digits = 2 if abs(value) < 9.995 else 1 if abs(value) < 99.95 else 0
    text = f"{value:+.{digits}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", MINUS)


def interval(ends: tuple[float | None, float | None]) -> str:
    """Write a confidence interval of fractions as percentages."""
    return UNDEFINED if None in ends else f"[{percent(ends[0])}, {percent(ends[1])}]"


def interval_of_points(ends: tuple[float | None, float | None]) -> str:
    """Write an interval of numbers that are already in percent, as Δm's is."""
    low, high = (None if end is None else end / 100 for end in ends)
    return interval((low, high))


def count(number: float) -> str:
    """Write a large count with three digits and a letter: 12_345_678 is 12.3 M."""
    rounded = float(f"{number:.3g}")  # first: 999_999 is 1 M
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(rounded) >= scale:
            return f"{rounded / scale:.3g} {letter}"
    return f"{number:.0f}"


def file_size(size_bytes: int) -> str:
    """Write a number of bytes in kB or MB (powers of 1000)."""
    return f"{size_bytes / 1e6:.1f} MB" if size_bytes >= 100_000 else f"{size_bytes / 1e3:.1f} kB"


def plural(number: int, noun: str) -> str:
    """Write a number and its noun: ``1 image``, ``2 images``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def eager(latency_ms: float) -> str:
    """Write the latency of eager PyTorch, which nothing is compared with."""
    return f"eager PyTorch: {latency_ms:.0f} ms, for orientation: each speed-up is over compiled f32"
