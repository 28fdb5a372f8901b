"""Which variant is shipped: the rule that a build on a host and a judgement on a device have in common.

Only variants whose answers resemble the reference's (bundle/judging/checks.py) count. Of those within their budgets
the fastest is shipped. A narrower one must beat a wider one by ``gain`` and beyond the noise of the rounds. Of
several that noise cannot tell apart the most precise one is shipped. A variant with an undecided task is shipped only where that is
allowed and none is within its budgets. Where variants only run as an emulation, time means nothing: the one is shipped whose
plan reads and writes the fewest bytes, without plans the narrowest, and the device decides by measuring. If none may be shipped, the most precise one is named, and the run fails.

More precise is what ``NARROWER`` says, not the smaller drop on these images. The order is fixed before anything is measured:
the smallest of several measured drops would be the luckiest one too.
"""

from collections.abc import Mapping, Sequence
from math import inf
from types import MappingProxyType
from typing import Literal, TypeAlias

from bundle.judging.checks import disagreeing
from bundle.judging.choice import Candidate, Choice, Rule, Skip
from bundle.judging.regression_report import RegressionReport, VariantRow, variant_tasks, verdicts_of
from bundle.judging.sentences import why_candidate, why_shipped
from bundle.judging.standing import standing
from bundle.judging.timing import Ratio, Rounds, median, ratio

Precision: TypeAlias = Literal["f32", "f16", "bf16", "int8_weights", "int8_mixed", "int8_smooth", "int8"]
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
NONE_SKIPPED: Mapping[str, Skip] = MappingProxyType({})
NO_PLANS: Mapping[str, float] = MappingProxyType({})


def order(
    names: Sequence[str], latency: Mapping[str, float], gain: float, moved: Mapping[str, float] = NO_PLANS
) -> list[str]:
    """Return the variants in the order in which they deserve to be shipped, if the medians were exact.

    With latencies: the fastest first, but of two the wider one unless the narrower takes less than ``gain`` of its
    time. That is the order by latency / gainⁿ, where n is 0 for f32, 1 for f16 and bf16, 2 for any kind of INT8. Without: the
    one first whose plan moves the fewest bytes (``moved``, by name; one without a plan comes last), then the narrowest.
    """
    if not latency:
        return sorted(names, key=lambda name: (moved.get(name, inf), -NARROWER[name]))
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
    skipped: Mapping[str, Skip] = NONE_SKIPPED,
    moved: Mapping[str, float] = NO_PLANS,
) -> Choice:
    """Choose by the rule of this module. ``rounds`` is empty where nothing was timed.

    ``skipped`` are variants that were not judged, with the reason why not: none of them can be shipped.
    ``moved`` are the bytes that a variant's plan reads and writes for a frame, by name, where a builder made one.
    """
    fit = _fit(reports)
    same = equals(fit, rounds, gain) if fit and rounds else ()
    if not fit:
        shipped = min(reports, key=lambda name: NARROWER[name])
    else:
        shipped = min(same, key=lambda name: NARROWER[name]) if same else order(fit, {}, gain, moved)[0]
    judged = tuple(_candidate(name, rounds, reports[name], shipped) for name in reports)
    unjudged = tuple(
        Candidate(
            name=name,
            latency_ms=median(rounds[name]) if rounds else None,
            verdicts={},
            over_shipped=_over(name, rounds, shipped),
            skipped=why,
        )
        for name, why in skipped.items()
    )
    return Choice(
        shipped=shipped,
        rule=_rule(reports, fit, same, rounds, shipped),
        fastest=same[0] if same else "",
        eager_ms=eager_ms,
        candidates=(*judged, *unjudged),
        equal=same if len(same) > 1 else (),
    )


def _rule(
    reports: Mapping[str, RegressionReport], fit: list[str], same: tuple[str, ...], rounds: Rounds, shipped: str
) -> Rule:
    if not fit:
        within = any(standing(verdicts_of(report)) == "within" for report in reports.values())
        return "none_agrees" if within else "none_within"
    if not same:
        return "narrowest" if shipped == order(fit, {}, 1.0)[0] else "fewest_bytes"
    if same[0] == shipped:
        return "fastest"
    return "equal" if ratio(rounds[same[0]], rounds[shipped]).equal else "gain_not_shown"


def _candidate(name: str, rounds: Rounds, report: RegressionReport, shipped: str) -> Candidate:
    verdicts = verdicts_of(report)
    return Candidate(
        name=name,
        latency_ms=median(rounds[name]) if rounds else None,
        verdicts=verdicts,
        accepted=report.passed,
        standing=standing(verdicts),
        disagreeing=tuple(check.task for check in disagreeing(report)),
        over_shipped=_over(name, rounds, shipped),
    )


def _over(name: str, rounds: Rounds, shipped: str) -> Ratio | None:
    """Return a variant's time over the shipped one's; None of itself, and where nothing was timed."""
    return ratio(rounds[name], rounds[shipped]) if rounds and name != shipped else None


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
    [shipped] = [report for name, report in reports.items() if name == choice.shipped]
    rows = tuple(
        VariantRow(
            name=name,
            precision=report.precision,
            tasks=variant_tasks(report),
            passed=report.passed,
            median_ms=choice.candidate(name).latency_ms,
            bytes=sizes[name],
            isa=report.device.isa,
            reason=why_candidate(choice, choice.candidate(name)),
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
            reason=why_candidate(choice, one),
        )
        for one in choice.candidates
        if one.name not in reports
    )
    return shipped.model_copy(
        update={
            "variants": (*rows, *unjudged),
            "variant": choice.shipped,
            "chosen_by": "choice",
            "chosen": why_shipped(choice),
        }
    )
