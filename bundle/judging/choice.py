"""Which variant is shipped: the rule that a build on a host and a judgement on a device have in common.

Only variants whose answers resemble the reference's (bundle/judging/checks.py) count. Of those within their budgets the fastest is
shipped, but a narrower one must beat a wider one by ``gain``, and beyond the noise of the rounds: of several that are equal within
the noise the most precise one is shipped. A variant with an undecided task is shipped only where that is allowed and none is
within its budgets. Where variants only run as an emulation, time says nothing: the narrowest is shipped, and the device has the
last word. If none may be shipped, the most precise one is, and the run fails.

More precise is what ``NARROWER`` says, not the smaller drop on these images: the order is fixed before anything is measured, and
the smallest of several measured drops would be the luckiest one too.

What a device chose stands in its choice.json, and from then on that variant is the one that is run, judged and drawn there.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from bundle.base.errors import ArtifactError
from bundle.base.frozen import Frozen, faults
from bundle.formats.manifest import Bundle
from bundle.formats.results import Result, read_json
from bundle.judging.checks import disagreeing
from bundle.judging.regression_report import RegressionReport, VariantRow, variant_tasks, verdicts_of
from bundle.judging.standing import Standing, standing, variant_summary
from bundle.judging.timing import Load, Percentiles, Ratio, Rounds, median, ratio
from bundle.judging.verdict import Verdict

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
NONE_SKIPPED: Mapping[str, str] = MappingProxyType({})


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


class Bench(Result):
    """Medians of one interleaved run, batch 1, in milliseconds; None was not measured where the file was written.

    ``runs`` counts the rounds, those that were measured again too. ``variants`` holds each variant's percentiles, ``eager`` those
    of PyTorch (no baseline: speed-ups are over ``f32_compiled_ms``), ``load`` how busy the machine was, and ``disturbed`` what
    shows that it was busy with something else. ``machine`` is a device's power mode and clocks (``python -m targets``).
    """

    schema_version: Literal[2] = 2
    eager_ms: float | None
    f32_compiled_ms: float | None
    shipped_ms: float | None
    shipped_precision: str
    runs: int = Field(ge=0)
    warmup: int = Field(ge=0)
    variants: dict[str, VariantLatency] = Field(default_factory=dict)
    machine: dict[str, str] = Field(default_factory=dict)
    eager: Percentiles | None = None
    load: Load | None = None
    disturbed: tuple[str, ...] = ()


class Candidate(Frozen):
    """One variant as it was measured: ``latency_ms`` is None where time means nothing, ``verdicts`` empty if unjudged.

    ``standing`` is where its verdicts stand together, ``disagreeing`` the tasks whose answers do not resemble the reference's,
    ``over_shipped`` its time over the shipped variant's; None: unjudged, or not timed. ``reason`` is these in words.
    """

    name: str
    latency_ms: float | None
    verdicts: dict[str, Verdict]
    reason: str
    standing: Standing | None = None
    disagreeing: tuple[str, ...] = ()
    over_shipped: Ratio | None = None


class Choice(Result):
    """Which variant is shipped and why, and every candidate; ``equal`` are those that noise cannot tell from the fastest one."""

    schema_version: Literal[2] = 2
    shipped: str
    reason: str
    eager_ms: float | None
    candidates: tuple[Candidate, ...]
    equal: tuple[str, ...] = ()


class Pick(NamedTuple):
    """Which variant of a bundle is run, and why in a few words."""

    variant: str
    reason: str


def read_choice(bundle: Bundle) -> Choice | None:
    """Return ``choice.json`` as it was when the bundle was opened; None if there was none.

    Raises:
        ArtifactError: it holds something else.
    """
    if CHOICE not in bundle.results:
        return None
    try:
        return Choice.model_validate_json(bundle.results[CHOICE])
    except ValidationError as error:
        raise ArtifactError(
            f"{CHOICE} cannot be read",
            expected="the shipped variant and the candidates",
            got=faults(error),
            where=str(bundle.folder / CHOICE),
            fix="choose again: python -m targets on the bundle, or delete the file",
        ) from error


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
            f"{CHOICE} names a variant that the bundle does not hold",
            expected=f"one of {', '.join(names)}",
            got=choice.shipped,
            where=str(bundle.folder / CHOICE),
            fix="choose again: python -m targets on the bundle, or delete the file",
        )
    return Pick(choice.shipped, f"{CHOICE}: {choice.reason}")


def order(names: Sequence[str], latency: Mapping[str, float], gain: float) -> list[str]:
    """Return the variants in the order in which they deserve to be shipped, if the medians were exact.

    With latencies: the fastest first, but of two the wider one unless the narrower takes less than ``gain`` of its time;
    so by latency / gainⁿ, n being 0 for f32, 1 for f16 and bf16, 2 for any kind of INT8. Without: the narrowest first.
    """
    if not latency:
        return sorted(names, key=lambda name: -NARROWER[name])
    return sorted(names, key=lambda name: (latency[name] / gain ** _steps(name), NARROWER[name]))


def equals(names: Sequence[str], rounds: Rounds, gain: float) -> tuple[str, ...]:
    """Return the first variant in ``order`` and those that the rounds do not show to be slower, by the same rule.

    Not shown: the interval of latency / gainⁿ over the first one's begins at 1 or below.
    """
    ranked = order(names, {name: median(rounds[name]) for name in names}, gain)
    first = ranked[0]
    return (
        first,
        *(
            name
            for name in ranked[1:]
            if ratio(rounds[name], rounds[first]).low * gain ** (_steps(first) - _steps(name)) <= 1
        ),
    )


def _steps(name: str) -> int:
    return min(NARROWER[name], 2)


def unsettled(reports: Mapping[str, RegressionReport], rounds: Rounds, gain: float) -> bool:
    """Say whether noise hides which of the variants that may be shipped deserves it: more rounds may tell."""
    fit = _fit(reports)
    return len(fit) > 1 and len(equals(fit, rounds, gain)) > 1


def choose(
    reports: Mapping[str, RegressionReport],
    rounds: Rounds,
    eager_ms: float | None,
    gain: float,
    skipped: Mapping[str, str] = NONE_SKIPPED,
) -> Choice:
    """Choose by the rule of this module; every variant gets its reason. ``rounds`` is empty where time says nothing.

    ``skipped`` are variants that were not judged, with the reason why not: none of them can be shipped.
    """
    fit = _fit(reports)
    same = equals(fit, rounds, gain) if fit and rounds else ()
    if not fit:
        shipped = min(reports, key=lambda name: NARROWER[name])
    else:
        shipped = min(same, key=lambda name: NARROWER[name]) if same else order(fit, {}, gain)[0]
    judged = tuple(_candidate(name, rounds, reports, shipped) for name in reports)
    candidates = (*judged, *(_unjudged(name, rounds, shipped, reason) for name, reason in skipped.items()))
    reason = _reason({one.name: one for one in candidates}, shipped, same, fit=bool(fit))
    return Choice(
        shipped=shipped, reason=reason, eager_ms=eager_ms, candidates=candidates, equal=same if len(same) > 1 else ()
    )


def may_ship(report: RegressionReport) -> bool:
    """Say whether a variant with this report ranks with the first: within every budget, and it answers as the reference does."""
    return report.passed and not disagreeing(report) and standing(verdicts_of(report)) == "within"


def _fit(reports: Mapping[str, RegressionReport]) -> list[str]:
    """Return the variants that may be shipped: those within their budgets, else those that are undecided and allowed."""
    within = [name for name, report in reports.items() if may_ship(report)]
    return within or [name for name, report in reports.items() if report.passed and not disagreeing(report)]


def with_variants(
    reports: Mapping[str, RegressionReport], choice: Choice, sizes: Mapping[str, int]
) -> RegressionReport:
    """Return the shipped variant's report with its name, why, and every variant's row; ``sizes`` are its files' bytes."""
    told = {one.name: one for one in choice.candidates}
    [shipped] = [report for name, report in reports.items() if name == choice.shipped]
    rows = tuple(
        VariantRow(
            name=name,
            precision=report.precision,
            tasks=variant_tasks(report),
            passed=report.passed,
            median_ms=told[name].latency_ms,
            bytes=sizes[name],
            isa=report.device.isa,
            reason=told[name].reason,
        )
        for name, report in reports.items()
    )
    unjudged = tuple(
        VariantRow(
            name=one.name,
            precision=one.name,
            passed=False,
            median_ms=one.latency_ms,
            bytes=sizes[one.name],
            isa=shipped.device.isa,
            reason=one.reason,
        )
        for one in choice.candidates
        if one.name not in reports
    )
    return shipped.model_copy(
        update={"variants": (*rows, *unjudged), "variant": choice.shipped, "chosen": choice.reason}
    )


def _candidate(name: str, rounds: Rounds, reports: Mapping[str, RegressionReport], shipped: str) -> Candidate:
    report = reports[name]
    verdicts, off = verdicts_of(report), tuple(check.task for check in disagreeing(report))
    alike = standing(verdicts) == standing(verdicts_of(reports[shipped]))
    over = ratio(rounds[name], rounds[shipped]) if rounds and name != shipped else None
    told = variant_summary(verdicts, accepted=report.passed)
    if off and report.passed:
        told += f", but it does not answer as the reference does: {', '.join(off)}"
    elif report.passed and name != shipped:
        told += f"; {_compared(over, shipped) if alike else f'{shipped} passes on every task'}"
    return Candidate(
        name=name,
        latency_ms=median(rounds[name]) if rounds else None,
        verdicts=verdicts,
        reason=f"shipped; {told}" if name == shipped else told,
        standing=standing(verdicts),
        disagreeing=off,
        over_shipped=over,
    )


def _unjudged(name: str, rounds: Rounds, shipped: str, reason: str) -> Candidate:
    over = ratio(rounds[name], rounds[shipped]) if rounds else None
    latency = median(rounds[name]) if rounds else None
    return Candidate(name=name, latency_ms=latency, verdicts={}, reason=f"not judged: {reason}", over_shipped=over)


def _compared(over: Ratio | None, shipped: str) -> str:
    """Say how a variant's time compares with the shipped one's."""
    if over is None:
        return f"{shipped} is narrower"
    if over.equal:
        return (
            f"equal within noise to {shipped}: {over.median:.2f} times its time, 95 % {over.low:.2f} to {over.high:.2f}"
        )
    if over.median < 1:
        return f"not shown to be enough faster than {shipped} to be shipped instead of it"
    return f"{over.median:.2f} times as slow as {shipped}"


NONE_WITHIN = "no variant that answers as the reference does is shown to be within its budgets"


def _reason(candidates: Mapping[str, Candidate], shipped: str, same: tuple[str, ...], *, fit: bool) -> str:
    """Say in one sentence why a variant is shipped."""
    one = candidates[shipped]
    if not fit and any(other.standing == "within" for other in candidates.values()):
        return "no variant within its budgets answers as the reference does; the most precise one is named, and it does not pass"
    if not fit:
        return "no variant is shown to be within its budgets; the most precise one is named, and it does not pass"
    told = variant_summary(one.verdicts, accepted=True)
    kind = told if one.standing == "within" else f"of those allowed ({told}; {NONE_WITHIN})"
    if one.latency_ms is None:
        return f"the narrowest precision {kind} under emulation; the device decides by measuring"
    kind = f"the fastest variant {kind}" if same[0] == shipped else f"{kind}, {_instead(candidates[same[0]])}"
    return f"{kind}, measured here: {one.latency_ms:.1f} ms{_over_f32(one, candidates)}{_passed_over(one, candidates)}"


def _instead(fastest: Candidate) -> str:
    """Say why a more precise variant is shipped instead of the one with the best median."""
    if fastest.over_shipped is not None and fastest.over_shipped.equal:
        return f"equal within noise to {fastest.name} ({fastest.latency_ms:.1f} ms) and more precise"
    return f"more precise than {fastest.name} ({fastest.latency_ms:.1f} ms), whose gain is not shown beyond the noise"


def _over_f32(one: Candidate, candidates: Mapping[str, Candidate]) -> str:
    """Say how many times as fast as compiled float32 the shipped variant is."""
    base = candidates.get("f32")
    if one.name == "f32" or one.latency_ms is None or base is None or base.latency_ms is None:
        return ""
    return f", {base.latency_ms / one.latency_ms:.2f} times as fast as compiled f32 ({base.latency_ms:.1f} ms)"


def _passed_over(one: Candidate, candidates: Mapping[str, Candidate]) -> str:
    """Say which variant is faster and may not be shipped, or that none gains enough over f32."""
    others = [other for other in candidates.values() if other.name != one.name and other.latency_ms is not None]
    faster = [other for other in others if other.over_shipped is not None and other.over_shipped.median < 1]
    unfit = [other for other in faster if other.disagreeing or other.standing not in ("within", one.standing)]
    if unfit and one.latency_ms is not None:
        first = min(unfit, key=lambda other: other.latency_ms or 0.0)
        return f"; {first.name} is faster ({first.latency_ms:.1f} ms), but {first.reason}"
    if one.name == "f32" and others:
        best = min(others, key=lambda other: other.latency_ms or 0.0)
        return f"; nothing narrower gains enough ({best.name} {best.latency_ms:.1f} ms)"
    return ""


def read_bench(folder: Path) -> Bench | None:
    """Read ``bench.json`` of a bundle; None if nothing was measured.

    Raises:
        ArtifactError: the file is there and does not hold the six keys.
    """
    return read_json(folder, BENCH, TypeAdapter(Bench), "latencies in milliseconds")
