"""Judging only what can be shipped ships what judging everything would, and says why the rest was not judged."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.judging.choice_rule import NARROWER, NO_PLANS, choose, with_variants
from bundle.judging.regression_report import Device, RegressionReport, TaskResult
from bundle.judging.sentences import why_candidate, why_shipped
from bundle.judging.verdict import Verdict
from compile.quantization.contenders import REPAIRS, Contest
from targets.table import TARGETS

GAIN = 0.95
VERDICTS: tuple[Verdict, ...] = ("pass", "inconclusive", "regression")
WIDE = [name for name in NARROWER if name not in REPAIRS]


def report_of(edge: Verdict, *, allowed: bool = False) -> RegressionReport:
    """A report of one task with this verdict."""
    task = TaskResult(
        metric="ods_f",
        direction="higher",
        reference=0.5,
        compiled=0.5,
        drop_relative=0.0,
        interval=(0.0, 0.0),
        budget=0.01,
        verdict=edge,
        sqnr_db=40.0,
        labelled_images=20,
    )
    passed = edge == "pass" or (allowed and edge == "inconclusive")
    return RegressionReport(
        model="made",
        target="made",
        device=Device(name="made", isa=("avx2",)),
        precision="made",
        executed_on="device",
        images=20,
        tasks={"edge": task},
        delta_m=0.0,
        passed=passed,
    )


def contest(
    reports: Mapping[str, RegressionReport],
    target: str,
    rounds: Mapping[str, list[float]],
    moved: Mapping[str, float] = NO_PLANS,
) -> tuple[Contest, dict[str, RegressionReport], list[str]]:
    """Let the variants compete; return who was judged, in the order of judging too."""
    asked: list[str] = []

    def judge_one(name: str) -> RegressionReport:
        asked.append(name)
        return reports[name]

    made = Contest(tuple(reports), judge_one, TARGETS[target].profile.judged_only, GAIN, moved)
    if rounds:
        made.unsettled(rounds)
    return made, made.reports(rounds), asked


@pytest.mark.slow
@settings(deadline=None)
@given(
    verdicts=st.dictionaries(st.sampled_from(WIDE), st.sampled_from(VERDICTS), min_size=1),
    milliseconds=st.lists(st.lists(st.integers(5, 40), min_size=6, max_size=6), min_size=len(WIDE), max_size=len(WIDE)),
    allowed=st.booleans(),
)
def test_the_choice_is_that_of_all_variants_judged(
    verdicts: dict[str, Verdict], milliseconds: list[list[int]], allowed: bool
) -> None:
    reports = {name: report_of(edge=verdict, allowed=allowed) for name, verdict in verdicts.items()}
    rounds = {name: [float(ms) for ms in row] for name, row in zip(reports, milliseconds, strict=False)}
    made, judged, asked = contest(reports, "intel", rounds)
    ours, all_of_them = (choose(one, rounds, None, GAIN) for one in (judged, reports))
    assert (ours.shipped, ours.equal) == (all_of_them.shipped, all_of_them.equal)
    assert len(asked) == len(set(asked)) and set(asked) | set(made.skipped) == set(reports)


def test_what_is_slower_than_one_within_its_budgets_is_not_judged() -> None:
    rounds = {"f32": [39.0] * 5, "bf16": [17.6] * 5, "int8_weights": [30.0] * 5, "int8": [15.6] * 5}
    good = dict.fromkeys(rounds, report_of(edge="pass"))
    made, judged, asked = contest(good, "intel", rounds)
    assert asked == ["int8"]
    choice = choose(judged, rounds, None, GAIN, made.skipped)
    assert why_shipped(choice).endswith("15.6 ms, 2.50 times as fast as compiled f32 (39.0 ms)")
    reasons = {one.name: why_candidate(choice, one) for one in choice.candidates}
    assert reasons["bf16"] == "not judged: a faster variant is within every budget"
    assert {one.name for one in choice.candidates if one.standing is None} == {"f32", "bf16", "int8_weights"}
    report = with_variants(judged, choice, dict.fromkeys(rounds, 7))
    assert [(row.name, bool(row.tasks), row.median_ms) for row in report.variants] == [
        ("int8", True, 15.6),
        ("f32", False, 39.0),
        ("bf16", False, 17.6),
        ("int8_weights", False, 30.0),
    ]


def test_one_that_is_equal_within_noise_is_judged_too() -> None:
    noisy = [8.0, 12.0, 9.0, 11.0, 10.0]
    rounds = {"bf16": noisy, "int8": [0.9 * ms for ms in noisy[::-1]]}
    made, _, asked = contest(dict.fromkeys(rounds, report_of(edge="pass")), "intel", rounds)
    assert asked == ["int8", "bf16"] and made.unsettled(rounds) and not made.skipped


@pytest.mark.parametrize(
    ("plain", "asked"), [("pass", ["int8", "f16"]), ("regression", ["int8", "int8_smooth", "int8_mixed", "f16"])]
)
def test_under_emulation_all_are_judged_that_a_device_may_choose(plain: Verdict, asked: list[str]) -> None:
    """f32 stays at home where anything else passes, and what repairs plain INT8 is judged only where that needs it."""
    reports = dict.fromkeys(("f32", "f16", "int8", "int8_smooth", "int8_mixed"), report_of(edge="pass"))
    reports["int8"] = report_of(edge=plain)
    made, _, found = contest(reports, "jetson", {})
    assert found == asked and set(made.skipped) == set(reports) - set(asked)


@pytest.mark.parametrize(
    ("int8_bytes", "shipped", "why"),
    [
        (161.6e6, "f16", "within its budgets, and by the plans reads and writes the fewest bytes"),
        (103.0e6, "int8", "the narrowest precision within its budgets under emulation"),
    ],
)
def test_under_emulation_int8_that_moves_more_bytes_than_fp16_is_not_shipped(
    int8_bytes: float, shipped: str, why: str
) -> None:
    reports = dict.fromkeys(("f32", "f16", "int8"), report_of(edge="pass"))
    moved = {"f32": 396.0e6, "f16": 159.2e6, "int8": int8_bytes}
    made, judged, asked = contest(reports, "jetson", {}, moved)
    choice = choose(judged, {}, None, GAIN, made.skipped, moved)
    assert (asked[0], choice.shipped) == (shipped, shipped)
    assert why_shipped(choice) == f"{why}; the device decides by measuring"


@pytest.mark.parametrize("target", TARGETS)
def test_where_none_is_within_its_budgets_all_are_judged(target: str) -> None:
    reports = dict.fromkeys(("f32", "f16", "int8", "int8_mixed"), report_of(edge="inconclusive"))
    for rounds in ({}, {name: [float(len(name))] * 3 for name in reports}):
        made, judged, _ = contest(reports, target, rounds)
        assert list(judged) == list(reports) and not made.skipped
