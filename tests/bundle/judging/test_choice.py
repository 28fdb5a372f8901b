"""Which variant is run: the one asked for, the one a device chose, the one the build shipped; never another in silence."""

import json
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.manifest import Bundle, BundleVariant, load_bundle, write_manifest
from bundle.judging.choice import CHOICE, Candidate, Choice, pick, read_choice
from bundle.judging.choice_rule import choose, unsettled
from bundle.judging.harness import Options, judge_bundle
from bundle.judging.regression_report import RegressionReport, VariantRow, read_report
from bundle.judging.sentences import why_candidate, why_shipped
from bundle.judging.verdict import Verdict
from tests.bundle.made import HERE, make_bundle, session, write_result

OPTIONS = Options(resamples=200)
CANDIDATE = {"name": "int8", "latency_ms": None, "verdicts": {"depth": "regression"}}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle of f32, which the build shipped, and f16."""
    made = make_bundle(tmp_path / "bundle", count=12)
    files = made.manifest.variants[0].files
    variants = tuple(BundleVariant(name=n, precision=n, files=files, recipe={"name": n}) for n in ("f32", "f16"))
    write_manifest(made.folder, made.manifest.model_copy(update={"variants": variants}))
    return load_bundle(made.folder)


def chose(bundle: Bundle, name: str) -> Bundle:
    """The bundle as it is opened after a device chose."""
    candidate = Candidate(name=name, latency_ms=5.0, verdicts={"depth": "pass"}, accepted=True, standing="within")
    choice = Choice(shipped=name, rule="fastest", fastest=name, eager_ms=None, candidates=(candidate,))
    bundle.write(CHOICE, choice)
    return load_bundle(bundle.folder)


def test_the_choice_is_read_whole_or_refused(bundle: Bundle) -> None:
    candidates = [{**CANDIDATE, "name": "f32"}, CANDIDATE]
    value = {"schema_version": 2, "shipped": "f32", "rule": "none_within", "eager_ms": 52.0, "candidates": candidates}
    assert read_choice(bundle) is None
    write_result(bundle.folder, CHOICE, json.dumps(value))
    choice = read_choice(load_bundle(bundle.folder))
    assert choice is not None and choice.model_dump(mode="json", exclude_unset=True) == {
        **value,
        "bundle": bundle.sha256,
    }
    for changes in ({"candidates": [{"name": "int8"}]}, {"schema_version": 1}):
        write_result(bundle.folder, CHOICE, json.dumps({**value, **changes}))
        with pytest.raises(ArtifactError, match=r"choice\.json cannot be read"):
            read_choice(load_bundle(bundle.folder))


def test_what_the_device_chose_is_run_unless_another_one_is_asked_for(bundle: Bundle) -> None:
    assert pick(bundle, "") == ("f32", "build", None)
    bundle = chose(bundle, "f16")
    assert pick(bundle, "") == ("f16", "choice", read_choice(bundle))
    assert pick(bundle, "f32") == ("f32", "name", None)


def test_a_choice_of_what_is_not_there_is_refused(bundle: Bundle) -> None:
    bundle = chose(bundle, "int4")
    with pytest.raises(ArtifactError, match="does not hold") as caught:
        pick(bundle, "")
    assert caught.value.got == "int4" and "f32, f16" in caught.value.expected


def test_a_damaged_choice_is_refused_by_name(bundle: Bundle) -> None:
    chose(bundle, "f16")
    path = bundle.folder / CHOICE
    path.write_text(path.read_text().replace("f16", "f32"))
    with pytest.raises(ArtifactError, match=r"choice\.json was altered"):
        load_bundle(bundle.folder)


def test_the_report_says_which_variant_was_judged_and_why(bundle: Bundle) -> None:
    bundle = chose(bundle, "f16")
    own = judge_bundle(bundle, session("raw"), HERE, OPTIONS)
    assert (own.report.variant, own.report.chosen) == (
        "f16",
        "choice.json: the fastest variant within its budgets, measured here: 5.0 ms",
    )
    assert own.path == bundle.folder / "regression.json" and read_report(bundle.folder) == own.report
    other = judge_bundle(bundle, session("raw"), HERE, OPTIONS, variant="f32")
    assert other.path is None and other.report.variant == "f32"


@pytest.mark.parametrize("here", [True, False])
def test_the_rows_of_the_other_variants_stay_if_the_same_device_made_them(bundle: Bundle, here: bool) -> None:
    bundle = chose(bundle, "f16")
    execution = HERE if here else HERE.model_copy(update={"executed_on": "device"})
    report: RegressionReport = judge_bundle(bundle, session("raw"), execution, OPTIONS).report
    rows = tuple(VariantRow(name=n, precision=n, passed=False, median_ms=7.0, bytes=3) for n in ("f32", "f16"))
    bundle.write("regression.json", report.model_copy(update={"variants": rows}))
    after = judge_bundle(bundle, session("raw"), HERE, OPTIONS).report
    if not here:
        assert after.variants == ()
        return
    first, second = after.variants
    assert (
        first == rows[0] and (second.passed, second.median_ms) == (True, 7.0) and set(second.tasks) == set(after.tasks)
    )


def disagreeing(report: RegressionReport) -> RegressionReport:
    """The same verdicts from answers that do not resemble the reference's."""
    checks = report.checks | {"depth": report.checks["depth"].model_copy(update={"agreement": 0.1})}
    return report.model_copy(update={"checks": checks})


def test_a_variant_whose_answers_are_not_the_references_is_not_chosen(bundle: Bundle) -> None:
    good = judge_bundle(bundle, session("raw"), HERE, OPTIONS).report
    latency = {"f32": [9.0], "f16": [5.0]}
    choice = choose({"f32": good, "f16": disagreeing(good)}, latency, None, 0.95)
    assert (choice.shipped, choice.rule, choice.candidates[1].disagreeing) == ("f32", "fastest", ("depth",))
    unlike = "within its budgets, but it does not answer as the reference does: depth"
    assert why_shipped(choice).endswith(f"; f16 is faster (5.0 ms), but {unlike}")
    assert choose({"f32": good, "f16": good}, latency, None, 0.95).shipped == "f16"
    neither = choose({"f32": disagreeing(good), "f16": disagreeing(good)}, latency, None, 0.95)
    assert (neither.shipped, neither.rule) == ("f32", "none_agrees") and "it does not pass" in why_shipped(neither)


# Which variant ships: noise, and what is undecided


def standing_at(report: RegressionReport, *, allowed: bool = True, **verdicts: Verdict) -> RegressionReport:
    """The same report with other verdicts of some tasks."""
    tasks = {name: row.model_copy(update={"verdict": verdicts.get(name, "pass")}) for name, row in report.tasks.items()}
    passing = {"pass", "inconclusive"} if allowed else {"pass"}
    passed = {row.verdict for row in tasks.values()} <= passing
    return report.model_copy(update={"tasks": tasks, "passed": passed})


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> RegressionReport:
    """A report in which every task passes."""
    made = make_bundle(tmp_path_factory.mktemp("good") / "bundle", count=12)
    return judge_bundle(made, session("raw"), HERE, OPTIONS).report


NOISY = [8.0, 12.0, 9.0, 11.0, 8.5, 11.5, 9.5, 10.5, 10.0, 7.0, 13.0, 10.0]  # one round each, in ms; median 10
STEADY = [10.0, 10.1, 9.9, 10.0, 10.05, 9.95, 10.0, 10.1, 9.9, 10.0, 10.0, 10.0]


def times(rounds: list[float], factor: float) -> list[float]:
    """The same disturbance over a variant that takes ``factor`` as long, in another order of the rounds."""
    return [factor * value for value in rounds[::-1]]


def test_of_two_that_are_equal_within_noise_the_more_precise_one_ships(good: RegressionReport) -> None:
    """int8 has the better median by 12 %, which is more than the gain asks for; the rounds do not show it."""
    rounds = {"bf16": NOISY, "int8": times(NOISY, 0.88)}
    reports = dict.fromkeys(rounds, good)
    choice = choose(reports, rounds, None, 0.95)
    assert (choice.shipped, set(choice.equal)) == ("bf16", {"bf16", "int8"}) and unsettled(reports, rounds, 0.95)
    assert (choice.rule, choice.fastest) == ("equal", "int8")
    assert why_shipped(choice).startswith("within its budgets, equal within noise to int8 (8.8 ms) and more precise")
    [other] = [one for one in choice.candidates if one.name == "int8"]
    assert why_candidate(choice, other).startswith(
        "within its budgets; equal within noise to bf16: 0.88 times its time, 95 % 0."
    )
    assert other.over_shipped is not None and other.over_shipped.low < 1 < other.over_shipped.high


def test_the_same_difference_without_noise_ships_the_faster_one(good: RegressionReport) -> None:
    rounds = {"bf16": STEADY, "int8": times(STEADY, 0.88)}
    reports = dict.fromkeys(rounds, good)
    choice = choose(reports, rounds, None, 0.95)
    assert (choice.shipped, choice.equal) == ("int8", ()) and not unsettled(reports, rounds, 0.95)
    assert [why_candidate(choice, one) for one in choice.candidates] == [
        "within its budgets; 1.14 times as slow as int8",
        "shipped; within its budgets",
    ]


def test_what_may_not_be_shipped_unsettles_nothing(good: RegressionReport) -> None:
    rounds = {"bf16": NOISY, "int8": times(NOISY, 0.88)}
    assert not unsettled({"bf16": good, "int8": standing_at(good, depth="regression")}, rounds, 0.95)


def test_a_speed_up_is_over_compiled_float32_and_never_over_eager(good: RegressionReport) -> None:
    rounds = {"f32": times(STEADY, 2.0), "int8": STEADY}
    choice = choose(dict.fromkeys(rounds, good), rounds, 1335.0, 0.95)
    assert choice.speed_up == pytest.approx(2.0)
    assert why_shipped(choice).endswith("measured here: 10.0 ms, 2.00 times as fast as compiled f32 (20.0 ms)")
    texts = (why_shipped(choice), *(why_candidate(choice, one) for one in choice.candidates))
    assert not any("1335" in text or "133" in text for text in texts)


@pytest.mark.parametrize("speed", [0.9, 0.1])
def test_a_variant_that_passes_goes_before_one_that_is_undecided_whatever_its_speed(
    good: RegressionReport, speed: float
) -> None:
    reports = {"f32": good, "bf16": standing_at(good, saliency="inconclusive", edge="inconclusive")}
    assert reports["bf16"].passed
    for rounds in ({"f32": STEADY, "bf16": times(STEADY, speed)}, {}):
        choice = choose(reports, rounds, None, 0.95)
        assert choice.shipped == "f32"
        told = "2 tasks undecided, allowed by --allow-inconclusive: saliency, edge; f32 passes on every task"
        assert why_candidate(choice, choice.candidates[1]) == told and choice.candidates[1].standing == "undecided"
        assert not rounds or f"bf16 is faster ({10 * speed:.1f} ms), but {told}" in why_shipped(choice)


def test_an_undecided_variant_is_not_passed_over_for_what_the_shipped_one_is_too(good: RegressionReport) -> None:
    rounds = {"bf16": NOISY, "int8": times(NOISY, 0.98)}
    choice = choose(dict.fromkeys(rounds, standing_at(good, edge="inconclusive")), rounds, None, 0.95)
    assert choice.shipped == "bf16" and "int8 is faster" not in why_shipped(choice)


def test_where_every_variant_is_undecided_the_reason_says_so_and_claims_no_budget(good: RegressionReport) -> None:
    reports = {"f32": standing_at(good, edge="inconclusive"), "int8": standing_at(good, edge="inconclusive")}
    for rounds in ({"f32": STEADY, "int8": times(STEADY, 0.5)}, {}):
        choice = choose(reports, rounds, None, 0.95)
        assert choice.shipped == "int8"
        assert "1 task undecided, allowed by --allow-inconclusive: edge; no variant that answers" in why_shipped(choice)
        assert not any(why_candidate(choice, one).startswith("within its budgets") for one in choice.candidates)
    refused = {name: standing_at(report, allowed=False, edge="inconclusive") for name, report in reports.items()}
    choice = choose(refused, {}, None, 0.95)
    assert choice.shipped == "f32" and "no variant is shown to be within its budgets" in why_shipped(choice)
