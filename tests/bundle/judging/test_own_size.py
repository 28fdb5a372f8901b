"""Metrics at the images' own sizes: what a hand makes of them, the same from a bundle and from a folder, and said by name."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import DatasetError, InputError
from bundle.formats.contents import VECTORS
from bundle.formats.manifest import Bundle, load_bundle, write_manifest
from bundle.formats.vectors import Evaluated, Vectors, write_vectors
from bundle.judging.image_sources import labelled
from bundle.judging.regression_report import Device, Execution, RegressionReport, parse_report
from bundle.judging.run import run
from bundle.tasks.fit import fit_image, fit_label, judged
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import Array, SizePolicy
from bundle.tasks.table import task
from report.terminal import title
from tests.bundle import made
from tests.bundle.made_scenes import write_folder

SIZE = (made.HEIGHT, made.WIDTH)
SPEC = made.SPEC.model_copy(update={"schema_version": 3, "size_policy": "letterbox", "metrics_at": "image"})
EXECUTION = Execution(device=Device(name="cpu", isa=()), precision="f32", executed_on="device")
SIZES = [(24, 32), (40, 32), (13, 70), (48, 64)]


def enlarged(index: int) -> tuple[Array, dict[str, Array]]:
    """An image and its labels at a size of their own: rows and columns of the made ones, repeated or left out."""
    one = next(iter(list(made.evaluated(index + 1))[index:]))
    rows, columns = (np.arange(own) * side // own for own, side in zip(SIZES[index % len(SIZES)], SIZE, strict=True))
    return one.image[rows][:, columns], {name: label[rows][:, columns] for name, label in one.labels.items()}


EXAMPLES = {f"image-{index}": enlarged(index) for index in range(12)}


def fitted() -> Iterator[Evaluated]:
    for identifier, (image, own) in EXAMPLES.items():
        small = fit_image(image, SIZE, "letterbox", where="").astype(np.uint8)
        labels = {name: fit_label(task(name), one, SPEC, SIZE, "letterbox", where="") for name, one in own.items()}
        outputs = {name: raw[0] for name, raw in made.model(made.PREPROCESS.apply(small)).items()}
        yield Evaluated(id=identifier, image=small, labels=labels, outputs=outputs, own_labels=own)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "f32.onnx").write_bytes(b"no graph")
    (folder / "fold.json").write_text("[]\n")
    write_vectors(folder / VECTORS, fitted(), tasks=made.TASKS, spec=SPEC)
    write_manifest(folder, made.manifest(folder).model_copy(update={"dataset": SPEC}))
    return load_bundle(folder)


@pytest.mark.parametrize("policy", ["stretch", "as-published", "clipped", "letterbox", "pad"])
def test_a_prediction_that_is_right_at_the_models_size_is_right_at_the_images(policy: SizePolicy) -> None:
    """Each pixel of the image becomes several of the model's, so nothing is lost on the way back."""
    own = np.random.default_rng(0).integers(0, 4, (6, 8)).astype(np.uint8)
    spec = SPEC.model_copy(update={"size_policy": policy})
    row = task("semseg")
    there = fit_label(row, own, spec, (24, 40), policy, where="")
    back, label = judged(row, there, own, spec)
    np.testing.assert_array_equal(label, own)
    np.testing.assert_array_equal(back, own)


def test_what_a_crop_leaves_out_does_not_count() -> None:
    own = np.arange(48, dtype=np.uint8).reshape(4, 12) % 4
    spec = SPEC.model_copy(update={"size_policy": "crop"})
    there = fit_label(task("semseg"), own, spec, (8, 8), "crop", where="")
    back, label = judged(task("semseg"), there, own, spec)
    np.testing.assert_array_equal(label, own[:, 4:8])
    np.testing.assert_array_equal(back, own[:, 4:8])


def test_numbers_are_interpolated_as_pillow_does_and_directions_have_length_1() -> None:
    random = np.random.default_rng(0)
    metres = random.uniform(1, 5, (6, 8)).astype(np.float32)
    spec = SPEC.model_copy(update={"size_policy": "stretch"})
    back, _ = judged(task("depth"), metres, np.zeros((15, 20), np.uint16), spec)
    pillow = np.asarray(Image.fromarray(metres).resize((20, 15), Image.Resampling.BILINEAR))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, pillow, rtol=1e-5)
    vectors = random.normal(size=(3, 6, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=0)).astype(np.float32)
    back, label = judged(task("normals"), vectors, np.zeros((15, 20, 3), np.uint8), spec)
    assert back.shape == label.shape == (3, 15, 20)
    np.testing.assert_allclose(np.linalg.norm(back, axis=0), 1, rtol=1e-5)


def test_labels_of_every_size_come_back_and_the_references_arrays_are_at_it(bundle: Bundle) -> None:
    with Vectors(bundle.vectors) as vectors:
        depth = vectors.metric("depth")
        for index, (stored, given) in enumerate(zip(vectors.images(), fitted(), strict=True)):
            assert stored.image.shape[:2] == SIZE
            for name, own in EXAMPLES[stored.id][1].items():
                np.testing.assert_array_equal(stored.own_labels[name], own, strict=True)
                np.testing.assert_array_equal(stored.labels[name], given.labels[name], strict=True)
            if SIZES[index % len(SIZES)] == (48, 64):  # twice the model's size: Pillow enlarges the prediction
                metres = predict(task("depth"), given.outputs["depth"])
                enlarged_ = np.asarray(Image.fromarray(metres).resize((64, 48), Image.Resampling.BILINEAR))
                label = EXAMPLES[stored.id][1]["depth"] * SPEC.depth_unit_m
                squares = ((enlarged_.astype(np.float64) - label)[label > 0] ** 2).sum()
                assert depth[index][0] == pytest.approx(squares, rel=1e-4) or depth[index][1] == pytest.approx(
                    squares, rel=1e-4
                )


def test_the_report_names_the_size_and_a_folder_gives_the_same_figures(bundle: Bundle, tmp_path: Path) -> None:
    report = run(bundle, made.session("raw"), EXECUTION)
    assert report.passed and report.metrics_at == "image"
    written = json.loads(report.text())
    assert (written["schema"], written["metrics_at"]) == (4, "image")
    assert parse_report(report.text().encode(), tmp_path).metrics_at == "image"
    assert title(report).endswith("12 images, metrics at the size of each")
    root = write_folder(tmp_path / "rooms", {"val": tuple(EXAMPLES)}, EXAMPLES, SPEC).root
    again = run(bundle, made.session("raw"), EXECUTION, source=labelled(bundle.manifest, root, "val", None))
    assert {name: row.compiled for name, row in again.tasks.items()} == {
        name: row.compiled for name, row in report.tasks.items()
    }


def test_at_the_models_size_the_report_is_as_it_was(tmp_path: Path) -> None:
    report = run(made.make_bundle(tmp_path / "bundle"), made.session("raw"), EXECUTION)
    assert "metrics_at" not in json.loads(report.text()) and json.loads(report.text())["schema"] == 3
    with pytest.raises(ValueError, match="key of schema 4"):
        RegressionReport.model_validate(report.model_dump() | {"metrics_at": "image"})


def test_an_earlier_run_or_a_folder_at_another_size_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    report = run(bundle, made.session("raw"), EXECUTION)
    other = report.model_copy(update={"schema_version": 3, "metrics_at": "model"})
    with pytest.raises(InputError, match="measured at another size"):
        run(bundle, made.session("raw"), EXECUTION, baseline=other)
    spec = SPEC.model_copy(update={"metrics_at": "model"})
    root = write_folder(tmp_path / "rooms", {"val": tuple(EXAMPLES)}, EXAMPLES, spec).root
    with pytest.raises(DatasetError, match="mean something else") as caught:
        labelled(bundle.manifest, root, "val", None)
    assert "metrics_at" in caught.value.expected


@pytest.mark.parametrize("sizes", [np.ones((3, 2), np.int64), np.zeros((12, 2), np.int64), np.full((12, 2), 1 << 40)])
def test_wrong_sizes_of_stored_labels_are_refused(bundle: Bundle, sizes: Array) -> None:
    from bundle.base.errors import ArtifactError

    path = bundle.folder / VECTORS
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **(arrays | {"own_sizes": sizes}))
    with pytest.raises(ArtifactError, match="cannot be read"), Vectors(path) as vectors:
        list(vectors.images())


def test_a_spec_of_version_2_has_no_such_key() -> None:
    with pytest.raises(ValueError, match="metrics_at is a key of schema_version 3"):
        type(SPEC).model_validate(SPEC.model_dump() | {"schema_version": 2})
