"""IoU of each class: counted again from the pixels of the answers."""

from pathlib import Path

import numpy as np

from bundle.formats.manifest import load_bundle
from bundle.judging.run import run
from bundle.tasks.postprocess import predict
from bundle.tasks.table import task
from report.bundle_page.classes import class_views
from tests.bundle.made import HERE
from tests.report import made


def test_the_iou_of_each_class_is_that_of_its_pixels(tmp_path: Path) -> None:
    bundle = load_bundle(made.make(tmp_path / "b", None))
    report = run(bundle, made.Compiled(1.5), HERE, resamples=10)
    semseg, parts = class_views(bundle, report)
    assert (semseg.task, parts.task) == ("semseg", "human_parts")
    scenes = [made.scene(seed, 0.0) for seed in range(made.IMAGES)]
    labels = np.stack([one.labels["semseg"] for one in scenes])
    for column, noise in (("reference", None), ("compiled", 1.5)):
        answers = np.stack(
            [
                predict(
                    task("semseg"), made.scene(seed, 0.3 + 0.5 * seed if noise is None else noise).outputs["semseg"]
                )
                for seed in range(made.IMAGES)
            ]
        )
        for index, row in enumerate(semseg.rows):
            ours, truth = answers == index, labels == index
            assert row.name == made.CLASSES[index]
            assert getattr(row, column) == f"{(ours & truth).sum() / (ours | truth).sum():.4f}"


def test_without_the_arrays_of_the_bundles_images_there_is_no_table(tmp_path: Path) -> None:
    bundle = load_bundle(made.make(tmp_path / "b", None))
    report = run(bundle, made.Compiled(1.5), HERE, resamples=10)
    assert class_views(bundle, None) == class_views(bundle, report.model_copy(update={"arrays": None})) == ()
