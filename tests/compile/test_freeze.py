"""Freezing gates: what is taken, what refuses, and by whose labels."""

from pathlib import Path

import pytest
import torch

from bundle.dataset import SPEC_FILE, FolderDataset, load_spec
from bundle.verdict import MINIMUM_IMAGES
from compile.folds.gates import ConstantGate
from compile.freeze import Agreement, freeze_gates, read_labels
from tdss.adapters.tdss import DynamicGate, StaticGate
from tdss.model import MultiTaskModel
from tests.compile import made
from tests.compile.made import quiet

GATE = "adapter.stages.1.blocks.0.banks.mlp.gate"
LAX, STRICT = dict.fromkeys(made.TASKS, 10.0), dict.fromkeys(made.TASKS, 1e-9)


@pytest.fixture(scope="module")
def images() -> list[torch.Tensor]:
    """Enough images for a verdict on every task: on some the model answers nothing salient."""
    return list(torch.randn(16, 1, 3, made.SIDE, made.SIDE, generator=torch.Generator().manual_seed(1)))


def test_a_gate_is_frozen_to_its_mean(images: list[torch.Tensor]) -> None:
    model = made.model()
    answers: list[torch.Tensor] = []
    handle = model.get_submodule(GATE).register_forward_hook(lambda m, i, output: answers.append(output[0]))
    with torch.no_grad():
        for image in images:
            model(image)
    handle.remove()
    frozen, [line] = freeze_gates(model, images, budgets=LAX, labels={}, scales={}, progress=quiet)
    gate = frozen.get_submodule(GATE)
    assert isinstance(gate, ConstantGate) and torch.allclose(gate.values, torch.stack(answers).mean(0))
    assert (line.decision, line.exact, set(line.drops)) == ("folded", False, set(made.TASKS))
    assert line.params_after < line.params_before
    assert not isinstance(model.get_submodule(GATE), ConstantGate)  # the model given is untouched


def test_a_gate_over_its_budget_refuses_and_says_so(images: list[torch.Tensor]) -> None:
    frozen, [line] = freeze_gates(made.model(), images, budgets=STRICT, labels={}, scales={}, progress=quiet)
    assert line.decision == "kept" and line.reason.startswith("refuses to freeze: alone it costs")
    assert not isinstance(frozen.get_submodule(GATE), ConstantGate)


def test_on_too_few_images_nothing_is_frozen_and_their_number_is_said(images: list[torch.Tensor]) -> None:
    few = images[: MINIMUM_IMAGES - 1]
    frozen, [line] = freeze_gates(made.model(), few, budgets=LAX, labels={}, scales={}, progress=quiet)
    assert (
        line.decision == "kept"
        and line.drops == {}
        and "on too few labelled images (" in line.reason
        and "semseg 9" in line.reason
    )
    assert not isinstance(frozen.get_submodule(GATE), ConstantGate)


def test_among_very_many_light_skills_none_is_tiny(images: list[torch.Tensor]) -> None:
    """64 skills weigh 1/64 each, below the bound of a tiny one: the bank does not leave as a whole."""
    adapter = made.CONFIG.adapter.model_copy(update={"experts": 64, "rank": 1})
    model = MultiTaskModel(made.CONFIG.model_copy(update={"adapter": adapter})).eval()
    for module in model.modules():
        if isinstance(module, StaticGate):
            module.logits.data.zero_()
        elif isinstance(module, DynamicGate):
            module.logits.bias.data.zero_()
    _, lines = freeze_gates(model, images, budgets=LAX, labels={}, scales={}, progress=quiet)
    assert [(line.rule, line.module) for line in lines] == [("freeze_gate", GATE)]


def test_labels_are_used_where_every_image_has_them(scenes: Path) -> None:
    dataset = FolderDataset(root=scenes, spec=load_spec(scenes / SPEC_FILE))
    paths = [scenes / "image" / f"{name}.png" for name in made.EVALUATION[:2]]
    labels = read_labels(dataset, paths, made.TASKS)
    assert {task: len(found) for task, found in labels.items()} == dict.fromkeys(made.TASKS, 2)
    assert read_labels(dataset, [scenes / "image" / f"{made.CALIBRATION[0]}.png"], made.TASKS) == {}


def test_a_model_does_not_drop_against_itself(images: list[torch.Tensor]) -> None:
    model = made.model()
    drops = Agreement(model, images, {}, {"depth": 0.5}).drops(model)
    assert drops == dict.fromkeys(made.TASKS, 0.0)


def test_an_error_is_told_relative_to_the_references(images: list[torch.Tensor]) -> None:
    model, other = made.model(), made.model()
    with torch.no_grad():
        other.get_parameter("decoders.depth.head.classify.bias").add_(0.25)
        for each in (model, other):
            each.get_parameter("decoders.depth.head.classify.bias").add_(100)  # a depth of about 100 m, never 0
    drops = Agreement(model, images, {}, {"depth": 0.5}).drops(other)
    assert drops["depth"] == pytest.approx(0.5, rel=1e-3)
    assert drops["semseg"] == 0.0
