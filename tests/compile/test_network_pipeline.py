"""A network of another origin from its file to a judged bundle, with labels and without."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import ConfigError, DatasetError, InputError
from bundle.formats.contents import VECTORS
from bundle.formats.manifest import load_bundle
from bundle.formats.vectors import Vectors
from bundle.judging.regression_report import read_report
from bundle.tasks.spec import DatasetSpec
from compile.evaluation.build_context import prepare_build
from compile.pipeline import build_and_judge
from compile.stage.config import BuildConfig, TimingConfig, load_config
from compile.stage_runs import run_vectors
from tests.bundle.made_scenes import write_folder
from tests.compile.made import quiet
from tests.compile.networks import foreign
from tests.contract.flows import EXECUTED_ON, QUANTIZING

COLOURS = ((0, 0, 0), (200, 0, 0), (0, 200, 0), (0, 0, 200))
SPEC = DatasetSpec(
    name="blocks", classes={"semseg": ("a", "b", "c", "d")}, palettes={"semseg": COLOURS}, attribution="made here"
)
CALIBRATION, EVALUATION = tuple(f"c{index}" for index in range(6)), tuple(f"v{index}" for index in range(14))


def image(seed: int) -> np.ndarray:
    """A smooth image."""
    few = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8))
    return np.asarray(few.resize((foreign.SIDE, foreign.SIDE), Image.Resampling.BICUBIC))


def scenes(root: Path, *, labelled: bool) -> Path:
    """A folder of images, with labels of what is brightest and how far it is, or without labels and spec."""
    ids = (*CALIBRATION, *EVALUATION)
    images = {name: image(seed) for seed, name in enumerate(ids)}
    labels = {
        name: {
            "semseg": pixels.argmax(-1).astype(np.uint8),
            "depth": (500 + 10 * pixels[..., 0].astype(np.uint16)).astype(np.uint16),
        }
        for name, pixels in images.items()
        if labelled
    }
    examples = {name: (pixels, labels.get(name, {})) for name, pixels in images.items()}
    made = write_folder(root, {"calibration": CALIBRATION, "val": EVALUATION}, examples, SPEC).root
    if not labelled:
        (made / "dataset.json").unlink()
    return made


def config(target: str, folder: Path, data: Path, **changes: object) -> BuildConfig:
    """A build of the U-Net."""
    network, tasks = foreign.unet(folder)
    return BuildConfig(
        target=target,
        network=network,
        tasks=tasks,
        size=(foreign.SIDE, foreign.SIDE),
        data=data,
        out=folder / "out",
        threads=1,
        timing=TimingConfig(runs=2, warmup=1),
    ).model_copy(update=changes)


@pytest.mark.slow
@pytest.mark.parametrize("target", [name for name in QUANTIZING if name in ("intel", "jetson")])
def test_a_network_without_labels_is_judged_by_agreement(target: str, tmp_path: Path) -> None:
    folder, report = build_and_judge(config(target, tmp_path, scenes(tmp_path / "data", labelled=False)), quiet)
    bundle = load_bundle(folder)
    assert bundle.manifest.agreement == ("semseg", "depth") == tuple(report.tasks)
    assert "onnxruntime" in bundle.manifest.reference.framework and report.executed_on == EXECUTED_ON[target]
    for name, result in report.tasks.items():
        assert result.metric == "agreement" and result.reference == 1 and 0.8 < (result.compiled or 0) <= 1, name
        assert result.budget == 0.05 and result.labelled_images == len(EVALUATION)
        assert result.drop_relative == pytest.approx(1 - (result.compiled or 0), abs=1e-9)
    assert report.passed and read_report(folder) == report.model_copy(update={"bundle": bundle.sha256})
    with Vectors(bundle.read(VECTORS)) as vectors:
        assert vectors.unlabelled == ("semseg", "depth") and not next(vectors.images()).labels
    assert ">agreement<" in (folder / "report.html").read_text()


@pytest.mark.slow
def test_a_network_with_labels_is_judged_against_them_unless_it_knows_nothing_of_them(tmp_path: Path) -> None:
    lines = list[str]()
    asked = config("intel", tmp_path, scenes(tmp_path / "data", labelled=True), budgets={"depth": 0.5, "semseg": 0.5})
    folder, report = build_and_judge(asked, lines.append)
    assert report.tasks["depth"].metric == "rmse_m" and report.tasks["semseg"].metric in ("miou", "agreement")
    manifest = load_bundle(folder).manifest
    assert manifest.agreement == tuple(name for name, one in report.tasks.items() if one.metric == "agreement")
    assert manifest.budgets == {"semseg": 0.5, "depth": 0.5}
    again, second = list[str](), build_and_judge
    assert second(asked, again.append)[1] == report and any("bundle: unchanged" in line for line in again)


def test_vectors_of_another_size_are_not_taken_from_the_store(tmp_path: Path) -> None:
    data = scenes(tmp_path / "data", labelled=False)
    spec = SPEC.model_copy(update={"schema_version": 2, "size_policy": "letterbox", "classes": {}, "palettes": {}})
    (data / "dataset.json").write_text(spec.model_dump_json())
    asked = config("intel", tmp_path, data)
    for size in ((64, 64), (32, 48)):
        made = run_vectors(prepare_build(asked.model_copy(update={"size": size}), quiet))
        with Vectors(made.file(VECTORS)) as vectors:
            assert {stored.image.shape[:2] for stored in vectors.images()} == {size}


def refused(asked: BuildConfig, error: type[InputError], says: str) -> None:
    """Expect an error before anything is written."""
    with pytest.raises(error) as found:
        prepare_build(asked, quiet)
    assert says in f"{found.value.message} {found.value.got}"
    assert not asked.out.exists()


def test_bad_data_is_refused_before_the_first_stage(tmp_path: Path) -> None:
    data = scenes(tmp_path / "data", labelled=True)
    asked = config("intel", tmp_path, data)
    (data / "depth" / "v3.png").unlink()
    refused(asked, DatasetError, "the depth label is missing")
    (data / "val.txt").unlink()
    refused(asked, DatasetError, "no split 'val'")
    refused(asked.model_copy(update={"size": (32, 32)}), DatasetError, "another size than the network takes")
    (data / "calibration.txt").unlink()
    refused(asked, DatasetError, "no split 'calibration'")


def test_a_plain_folder_of_images_is_told_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    for seed in range(3):
        Image.fromarray(image(seed)).save(tmp_path / "plain" / f"{seed}.png")
    refused(config("intel", tmp_path, tmp_path / "plain"), DatasetError, "no labelled folder")


def test_classes_that_the_data_has_not(tmp_path: Path) -> None:
    data = scenes(tmp_path / "data", labelled=True)
    (data / "dataset.json").write_text(
        SPEC.model_copy(
            update={"classes": {"semseg": ("a", "b")}, "palettes": {"semseg": COLOURS[:2]}}
        ).model_dump_json()
    )
    refused(config("intel", tmp_path, data), DatasetError, "disagree on semseg")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"network": "net.onnx"}, "needs tasks"),
        ({"tasks": "tasks.toml"}, "no network"),
        ({"network": "n.onnx", "tasks": "t.toml", "checkpoint": "c"}, "both are given"),
        ({"network": "n.onnx", "tasks": "t.toml", "freeze_gates": True}, "freeze_gates"),
    ],
)
def test_a_build_has_one_subject(values: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        load_config(None, {"target": "intel", **values})
    assert says in refusal.value.got
    assert load_config(None, {"target": "intel", "network": "n", "tasks": "t.toml"}).tasks == Path("t.toml")
