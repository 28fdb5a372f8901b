"""Which variant is run: the one asked for, the one a device chose, the one the build shipped; never another in silence."""

import json
from pathlib import Path

import pytest

from bundle.choice import CHOICE, Choice, choose, pick, read_choice
from bundle.errors import ArtifactError
from bundle.harness import Options, judge_bundle
from bundle.manifest import Bundle, BundleVariant, load_bundle, write_manifest
from bundle.outcome import RegressionReport, VariantRow, read_report, write_report
from tests.bundle.made import HERE, make_bundle, session

OPTIONS = Options(resamples=200)
CANDIDATE = {
    "name": "int8",
    "latency_ms": None,
    "verdicts": {"depth": "regression"},
    "reason": "beyond its budgets: depth",
}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """A bundle of f32, which the build shipped, and f16."""
    made = make_bundle(tmp_path / "bundle", count=4)
    files = made.manifest.variants[0].files
    variants = tuple(BundleVariant(name=n, precision=n, files=files, recipe={"name": n}) for n in ("f32", "f16"))
    write_manifest(made.folder, made.manifest.model_copy(update={"variants": variants}))
    return load_bundle(made.folder)


def chose(bundle: Bundle, name: str) -> Bundle:
    """The bundle as it is opened after a device chose."""
    choice = Choice(shipped=name, reason="the fastest here", eager_ms=None, candidates=())
    bundle.write(CHOICE, choice.model_dump_json(indent=2))
    return load_bundle(bundle.folder)


def test_the_choice_is_read_whole_or_refused(bundle: Bundle) -> None:
    value = {
        "schema_version": 1,
        "shipped": "f32",
        "reason": "the only one left",
        "eager_ms": 52.0,
        "candidates": [CANDIDATE],
    }
    assert read_choice(bundle) is None
    bundle.write(CHOICE, json.dumps(value))
    choice = read_choice(load_bundle(bundle.folder))
    assert choice is not None and choice.model_dump(mode="json") == value
    for changes in ({"candidates": [{"name": "int8"}]}, {"schema_version": 2}):
        bundle.write(CHOICE, json.dumps({**value, **changes}))
        with pytest.raises(ArtifactError, match=r"choice\.json cannot be read"):
            read_choice(load_bundle(bundle.folder))


def test_what_the_device_chose_is_run_unless_another_one_is_asked_for(bundle: Bundle) -> None:
    assert pick(bundle, "") == ("f32", "the build shipped it, and there is no choice.json")
    bundle = chose(bundle, "f16")
    assert pick(bundle, "") == ("f16", "choice.json: the fastest here")
    assert pick(bundle, "f32") == ("f32", "asked for by name")


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
    assert (own.report.variant, own.report.chosen) == ("f16", "choice.json: the fastest here")
    assert own.path == bundle.folder / "regression.json" and read_report(bundle.folder) == own.report
    other = judge_bundle(bundle, session("raw"), HERE, OPTIONS, variant="f32")
    assert other.path is None and other.report.variant == "f32"


@pytest.mark.parametrize("here", [True, False])
def test_the_rows_of_the_other_variants_stay_if_the_same_device_made_them(bundle: Bundle, here: bool) -> None:
    bundle = chose(bundle, "f16")
    execution = HERE if here else HERE.model_copy(update={"executed_on": "device"})
    report: RegressionReport = judge_bundle(bundle, session("raw"), execution, OPTIONS).report
    rows = tuple(VariantRow(name=n, precision=n, passed=False, median_ms=7.0, bytes=3) for n in ("f32", "f16"))
    write_report(bundle.folder, report.model_copy(update={"variants": rows}))
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
    latency = {"f32": 9.0, "f16": 5.0}
    choice = choose({"f32": good, "f16": disagreeing(good)}, latency, None, 0.95)
    assert choice.shipped == "f32" and "f16 is faster (5.0 ms), but" in choice.reason
    assert choice.candidates[1].reason.endswith("it does not answer as the reference does: depth")
    assert choose({"f32": good, "f16": good}, latency, None, 0.95).shipped == "f16"
    neither = choose({"f32": disagreeing(good), "f16": disagreeing(good)}, latency, None, 0.95)
    assert neither.shipped == "f32" and "the build fails" in neither.reason
