import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.dataset import Array
from bundle.manifest import Bundle, load_bundle
from bundle.tasks import task
from bundle.vectors import Vectors
from report.draw import Inks, draw
from report.examples import NOT_RUN, answer, choose, examples_view, ranks, reference_scores
from report.view import Picture
from report.wording import metric_value
from tests.report import made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(made.make(tmp_path_factory.mktemp("examples") / "made", made.regression()))


def pixels(picture: Picture) -> Array:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(picture.address.partition(",")[2]))).convert("RGB"))


def test_ranks_go_from_the_worst_to_the_best() -> None:
    values = np.array([0.2, 0.9, np.nan, 0.5, 0.5])
    assert ranks(values, task("semseg")).tolist()[:2] == [0.0, 1.0]
    assert ranks(values, task("depth")).tolist()[:2] == [1.0, 0.0]
    assert ranks(values, task("semseg")).tolist()[3:] == [0.5, 0.5] and np.isnan(ranks(values, task("semseg"))[2])


def test_one_image_has_no_rank() -> None:
    assert np.isnan(ranks(np.array([0.3, np.nan]), task("semseg"))).all()


def test_the_noisiest_image_is_the_worst(bundle: Bundle) -> None:
    with Vectors(bundle.vectors) as vectors:
        chosen = choose(vectors.ids, reference_scores(bundle.manifest, vectors))
    assert chosen["00004"] == "worst" and chosen["00000"] == "best" and len(chosen) == 3


def test_a_bundle_of_one_image_shows_it_once(tmp_path: Path) -> None:
    view = examples_view(load_bundle(made.make(tmp_path / "one", None, images=1)), None)
    assert [example.id for example in view.examples] == ["00000"]


def test_without_a_model_the_reason_stands_and_nothing_is_made_up(bundle: Bundle) -> None:
    view = examples_view(bundle, None)
    assert view.reason == NOT_RUN
    names = {picture.name for example in view.examples for sheet in example.sheets for picture in sheet.pictures}
    assert names == {"label", "reference"}


def test_the_model_runs_once_for_each_image_shown(bundle: Bundle) -> None:
    compiled = made.Compiled(0.1)
    view = examples_view(bundle, compiled)
    assert (view.reason, compiled.calls, len(view.examples)) == ("", 3, 3)
    names = [picture.name for picture in view.examples[0].sheets[0].pictures]
    assert names == ["label", "reference", "compiled", "what changed"]


def test_a_better_model_has_better_scores_and_its_own_pixels(bundle: Bundle) -> None:
    example = examples_view(bundle, made.Compiled(0.01)).examples[0]
    depth = next(sheet for sheet in example.sheets if sheet.task == "depth")
    label, reference, compiled, changed = depth.pictures
    assert float(compiled.score.split()[0]) < 0.05 < float(reference.score.split()[0])
    near = np.abs(pixels(compiled).astype(int) - pixels(label)).mean()
    assert near < 3 < np.abs(pixels(reference).astype(int) - pixels(label)).mean()
    assert changed.score == "yellow: 0.1 m or more"


def test_the_score_of_the_reference_is_the_exact_one_not_that_of_its_compact_picture(bundle: Bundle) -> None:
    with Vectors(bundle.vectors) as vectors:
        table, ids = reference_scores(bundle.manifest, vectors), vectors.ids
    for example in examples_view(bundle, None).examples:
        index = ids.index(example.id)
        for sheet in example.sheets:
            exact = table[sheet.task][index]
            assert sheet.pictures[1].score == metric_value(task(sheet.task).metric, exact)


def test_the_label_picture_is_the_label(bundle: Bundle) -> None:
    example = examples_view(bundle, None).examples[0]
    expected = draw(task("semseg"), made.scene(4, 0.0).labels["semseg"], Inks(palette=made.COLOURS))
    assert np.array_equal(pixels(example.sheets[0].pictures[0]), expected)


def test_an_output_that_is_not_finite_is_said_not_drawn(bundle: Bundle) -> None:
    example = examples_view(bundle, made.Compiled(0.1, broken=("normals",))).examples[0]
    sheets = {sheet.task: sheet for sheet in example.sheets}
    assert len(sheets["normals"].pictures) == 2 and len(sheets["depth"].pictures) == 4
    assert "holds NaN or infinity" in sheets["normals"].note and "NaN" not in sheets["depth"].note


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
    semseg, parts = examples_view(bundle, None).legends
    assert (semseg.entries[0].name, semseg.entries[0].colour) == ("wall", "rgb(200,80,80)")
    assert [entry.name for entry in parts.entries] == list(made.PARTS)
