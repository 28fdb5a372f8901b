"""The four verdicts: a small model is spoilt until each is given, and the numbers are computed a second time."""

from functools import cache

import numpy as np
import pytest
import torch

from compile.analysis import NEARLY, Finding, analyse
from compile.module_folds import run
from tdss.adapters.tdss import DynamicGate
from tdss.model import MultiTaskModel
from tests.compile import made
from tests.compile.folds.applied import zero

STATIC, GATE = "adapter.stages.0.blocks.0.banks.mlp.gate", "adapter.stages.1.blocks.0.banks.mlp.gate"
GAMMA = "adapter.stages.0.tsai.gate"
NORM = "backbone.stages.1.blocks.0.norm2"


def make_model(weight: float = 1.0) -> MultiTaskModel:
    """The tiny model with a dynamic γ, the weights of the dynamic gate and of γ scaled."""
    adapter = made.CONFIG.adapter.model_copy(update={"tsai": "dynamic"})
    torch.manual_seed(0)
    model = MultiTaskModel(made.CONFIG.model_copy(update={"adapter": adapter})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for name in (f"{GATE}.logits.weight", f"{GAMMA}.weight"):
            model.get_parameter(name).mul_(weight)
    return model


@cache
def images() -> tuple[torch.Tensor, ...]:
    """Three images of different brightness: what is pooled differs."""
    noise = torch.randn(3, 1, 3, made.SIDE, made.SIDE, generator=torch.Generator().manual_seed(1))
    return tuple(
        noise * scale + shift for noise, scale, shift in zip(noise, (0.2, 1.0, 2.0), (-1.0, 0.0, 2.0), strict=True)
    )


def judge(model: MultiTaskModel, seen: tuple[torch.Tensor, ...] = ()) -> dict[str, Finding]:
    return {finding.module: finding for finding in analyse(model, seen, lambda line: None)}


def test_what_never_sees_the_image_is_static_by_construction() -> None:
    model = make_model()
    found = judge(model, images())
    logits = model.get_parameter(f"{STATIC}.logits").detach().numpy().astype(np.float64)
    gate = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert found[STATIC].verdict == "static by construction" and found[STATIC].kind == "gate"
    assert found[STATIC].reason == f"learned per task; weights {gate.min():.3f} to {gate.max():.3f}"
    assert found[STATIC].spread == pytest.approx(0, abs=1e-3) and found[STATIC].mean == pytest.approx(gate.mean())
    norm = found["decoders.depth.head.norm"]
    assert (norm.kind, norm.verdict) == ("norm", "static by construction") and "constants" in norm.reason


@pytest.mark.parametrize(
    ("spoil", "module", "reason"),
    [
        (f"{GATE}.logits.weight", GATE, "its weights V are zero"),
        (f"{NORM}.weight", GATE, "its input path is dead: the norm before it has zero weights"),
        (f"{NORM}.weight", NORM, "its weights are zero: it answers its bias"),
        (f"{GAMMA}.weight", GAMMA, "its weights are zero"),
        ("decoders.edge.head.classify.weight", "decoders.edge.head.classify", "its weights are zero"),
    ],
)
def test_what_zeros_hide_the_image_from_is_static_by_value(spoil: str, module: str, reason: str) -> None:
    model = make_model()
    assert judge(model)[module].verdict == "dynamic"
    zero(model, spoil)
    for found in (judge(model)[module], judge(model, images())[module]):
        assert (found.verdict, found.reason) == ("static by value", reason)
    assert found.spread == pytest.approx(0, abs=1e-3) and found.effect is None


@pytest.mark.parametrize("module", [GATE, GAMMA])
def test_what_its_mean_replaces_is_nearly_static(module: str) -> None:
    found = judge(make_model(1e-2), images())[module]
    assert found.verdict == "nearly static" and found.effect is not None and found.effect <= NEARLY
    assert found.spread is not None and 0 < found.spread < 0.1
    assert found.reason.startswith("reads the pooled map of the image; its mean changes ")
    assert found.reason.split()[-2] in made.TASKS


@pytest.mark.parametrize("module", [GATE, GAMMA])
def test_what_the_outputs_miss_is_dynamic(module: str) -> None:
    found = judge(make_model(30.0), images())[module]
    assert found.verdict == "dynamic" and found.effect is not None and found.effect > NEARLY
    assert found.reason == "reads the pooled map of the image" and found.spread is not None and found.spread > 0.1


def test_the_effect_is_that_of_putting_the_mean_in_its_place() -> None:
    """The same by hand: a gate whose weights are 0 and whose bias gives the mean, image by image."""
    model = make_model(30.0)
    found = judge(model, images())[GATE]
    gate = model.get_submodule(GATE)
    assert isinstance(gate, DynamicGate)
    answers: list[torch.Tensor] = []
    handle = gate.register_forward_hook(lambda m, i, output: answers.append(output))
    before = [run(model, image) for image in images()]
    handle.remove()
    values = torch.cat(answers)
    centred = values - values.mean(0)
    assert found.spread == pytest.approx(float(centred.square().sum() / values.square().sum()) ** 0.5, rel=1e-4)
    assert found.mean == pytest.approx(float(values.mean()))
    with torch.no_grad():
        gate.logits.weight.zero_()
        gate.logits.bias.copy_(values.mean(0).log().flatten() * gate.config.temperature)
    after = [run(model, image) for image in images()]
    changes = []
    for task in made.TASKS:
        want, got = (torch.cat([one[task] for one in each]).double() for each in (before, after))
        changes.append(float((got - want).norm() / want.norm()))
    assert found.effect == pytest.approx(max(changes), rel=1e-3)


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_second_image_only_weights_are_judged(count: int) -> None:
    found = judge(make_model(), images()[:count])
    assert found[GATE].verdict == "dynamic" and found[STATIC].verdict == "static by construction"
    assert all(line.mean is None and line.spread is None and line.effect is None for line in found.values())
    assert {line.kind for line in found.values()} == {"adapter", "gate", "norm", "projection"}


def test_what_runs_more_than_once_for_an_image_is_told_so() -> None:
    found = judge(make_model(), images())
    up = found["adapter.stages.0.blocks.0.banks.mlp.up"]
    assert up.spread is None and up.reason.endswith("runs once per task, so its spread was not measured")
    unmeasured = {path for path, line in found.items() if line.spread is None}
    assert {path.rpartition(".")[2] for path in unmeasured} == {"up"}


def test_every_bank_says_what_it_holds() -> None:
    found = judge(make_model())
    assert found[STATIC.removesuffix(".gate")].reason == "2 skills of rank 2, static gate"
    assert found[GATE.removesuffix(".gate")].reason == "2 skills of rank 2, dynamic gate"
    assert found["adapter.stages.0.tsai"].reason == "bridges maps of the image"
