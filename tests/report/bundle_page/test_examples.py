import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.formats.manifest import Bundle, load_bundle
from bundle.formats.vectors import Vectors
from bundle.judging.ranking import reference_scores
from bundle.judging.regression_report import RegressionReport
from bundle.judging.wording import metric_value
from bundle.tasks.kinds.colours import Inks
from bundle.tasks.spec import Array
from bundle.tasks.table import task
from report.bundle_page.examples import HOW_SCORED, NOT_RUN, answer, changed_most, examples_view
from report.bundle_page.views import Example, ImagesView, Picture
from tests.report import made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(made.make(tmp_path_factory.mktemp("examples") / "made", made.regression()))


def pixels(picture: Picture) -> Array:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.address.partition(",")[2]))).convert("RGB"))


def of(view: ImagesView, name: str) -> tuple[Example, ...]:
    """The images of one task."""
    [found] = [one.examples for one in view.tasks if one.task == name]
    return found


def test_a_bundle_of_one_image_shows_it_once_for_each_task(tmp_path: Path) -> None:
    view = examples_view(load_bundle(made.make(tmp_path / "one", None, images=1)), None, None)
    assert [[example.id for example in one.examples] for one in view.tasks] == [["00000"]] * 6
    assert view.how == HOW_SCORED


def test_without_a_model_the_reason_stands_and_nothing_is_made_up(bundle: Bundle) -> None:
    view = examples_view(bundle, None, None)
    assert view.reason == NOT_RUN
    names = {picture.name for one in view.tasks for example in one.examples for picture in example.pictures}
    assert names == {"input", "label", "reference"}


def test_the_model_runs_once_for_each_image_shown(bundle: Bundle) -> None:
    compiled = made.Compiled(0.1)
    view = examples_view(bundle, compiled, None)
    shown = {example.id for one in view.tasks for example in one.examples}
    assert (view.reason, compiled.calls) == ("", len(shown))
    assert [example.rank for example in of(view, "semseg")] == ["worst", "median", "best"]
    names = [picture.name for picture in of(view, "semseg")[0].pictures]
    assert names == ["input", "label", "reference", "compiled", "what changed"]


def test_the_image_that_changed_most_is_shown_too_unless_it_is_there_or_nothing_changed(bundle: Bundle) -> None:
    report = RegressionReport.model_validate(made.rich())
    still = {name: check.model_copy(update={"worst": check.worst[:1]}) for name, check in report.checks.items()}
    assert changed_most(report, "depth") == made.CHANGED_MOST and changed_most(None, "depth") == ""
    none = [one.model_copy(update={"change": 0.0}) for one in still["depth"].worst]
    still["depth"] = still["depth"].model_copy(update={"worst": tuple(none)})
    view = examples_view(bundle, None, report.model_copy(update={"checks": still}))
    assert "most changed" not in [example.rank for example in of(view, "depth")]
    for name in ("semseg", "normals"):
        ids = [example.id for example in of(view, name)]
        assert made.CHANGED_MOST in ids and len(set(ids)) == len(ids)


def test_a_better_model_has_better_scores_and_its_own_pixels(bundle: Bundle) -> None:
    _, label, reference, compiled, changed = of(examples_view(bundle, made.Compiled(0.01), None), "depth")[0].pictures
    assert float(compiled.score.split()[0]) < 0.05 < float(reference.score.split()[0])
    near = np.abs(pixels(compiled).astype(int) - pixels(label)).mean()
    assert near < 3 < np.abs(pixels(reference).astype(int) - pixels(label)).mean()
    assert changed.score == "yellow: 0.1 m or more"


def test_the_score_of_the_reference_is_the_exact_one_not_that_of_its_compact_picture(bundle: Bundle) -> None:
    with Vectors(bundle.vectors) as vectors:
        table, ids = reference_scores(bundle.manifest, vectors), vectors.ids
    for one in examples_view(bundle, None, None).tasks:
        for example in one.examples:
            exact = table[one.task][ids.index(example.id)]
            assert example.pictures[2].score == metric_value(task(one.task).metric, exact)


def test_the_label_picture_is_the_label(bundle: Bundle) -> None:
    example = of(examples_view(bundle, None, None), "semseg")[0]
    label = made.scene(int(example.id), 0.0).labels["semseg"]
    expected = task("semseg").kind.draw(label, Inks(palette=made.COLOURS))
    assert np.array_equal(pixels(example.pictures[1]), expected)


def test_an_output_that_is_not_finite_is_said_not_drawn(bundle: Bundle) -> None:
    view = examples_view(bundle, made.Compiled(0.1, broken=("normals",)), None)
    [normals, depth] = [of(view, name)[0] for name in ("normals", "depth")]
    assert len(normals.pictures) == 3 and len(depth.pictures) == 5
    assert "holds NaN or infinity" in normals.note and "NaN" not in depth.note


def test_an_edge_bundle_gives_predictions_as_they_are(bundle: Bundle) -> None:
    labels = np.zeros((1, made.HEIGHT, made.WIDTH), np.uint8)
    inputs, outputs = made.interface("edge", made.PREPROCESS, {"semseg": 3})
    changes = {"io": "edge", "tasks": {"semseg": 3}, "budgets": {"semseg": 0.01}, "inputs": inputs, "outputs": outputs}
    manifest = made.manifest({}, **changes)
    with Vectors(bundle.vectors) as vectors:
        stored = next(vectors.images())
    fed: list[dict[str, Array]] = []
    found = answer(manifest, stored, lambda feed: (fed.append(feed), {"semseg": labels})[1])
    assert fed[0]["image"].dtype == np.uint8 and found["semseg"] is not None
    assert np.array_equal(found["semseg"], labels[0])


def test_every_class_is_in_the_legend(bundle: Bundle) -> None:
    semseg, parts = examples_view(bundle, None, None).legends
    assert (semseg.entries[0].name, semseg.entries[0].colour) == ("wall", "rgb(200,80,80)")
    assert [entry.name for entry in parts.entries] == list(made.PARTS)
