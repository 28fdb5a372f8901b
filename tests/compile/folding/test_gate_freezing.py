"""Freezing gates: what is taken, what refuses, and by whose labels."""

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch

from bundle.formats.fold import FoldRecord
from bundle.formats.io_forms import FORMS
from bundle.judging.verdict import MINIMUM_IMAGES
from bundle.tasks.dataset import SPEC_FILE, FolderDataset, load_spec
from calibration.image_files import ImageFiles
from compile.folding.gate_freezing import Agreement, freeze_gates, read_labels
from compile.graphs.io_wrappers import MapModel, RawModel
from compile.graphs.pytorch.convert import values_of
from compile.stage.compare import Outputs, run_model
from compile.stage.config import FreezeOptions
from compile.stage.graph_info import Array
from tdss.model import MultiTaskModel
from tests.compile import made
from tests.compile.folding.exporting import export_simplified
from tests.compile.made import quiet

GATE = "adapter.stages.1.blocks.0.banks.mlp.gate"
TENSOR = f"{GATE}/Softmax"
LAX, STRICT = dict.fromkeys(made.TASKS, 10.0), dict.fromkeys(made.TASKS, 1e-9)
INFO = made.INFO["raw"]
IMAGE = torch.zeros(1, 3, made.SIDE, made.SIDE)


def graph_of(model: MultiTaskModel) -> ir.Model:
    """A model as the fold stage gets it."""
    return export_simplified(RawModel(model).eval(), IMAGE, names=("image",), outputs=tuple(made.TASKS))


@pytest.fixture(scope="module")
def graph() -> ir.Model:
    """The tiny model's graph."""
    return graph_of(made.model())


@pytest.fixture(scope="module")
def images(scenes: Path) -> ImageFiles:
    """Enough images for a verdict on every task: on some the model answers nothing salient."""
    return ImageFiles(paths=tuple(scenes / "image" / f"{name}.png" for name in made.EVALUATION[:18]))


def feeds_of(images: ImageFiles) -> list[Outputs]:
    """The images as the graph takes them."""
    return [INFO.feed(image) for _, image in images.read()]


def freeze(graph: ir.Model, images: ImageFiles, budgets: dict[str, float]) -> tuple[ir.Model, list[FoldRecord]]:
    """Freeze on images without labels."""
    return freeze_gates(graph, INFO, FreezeOptions(images=images, budgets=budgets), quiet, threads=1)


def constant_of(graph: ir.Model) -> Array:
    """What the gate was frozen to."""
    value = values_of(graph.graph)[f"{TENSOR}/constant"].const_value
    assert value is not None
    return value.numpy()


@pytest.mark.slow
def test_a_gate_is_frozen_to_its_mean(graph: ir.Model, images: ImageFiles) -> None:
    model, answers = made.model(), list[torch.Tensor]()
    handle = model.get_submodule(GATE).register_forward_hook(lambda m, i, output: answers.append(output[0]))
    with torch.no_grad():
        for feed in feeds_of(images):
            model(torch.tensor(feed["image"]))
    handle.remove()
    before = len(graph.graph)
    frozen, [line] = freeze(graph, images, LAX)
    np.testing.assert_allclose(constant_of(frozen)[0], torch.stack(answers).mean(0).numpy(), rtol=1e-5)
    assert (line.decision, line.exact, set(line.drops), line.module) == ("folded", False, set(made.TASKS), GATE)
    assert line.params_after < line.params_before
    assert TENSOR not in {value.name for node in frozen.graph for value in node.outputs}
    assert len(graph.graph) == before and TENSOR in {value.name for node in graph.graph for value in node.outputs}


def test_a_gate_over_its_budget_refuses_and_says_so(graph: ir.Model, images: ImageFiles) -> None:
    frozen, [line] = freeze(graph, images, STRICT)
    assert line.decision == "kept" and line.reason.startswith("refuses to freeze: alone it costs")
    assert TENSOR in {value.name for node in frozen.graph for value in node.outputs}


def test_on_too_few_images_nothing_is_frozen_and_their_number_is_said(graph: ir.Model, images: ImageFiles) -> None:
    frozen, [line] = freeze(graph, images.first(MINIMUM_IMAGES - 1), LAX)
    assert (
        line.decision == "kept"
        and line.drops == {}
        and "on too few labelled images (" in line.reason
        and "semseg 9" in line.reason
    )
    assert frozen is graph


@pytest.mark.slow
@pytest.mark.parametrize(("experts", "light"), [(4, 1), (64, 0)])
def test_light_skills_are_dropped_but_never_all(scenes: Path, experts: int, light: int) -> None:
    """Of 4 skills one weighs e⁻⁹ for every task. 64 alike weigh 1/64 each, below the bound: they do not leave as a whole."""
    adapter = made.CONFIG.adapter.model_copy(update={"experts": experts, "rank": 1})
    torch.manual_seed(0)
    model = MultiTaskModel(made.CONFIG.model_copy(update={"adapter": adapter})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    logits = model.get_submodule(GATE).logits
    assert isinstance(logits, torch.nn.Linear)
    logits.weight.data.mul_(1e-3)
    logits.bias.data.zero_()
    logits.bias.data.unflatten(0, (-1, experts))[:, :light] = -9
    labels = FolderDataset(root=scenes, spec=load_spec(scenes / SPEC_FILE))
    images = ImageFiles(paths=tuple(scenes / "image" / f"{name}.png" for name in made.EVALUATION))
    options = FreezeOptions(images=images, labels=labels, budgets=LAX)
    _, lines = freeze_gates(graph_of(model), INFO, options, quiet, threads=1)
    dropped = [line for line in lines if line.rule == "drop_skills"]
    assert len(dropped) == light and {line.form for line in lines} == {TENSOR}
    for line in dropped:
        assert line.keep == tuple(place for place in range(24) if place % 4)
        assert line.reason.startswith("6 of its 24 weights are below 0.02 for every reader")


def test_labels_are_used_where_every_image_has_them(scenes: Path) -> None:
    dataset = FolderDataset(root=scenes, spec=load_spec(scenes / SPEC_FILE))
    paths = [scenes / "image" / f"{name}.png" for name in made.EVALUATION[:2]]
    labels = read_labels(dataset, paths, made.TASKS)
    assert {task: len(found) for task, found in labels.items()} == dict.fromkeys(made.TASKS, 2)
    assert read_labels(dataset, [scenes / "image" / f"{made.CALIBRATION[0]}.png"], made.TASKS) == {}


@pytest.mark.slow
@pytest.mark.parametrize("io", ["raw", "edge"])
def test_a_model_does_not_drop_against_itself(images: ImageFiles, io: str) -> None:
    info, model = made.INFO[io], made.model()  # type: ignore[index]
    wrapped = RawModel(model) if io == "raw" else MapModel(model, info.preprocess, tuple(made.TASKS), FORMS["edge"])
    feeds = [info.feed(image) for _, image in images.first(3).read()]
    graph = export_simplified(
        wrapped.eval(), torch.tensor(feeds[0]["image"]), names=("image",), outputs=tuple(made.TASKS)
    )
    agreement = Agreement(graph, info, lambda one: run_model(one, feeds, threads=1), {}, {"depth": 0.5})
    assert agreement.drops(graph) == dict.fromkeys(made.TASKS, 0.0)


@pytest.mark.slow
def test_an_error_is_told_relative_to_the_references(images: ImageFiles) -> None:
    model, other = made.model(), made.model()
    with torch.no_grad():
        other.get_parameter("decoders.depth.head.classify.bias").add_(0.25)
        for each in (model, other):
            each.get_parameter("decoders.depth.head.classify.bias").add_(100)  # a depth of about 100 m, never 0
    feeds = feeds_of(images.first(3))
    agreement = Agreement(graph_of(model), INFO, lambda one: run_model(one, feeds, threads=1), {}, {"depth": 0.5})
    drops = agreement.drops(graph_of(other))
    assert drops["depth"] == pytest.approx(0.5, rel=1e-3)
    assert drops["semseg"] == 0.0
