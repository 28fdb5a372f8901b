"""Two results against each other: the figures are those of NumPy, and what is left out is said."""

import numpy as np
import pytest

from bundle.base.errors import InputError
from bundle.formats.vectors import Vectors
from bundle.judging.baseline import pack, unpack_rows
from bundle.judging.comparison import Comparison, Given, compare_results
from bundle.judging.regression_report import RegressionReport
from bundle.judging.run import run
from bundle.tasks.dataset import decode_label
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from tests.bundle.made import HERE, PREPROCESS, SPEC, TASKS, Bundle, make_bundle, model, session

COUNT = 12


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("comparison") / "b", io="raw", count=COUNT)


def farther(name: str, raw: np.ndarray) -> np.ndarray:
    return raw + np.float32(0.5) if name == "depth" else raw


def broken(name: str, raw: np.ndarray) -> np.ndarray:
    return np.full_like(raw, np.nan) if name == "depth" else raw


@pytest.fixture(scope="module")
def good(bundle: Bundle) -> RegressionReport:
    return run(bundle, session("raw"), HERE, resamples=100)


@pytest.fixture(scope="module")
def bad(bundle: Bundle) -> RegressionReport:
    return run(bundle, session("raw", farther), HERE, resamples=100)


def compared(a: RegressionReport, b: RegressionReport) -> Comparison:
    return compare_results(Given("a.json", a, None), Given("b.json", b, 3.0), resamples=200)


def changed(report: RegressionReport, name: str, **values: object) -> RegressionReport:
    """The report with other values of one task."""
    return report.model_copy(update={"tasks": {**report.tasks, name: report.tasks[name].model_copy(update=values)}})


def cut(report: RegressionReport, ids: tuple[str, ...], tasks: tuple[str, ...] = tuple(TASKS)) -> RegressionReport:
    """The report with the arrays of these images and tasks, in this order."""
    kept = report.arrays
    assert kept is not None
    rows = [kept.ids.index(identifier) for identifier in ids]
    arrays = {name: unpack_rows(kept.tasks[name], len(kept.ids))[rows] for name in tasks}
    named = {name: report.tasks[name] for name in tasks}
    return report.model_copy(update={"arrays": pack(ids, arrays), "tasks": named, "images": len(ids)})


def test_a_result_is_alike_with_itself(good: RegressionReport) -> None:
    same = compared(good, good)
    assert (same.restrictions, same.delta_m, same.delta_m_interval, same.images) == ((), 0, (0, 0), COUNT)
    assert list(same.tasks) == list(TASKS)
    assert {(row.verdict, row.drop_relative, row.worse, row.better) for row in same.tasks.values()} == {
        ("pass", 0, 0, 0)
    }
    assert {row.equal for name, row in same.tasks.items() if name != "human_parts"} == {COUNT}


def test_each_images_figure_is_numpys(bundle: Bundle, good: RegressionReport, bad: RegressionReport) -> None:
    found = compared(good, bad).tasks["depth"]
    assert (found.verdict, found.metric, found.worse + found.better) == ("regression", "rmse_m", COUNT)
    errors = {}
    with Vectors(bundle.vectors) as vectors:
        for one in vectors.images():
            raw = model(PREPROCESS.apply(one.image))["depth"][0]
            truth = decode_label("depth", one.labels["depth"], SPEC)
            answers = [predict(task("depth"), raw + np.float32(more)) for more in (0, 0.5)]
            pairs = [answer[truth > 0].astype(np.float64) - truth[truth > 0] for answer in answers]
            errors[one.id] = [float(np.sqrt(np.mean(pair**2))) for pair in pairs]
    assert [row.worse_by for row in found.images] == sorted((row.worse_by for row in found.images), reverse=True)
    for row in found.images:
        assert (row.a, row.b) == pytest.approx(errors[row.id], rel=1e-6)
        assert row.worse_by == pytest.approx(errors[row.id][1] - errors[row.id][0], rel=1e-5)


def test_against_the_reference_itself_the_drop_is_the_results_own(
    good: RegressionReport, bad: RegressionReport
) -> None:
    there, back = compared(good, bad), compared(bad, good)
    for name, row in there.tasks.items():
        assert row.drop_relative == bad.tasks[name].drop_relative
    assert back.tasks["depth"].verdict == "improvement" and back.tasks["depth"].drop_relative < 0  # type: ignore[operator]
    assert (there.delta_m or 0) < 0 < (back.delta_m or 0) and (there.a.latency_ms, there.b.latency_ms) == (None, 3.0)


def test_images_are_matched_by_id_and_the_others_left_out(good: RegressionReport, bad: RegressionReport) -> None:
    ids = bad.arrays.ids if bad.arrays else ()
    whole, turned = compared(good, bad), compared(good, cut(bad, ids[::-1]))
    assert turned.tasks == whole.tasks and turned.restrictions == ()
    part = compared(good, cut(bad, (*ids[4:], ids[0])))
    assert part.images == 9 and part.restrictions[0].startswith("only 9 images of 12 in A and 9 in B are in both")
    assert {row.verdict for row in part.tasks.values()} == {"inconclusive"}  # too few
    assert {row.id for row in part.tasks["depth"].images} == {*ids[4:], ids[0]}


def test_what_differs_is_said(good: RegressionReport, bad: RegressionReport) -> None:
    ids = good.arrays.ids if good.arrays else ()
    two = compared(good, cut(bad, ids, ("depth", "edge")))
    assert (list(two.tasks), two.restrictions) == (
        ["depth", "edge"],
        ("only A has semseg, human_parts, saliency, normals",),
    )
    budget = compared(changed(good, "depth", budget=0.5), bad)
    assert budget.tasks["depth"].budget == 0.01
    assert budget.restrictions == ("depth has a budget of 50% in A and 1% in B: the smaller one counts",)
    other = compared(good, changed(bad, "depth", metric="agreement"))
    assert "depth" not in other.tasks and other.restrictions == ("depth is left out: A measures rmse_m, B agreement",)
    reference = compared(good, changed(bad, "depth", reference=9.0))
    assert "two references or two sets of images" in reference.restrictions[0]
    source = compared(good, bad.model_copy(update={"source": "split val of rooms"}))
    assert "B on split val of rooms: images are matched by their ids" in source.restrictions[0]


def test_another_number_of_classes_is_left_out(good: RegressionReport) -> None:
    kept = good.arrays
    assert kept is not None
    arrays = {name: unpack_rows(text, COUNT) for name, text in kept.tasks.items()}
    arrays["semseg"] = np.ones((COUNT, 10))
    other = good.model_copy(update={"arrays": pack(kept.ids, arrays)})
    assert compared(good, other).restrictions == (
        "semseg is left out: A has 8 numbers an image, B 10: another number of classes",
    )


def test_a_broken_output_is_a_regression_in_b_and_no_start_in_a(bundle: Bundle, good: RegressionReport) -> None:
    nothing = run(bundle, session("raw", broken), HERE, resamples=100)
    row = compared(good, nothing).tasks["depth"]
    assert (row.verdict, row.cause, row.worse, row.images[0].b) == ("regression", "not_finite", COUNT, None)
    assert compared(nothing, good).restrictions == ("depth is left out: A gave NaN or infinity",)


@pytest.mark.parametrize("fault", ["arrays", "images", "tasks", "text"])
def test_what_cannot_be_compared_is_one_error(good: RegressionReport, fault: str) -> None:
    kept = good.arrays
    assert kept is not None
    other = {
        "arrays": good.model_copy(update={"arrays": None}),
        "images": good.model_copy(
            update={"arrays": kept.model_copy(update={"ids": tuple(f"x{i}" for i in range(COUNT))})}
        ),
        "tasks": cut(good, kept.ids, ("edge",)),
        "text": good.model_copy(update={"arrays": kept.model_copy(update={"tasks": {**kept.tasks, "edge": "AAAA"}})}),
    }[fault]
    first = cut(good, kept.ids, ("depth",)) if fault == "tasks" else good
    said = {
        "arrays": "keeps no per-image",
        "images": "no image is in both",
        "tasks": "no task is in both",
        "text": "cannot be read",
    }
    with pytest.raises(InputError, match=said[fault]):
        compared(first, other)
