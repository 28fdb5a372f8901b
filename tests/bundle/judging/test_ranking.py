"""Which images are shown: the order is that of a plain sort of each image's own loss or score."""

import numpy as np
import pytest

from bundle.formats.manifest import Bundle, load_bundle
from bundle.formats.vectors import Vectors
from bundle.judging.baseline import pack
from bundle.judging.ranking import choose, extremes, losses, ranks, reference_scores
from bundle.judging.regression_report import RegressionReport
from bundle.tasks.dataset import decode_label
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from tests.report import made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(made.make(tmp_path_factory.mktemp("chosen") / "made", made.regression()))


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


NAN = float("nan")


@pytest.mark.parametrize(
    ("name", "reference", "loss", "places"),
    [
        ("semseg", [0.9, 0.1, 0.5, 0.7], None, {1: "worst", 2: "median", 0: "best"}),
        ("depth", [0.9, 0.1, 0.5, 0.7], None, {0: "worst", 3: "median", 1: "best"}),
        ("semseg", [0.9, 0.1, 0.5, 0.7], [0.3, 0.0, 0.2, -0.1], {0: "worst", 2: "median", 3: "best"}),
        ("semseg", [0.9, NAN, 0.5], [0.3, 0.9, NAN], {0: "worst"}),
        ("semseg", [0.2, 0.1], [0.0, 0.0], {1: "worst", 0: "best"}),
        ("semseg", [NAN, NAN], None, {}),
    ],
)
def test_the_worst_lost_most(
    name: str, reference: list[float], loss: list[float] | None, places: dict[int, str]
) -> None:
    lost = None if loss is None else np.array(loss)
    assert extremes(task(name), np.array(reference), lost) == places


def test_losses_are_those_of_each_image_and_hard_ones_have_none(bundle: Bundle) -> None:
    compiled, judged = made.Compiled(0.8), {}
    with Vectors(bundle.vectors) as vectors:
        assert losses(bundle.manifest, vectors, None) is None
        ids = vectors.ids[1:]
        for name, channels in made.CHANNELS.items():
            judge = task(name).judge(channels)
            judged[name] = np.stack(
                [
                    judge.per_image(
                        predict(task(name), made.scene(int(identifier), 0.8).outputs[name]),
                        decode_label(name, made.scene(int(identifier), 0.0).labels[name], made.SPEC),
                    )
                    for identifier in ids
                ]
            )
        report = RegressionReport.model_validate(made.regression()).model_copy(update={"arrays": pack(ids, judged)})
        found = losses(bundle.manifest, vectors, report)
        before = reference_scores(bundle.manifest, vectors)
    assert found is not None and compiled.calls == 0
    for name, channels in made.CHANNELS.items():
        after = task(name).judge(channels).reduce_many(judged[name])
        sign = 1 if task(name).direction == "higher" else -1
        np.testing.assert_allclose(found[name][1:], sign * (before[name][1:] - after))
        assert np.isnan(found[name][0])


def test_a_judgement_of_other_images_says_nothing(bundle: Bundle) -> None:
    arrays = {name: np.zeros((1, *task(name).judge(n).shape)) for name, n in made.CHANNELS.items()}
    report = RegressionReport.model_validate(made.regression()).model_copy(update={"arrays": pack(("x",), arrays)})
    with Vectors(bundle.vectors) as vectors:
        assert losses(bundle.manifest, vectors, report) is None
        assert losses(bundle.manifest, vectors, RegressionReport.model_validate(made.regression())) is None
