"""Which variant is shipped: the rule that a build on a host and a judgement on a device have in common.

Of the variants within their budgets, and whose answers resemble the reference's (bundle/checks.py), the fastest is shipped, but a narrower one must beat a wider one by ``gain``, so
that noise does not decide between equals. Where variants only run as an emulation, time says nothing: the narrowest
within its budgets is shipped, and the device has the last word. If none is within its budgets, the most precise one is.

What a device chose stands in its choice.json, and from then on that variant is the one that is run, judged and drawn there.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field, ValidationError

from bundle.checks import disagreeing
from bundle.errors import ArtifactError
from bundle.frozen import Frozen
from bundle.manifest import Bundle
from bundle.outcome import RegressionReport, VariantRow, variant_tasks

BENCH = "bench.json"
CHOICE = "choice.json"
NARROWER: dict[str, int] = {
    "f32": 0,
    "f16": 1,
    "bf16": 1,
    "int8_weights": 2,
    "int8_mixed": 3,
    "int8_smooth": 4,
    "int8": 5,
}
"""How much a variant gives up: of two that are equally fast, the one with the smaller number is shipped."""


class Percentiles(Frozen):
    """Latency of one inference in milliseconds over ``runs`` of them."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    runs: int


class VariantLatency(Frozen):
    """One variant's latency: the whole call, the device's own work without copies, and the runtime's own tool.

    None: it was not measured. ``settings`` are the session's, read back from the runtime (the effective precision, the
    devices, whether a cache was used); ``tool`` is the runtime's benchmark, its medians with copies and without, and
    ``tool_settings`` its arguments and what it said besides, or why it failed.
    """

    with_copies: Percentiles
    compute: Percentiles | None = None
    settings: dict[str, str] = Field(default_factory=dict)
    tool: str = ""
    tool_median_ms: float | None = None
    tool_compute_ms: float | None = None
    tool_settings: dict[str, str] = Field(default_factory=dict)


class Bench(Frozen):
    """Medians of one interleaved run, batch 1, in milliseconds; None was not measured where the file was written.

    ``variants`` holds each variant's percentiles and ``machine`` the device's power mode and clocks, where a device
    measured them (``python -m targets``).
    """

    schema_version: Literal[1] = 1
    eager_ms: float | None
    f32_compiled_ms: float | None
    shipped_ms: float | None
    shipped_precision: str
    runs: int = Field(ge=0)
    warmup: int = Field(ge=0)
    variants: dict[str, VariantLatency] = Field(default_factory=dict)
    machine: dict[str, str] = Field(default_factory=dict)


class Candidate(Frozen):
    """One variant as it was measured: ``latency_ms`` is None where time means nothing, ``verdicts`` empty if unjudged."""

    name: str
    latency_ms: float | None
    verdicts: dict[str, str]
    reason: str


class Choice(Frozen):
    """Which variant is shipped and why, and every candidate."""

    schema_version: Literal[1] = 1
    shipped: str
    reason: str
    eager_ms: float | None
    candidates: tuple[Candidate, ...]


class Pick(NamedTuple):
    """Which variant of a bundle is run, and why in a few words."""

    variant: str
    reason: str


def read_choice(bundle: Bundle) -> Choice | None:
    """Return ``choice.json`` as it was when the bundle was opened; None if there was none.

    Raises:
        ArtifactError: it holds something else.
    """
    text = bundle.result(CHOICE)
    if text is None:
        return None
    try:
        return Choice.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(
            f"{CHOICE} cannot be read", expected="the shipped variant and the candidates", got=str(error),
            where=str(bundle.folder / CHOICE), fix="choose again: python -m targets on the bundle, or delete the file",
        ) from error  # fmt: skip


def pick(bundle: Bundle, asked: str) -> Pick:
    """Return the variant that is run: the one asked for by name, else what ``choice.json`` names, else what was shipped.

    Raises:
        ArtifactError: choice.json was altered, or names a variant that the bundle does not hold.
    """
    if asked:
        return Pick(asked, "asked for by name")
    manifest, choice = bundle.manifest, read_choice(bundle)
    if choice is None:
        return Pick(manifest.shipped, f"the build shipped it, and there is no {CHOICE}")
    names = [variant.name for variant in manifest.variants]
    if choice.shipped not in names:
        raise ArtifactError(
            f"{CHOICE} names a variant that the bundle does not hold", expected=f"one of {', '.join(names)}",
            got=choice.shipped, where=str(bundle.folder / CHOICE),
            fix="choose again: python -m targets on the bundle, or delete the file",
        )  # fmt: skip
    return Pick(choice.shipped, f"{CHOICE}: {choice.reason}")


def percentiles(values_ms: Sequence[float]) -> Percentiles:
    """Return the percentiles of latencies in milliseconds, linear between two of them."""
    p50, p90, p99 = (float(value) for value in np.percentile(np.asarray(values_ms, np.float64), [50, 90, 99]))
    return Percentiles(p50_ms=p50, p90_ms=p90, p99_ms=p99, runs=len(values_ms))


def order(names: list[str], latency: Mapping[str, float], gain: float) -> list[str]:
    """Return the variants in the order in which they deserve to be shipped.

    With latencies: the fastest first, but of two the wider one unless the narrower takes less than ``gain`` of its time;
    so by latency / gainⁿ, n being 0 for f32, 1 for f16 and bf16, 2 for any kind of INT8. Without: the narrowest first.
    """
    if not latency:
        return sorted(names, key=lambda name: -NARROWER[name])
    return sorted(names, key=lambda name: (latency[name] / gain ** min(NARROWER[name], 2), NARROWER[name]))


def choose(
    reports: Mapping[str, RegressionReport], latency: Mapping[str, float], eager_ms: float | None, gain: float
) -> Choice:
    """Choose the first variant in ``order`` that passed and answers as the reference does, else the most precise one.

    Every one gets its reason.
    """
    ranked = order(list(reports), latency, gain)
    within = [name for name in ranked if not _unfit(reports[name])]
    shipped = within[0] if within else min(ranked, key=lambda name: NARROWER[name])
    candidates = tuple(_candidate(name, latency, report, shipped) for name, report in reports.items())
    reason = _reason(shipped, ranked, reports, latency)
    return Choice(shipped=shipped, reason=reason, eager_ms=eager_ms, candidates=candidates)


def with_variants(
    reports: Mapping[str, RegressionReport], choice: Choice, sizes: Mapping[str, int]
) -> RegressionReport:
    """Return the shipped variant's report with its name, why, and every variant's row; ``sizes`` are its files' bytes."""
    told = {one.name: one for one in choice.candidates}
    rows = tuple(
        VariantRow(
            name=name, precision=report.precision, tasks=variant_tasks(report), passed=report.passed,
            median_ms=told[name].latency_ms, bytes=sizes[name], isa=report.device.isa, reason=told[name].reason,
        )
        for name, report in reports.items()
    )  # fmt: skip
    [shipped] = [report for name, report in reports.items() if name == choice.shipped]
    return shipped.model_copy(update={"variants": rows, "variant": choice.shipped, "chosen": choice.reason})


def _candidate(name: str, latency: Mapping[str, float], report: RegressionReport, shipped: str) -> Candidate:
    if name == shipped:
        reason = "shipped"
    elif _unfit(report):
        reason = _unfit(report)
    elif not latency:
        reason = f"within its budgets; {shipped} is narrower"
    elif latency[name] < latency[shipped]:
        reason = f"within its budgets; too little faster than {shipped} to be shipped instead of it"
    else:
        reason = f"within its budgets; {latency[name] / latency[shipped]:.2f} times as slow as {shipped}"
    verdicts = {task: str(result.verdict) for task, result in report.tasks.items()}
    return Candidate(name=name, latency_ms=latency.get(name), verdicts=verdicts, reason=reason)


def _unfit(report: RegressionReport) -> str:
    """Say why a variant must not be shipped while another one may; "" if nothing speaks against it."""
    if not report.passed:
        return f"not shown to be within its budgets: {_beyond(report)}"
    off = [check.task for check in disagreeing(report)]
    return f"within its budgets, but it does not answer as the reference does: {', '.join(off)}" if off else ""


def _beyond(report: RegressionReport) -> str:
    return ", ".join(f"{task} {result.verdict}" for task, result in report.tasks.items() if result.verdict != "pass")


def _reason(
    shipped: str, ranked: list[str], reports: Mapping[str, RegressionReport], latency: Mapping[str, float]
) -> str:
    """Say in one sentence why a variant is shipped."""
    if not reports[shipped].passed:
        return "no variant is within its budgets; the most precise one is shipped, and the build fails"
    if _unfit(reports[shipped]):
        return "no variant within its budgets answers as the reference does; the most precise one is shipped, and the build fails"
    if not latency:
        return "the narrowest precision within its budgets under emulation; the device decides by measuring"
    said = f"the fastest variant within its budgets, measured here: {latency[shipped]:.1f} ms"
    if shipped != "f32" and "f32" in latency:
        said += f", f32 {latency['f32']:.1f} ms"
    faster = [name for name in ranked[: ranked.index(shipped)] if latency[name] < latency[shipped]]
    if faster:
        report = reports[faster[0]]
        return f"{said}; {faster[0]} is faster ({latency[faster[0]]:.1f} ms), but {_beyond(report) if not report.passed else _unfit(report)}"
    narrower = [name for name in latency if name in NARROWER and NARROWER[name] > NARROWER[shipped]]
    if shipped == "f32" and narrower:
        best = min(narrower, key=lambda name: latency[name])
        return f"{said}; nothing narrower gains enough ({best} {latency[best]:.1f} ms)"
    return said
