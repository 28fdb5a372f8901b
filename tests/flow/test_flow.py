"""A kind that is not shipped, optical flow, goes through everything: one row of the task table is all that it takes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from bundle.base.errors import DatasetError
from bundle.formats.io_forms import FORMS
from bundle.formats.manifest import Bundle, load_bundle
from bundle.formats.vectors import Vectors
from bundle.judging.regression_report import read_report
from bundle.tasks import table
from bundle.tasks.dataset import FolderDataset, load_spec
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import DatasetSpec
from bundle.tasks.table import Task, task
from cli.train import main
from compile.graphs.io_wrappers import Postprocessing
from compile.pipeline import build_bundle
from compile.stage.command import run_script
from compile.stage.config import BuildConfig, TimingConfig
from tdss.checkpoint import load
from tdss.kinds.tensor_kind import tensors
from tdss.training.data import open_dataset
from tests.bundle import made_scenes
from tests.compile import made
from tests.exits import exit_code
from tests.flow.kind import STEP, ZERO, Flow
from tests.tdss.training import tiny

TASKS = {"semseg": 3, "flow": 2}
SPEC = DatasetSpec(
    name="moving",
    classes={"semseg": ("wall", "floor", "person")},
    palettes={"semseg": ((9, 9, 9), (0, 255, 0), (255, 0, 0))},
    attribution="made by a test",
)


@pytest.fixture(autouse=True, scope="module")
def row() -> Iterator[Task]:
    """The one line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "TASKS", (*table.TASKS, Task(name="flow", kind=Flow(), budget=0.01)))
        yield task("flow")


def motion(image: np.ndarray) -> np.ndarray:
    """The encoded label of an image: it moves by its red and its green; the first row is invalid."""
    encoded = np.full_like(image, 255)
    encoded[..., :2] = ZERO + (image[..., :2].astype(int) - 128) // 4
    encoded[0, :, 2] = 0
    return encoded


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled folder with the splits ``train``, ``calibration`` and ``val``."""
    names = {"train": made.EVALUATION[:6], "calibration": made.CALIBRATION, "val": made.EVALUATION}
    ids = dict.fromkeys(name for split in names.values() for name in split)
    images = {name: made.image(seed) for seed, name in enumerate(ids)}
    examples = {
        name: (image, {"semseg": made.labels(seed)["semseg"], "flow": motion(image)})
        for seed, (name, image) in enumerate(images.items())
    }
    return made_scenes.write_folder(tmp_path_factory.mktemp("flow") / "set", names, examples, SPEC).root


@pytest.fixture(scope="module")
def checkpoint(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, trained for a few steps."""
    folder = tmp_path_factory.mktemp("training")
    keys = tiny.settings(scenes, folder, tasks=TASKS) | {"steps": 40}
    words = ["--accelerator", "cpu", "--config", str(tiny.write_config(folder / "flow.toml", keys))]
    assert exit_code(run_script, main, words) == 0
    return folder / "tiny" / "checkpoint"


@pytest.fixture(scope="module")
def bundle(scenes: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Exported, folded, quantized, built and judged for Intel, with the prediction inside the graph."""
    asked = BuildConfig(
        target="intel",
        checkpoint=checkpoint,
        data=scenes,
        out=tmp_path_factory.mktemp("out"),
        io="edge",
        threads=1,
        budgets=dict.fromkeys(TASKS, 10.0),
        timing=TimingConfig(runs=2, warmup=1),
    )
    return load_bundle(build_bundle(asked, made.quiet))


def test_a_label_is_decoded_from_its_file(scenes: Path) -> None:
    dataset = FolderDataset(root=scenes, spec=load_spec(scenes / "dataset.json"))
    label, image = dataset.label("flow", "v0"), dataset.image("v0").astype(int)
    assert label.shape == (2, made.SIDE, made.SIDE) and np.isnan(label[:, 0]).all()
    np.testing.assert_array_equal(label[:, 1:], ((image[1:, :, :2] - 128) // 4 / STEP).transpose(2, 0, 1))


def test_the_graph_predicts_what_numpy_does(row: Task) -> None:
    raw = np.random.default_rng(0).normal(scale=9, size=(2, 5, 6)).astype(np.float32)
    inside = Postprocessing(row.kind, FORMS["edge"])(torch.from_numpy(raw[None])).numpy()[0]
    np.testing.assert_array_equal(inside, predict(row, raw), strict=True)


def test_a_stored_prediction_comes_back(row: Task) -> None:
    flow = np.random.default_rng(1).normal(scale=9, size=(2, 5, 6)).astype(np.float32)
    back = row.kind.expand(row.kind.compact(flow))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, flow, rtol=2.0**-11)


def test_the_error_and_the_change_are_distances_of_end_points(row: Task) -> None:
    truth, flow = np.zeros((2, 1, 3), np.float32), np.array([[[3, 0, 7]], [[4, 0, 7]]], np.float32)
    truth[:, 0, 2] = np.nan
    metric = row.judge(2)
    assert metric.reduce(metric.per_image(flow, truth)) == 2.5
    assert row.kind.change(flow, np.zeros_like(flow)).tolist() == [[5.0, 0.0, pytest.approx(7 * 2**0.5)]]
    assert row.kind.agreement(flow, flow) == 1.0 and row.kind.agreement(flow, -flow) == 0.0


def test_a_flip_negates_x_and_a_zoom_enlarges(row: Task) -> None:
    flow = torch.stack([torch.full((8, 8), 3.0), torch.full((8, 8), 5.0)])[None].repeat(2, 1, 1, 1)
    seen = tensors(row.kind).view(flow, [[0, 0, 8, 8], [0, 0, 4, 2]], [True, False])
    assert seen[0, :, 0, 0].tolist() == [-3.0, 5.0] and seen[1, :, 0, 0].tolist() == [12.0, 10.0]


def test_the_loss_is_the_end_point_error_of_valid_pixels(row: Task) -> None:
    raw = torch.tensor([[[[3.0, 9.0]], [[4.0, 9.0]]]], requires_grad=True)
    label = torch.tensor([[[[0.0, torch.nan]], [[0.0, torch.nan]]]])
    loss = tensors(row.kind).loss(raw, label, None)
    loss.backward()
    assert loss.item() == pytest.approx(5.0) and raw.grad is not None
    assert raw.grad[0, :, 0].tolist() == [[pytest.approx(0.6), 0.0], [pytest.approx(0.8), 0.0]]


def test_a_drawing_shows_direction_and_what_is_invalid(row: Task) -> None:
    flow = np.array([[[2, -2, np.nan]], [[0, 0, np.nan]]], np.float32)
    assert row.kind.draw(flow, row.kind.inks((), flow)).tolist() == [[[255, 128, 128], [0, 128, 128], [0, 0, 0]]]
    with pytest.raises(DatasetError, match="no map of the kind Flow"):
        row.kind.draw(flow[0], row.kind.inks((), flow))


@pytest.mark.slow
def test_training_learns_it(checkpoint: Path, scenes: Path) -> None:
    dataset = open_dataset(scenes, scenes / "dataset.json")
    _, model = load(checkpoint)
    motions = np.stack([dataset.label("flow", name) for name in dataset.ids("val")])
    still = np.nanmean(np.hypot(motions[:, 0], motions[:, 1]))
    assert error(model, dataset) < 0.9 * still


def error(model: torch.nn.Module, dataset: FolderDataset) -> float:
    """The end-point error of eager PyTorch, over all valid pixels at once."""
    names = dataset.ids("val")
    preprocess = made.INFO["raw"].preprocess
    with torch.no_grad():
        raw = [model.eval()(torch.from_numpy(preprocess.apply(dataset.image(name))))["flow"][0] for name in names]
    difference = torch.stack(raw).numpy().astype(np.float64) - np.stack([dataset.label("flow", n) for n in names])
    return float(np.nanmean(np.sqrt((difference**2).sum(axis=1))))


@pytest.mark.slow
def test_it_is_compiled_judged_and_reported(bundle: Bundle, checkpoint: Path, scenes: Path) -> None:
    manifest, report = bundle.manifest, read_report(bundle.folder)
    assert [(one.name, one.dtype, one.shape) for one in manifest.outputs][1] == ("flow", "float32", (1, 2, 32, 32))
    assert {variant.name for variant in manifest.variants} >= {"f32", "int8"}
    result, check = report.tasks["flow"], report.checks["flow"]
    assert (result.metric, result.direction) == ("end_point_error_px", "lower")
    expected = error(load(checkpoint)[1], open_dataset(scenes, scenes / "dataset.json"))
    assert result.reference == pytest.approx(expected, rel=1e-5)
    assert result.compiled == pytest.approx(expected, rel=0.2) and result.verdict == "pass"
    assert check.change_unit == "pixels" and check.agreement is not None and check.agreement > 0.8
    with Vectors(bundle.vectors) as vectors:
        stored = next(vectors.images())
    assert stored.predictions["flow"].shape == (2, 8, 8) and stored.shown("flow").shape == (2, 32, 32)


@pytest.mark.slow
def test_the_page_names_its_metric_and_draws_it(bundle: Bundle) -> None:
    page = (bundle.folder / "report.html").read_text()
    assert "end-point error" in page and " px mean change" in page
    assert "Flow: red to the right, green down, black is not labelled." in page
