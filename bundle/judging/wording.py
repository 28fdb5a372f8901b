"""How numbers, metrics and verdicts are written: on the page, in a terminal, on a host and on a device alike."""

import math

from bundle.judging.verdict import Verdict

METRIC_NAMES = {
    "miou": "mIoU",
    "max_f": "max F",
    "ods_f": "ODS F",
    "rmse": "RMSE",
    "max_threshold_miou": "max-threshold mIoU",
    "share_under_11.25": "share < 11.25°",
    "share_under_22.5": "share < 22.5°",
    "share_under_30": "share < 30°",
    "delta_1.25": "δ < 1.25",
}
"""Names that the key does not spell; any other metric is its key with spaces, its unit cut off."""

UNITS = {"_deg": "°", "_m": " m"}
"""Unit by a metric key's ending."""

MARKS: dict[Verdict, str] = {"pass": "✓", "regression": "✗", "inconclusive": "?", "improvement": "↑"}
"""One sign per verdict, so that colour is never the only signal."""

SEVERAL = (
    "The 95% are each verdict's own: with six tasks exactly at their budgets 16.8% of builds show a regression, and the best of four "
    "variants at the budget passes a task in 9.1% (docs/reference/regression.md)."
)
"""What several verdicts on the same images do to a stated confidence, as docs/studies/interval-coverage.json has it measured."""

MINUS = "\N{MINUS SIGN}"
UNDEFINED = "undefined"


def metric_name(key: str) -> str:
    """Return a metric's name for people, without its unit: ``rmse_m`` is RMSE."""
    stem = next((key[: -len(end)] for end in UNITS if key.endswith(end)), key)
    return METRIC_NAMES.get(stem, stem.replace("_", " "))


def metric_unit(key: str) -> str:
    """Return the unit a metric's key ends with, as it follows a number: ``rmse_m`` gives ' m', ``miou`` ''."""
    if key.startswith("share_"):  # its unit belongs to the limit, not to the share
        return ""
    return next((unit for end, unit in UNITS.items() if key.endswith(end)), "")


def metric_value(key: str, value: float | None) -> str:
    """Write a metric's value with its unit: three digits after the point for degrees, else four; None is undefined."""
    if value is None or math.isnan(value):
        return UNDEFINED
    digits = 3 if metric_unit(key) == "°" else 4
    return f"{value:.{digits}f}{metric_unit(key)}".replace("-", MINUS)


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
