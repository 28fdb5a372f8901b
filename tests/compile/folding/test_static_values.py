"""What is said of a graph's gates: the numbers are computed a second time, on the eager model."""

from functools import cache

import pytest
import torch

from compile.folding.static_values import NEARLY, Finding, analyse
from tdss.adapters.tdss import DynamicGate
from tdss.model import MultiTaskModel
from tests.compile import made
from tests.compile.folding.applied import zero
from tests.compile.folding.proven import graph_of
from tests.compile.made import quiet

pytestmark = pytest.mark.slow

GATE, GAMMA = "adapter.stages.1.blocks.0.banks.mlp.gate", "adapter.stages.0.tsai.gate"
GAMMAS = (GAMMA, "adapter.stages.1.tsai.gate")


def make_model(weight: float = 1.0) -> MultiTaskModel:
    """The tiny model with a dynamic γ, the weights of the dynamic gate and of γ scaled."""
    adapter = made.CONFIG.adapter.model_copy(update={"tsai": "dynamic"})
    torch.manual_seed(0)
    model = MultiTaskModel(made.CONFIG.model_copy(update={"adapter": adapter})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for name in (f"{GATE}.logits.weight", *(f"{gamma}.weight" for gamma in GAMMAS)):
            model.get_parameter(name).mul_(weight)
    return model


@cache
def images() -> tuple[torch.Tensor, ...]:
    """Three images of different brightness: what is pooled differs."""
    noise = torch.randn(3, 1, 3, made.SIDE, made.SIDE, generator=torch.Generator().manual_seed(1))
    return tuple(
        noise * scale + shift for noise, scale, shift in zip(noise, (0.2, 1.0, 2.0), (-1.0, 0.0, 2.0), strict=True)
    )


def judge(model: MultiTaskModel, count: int = 3) -> dict[str, Finding]:
    """Analyse the model's graph; the findings by module."""
    graph = graph_of(model)
    feeds = [{"image": image.numpy()} for image in images()[:count]]
    return {finding.module: finding for finding in analyse(graph, feeds, quiet, threads=1)}


@pytest.mark.parametrize(("weight", "verdict"), [(1e-2, "nearly static"), (30.0, "dynamic")])
def test_the_verdict_follows_from_what_the_mean_changes(weight: float, verdict: str) -> None:
    found = judge(make_model(weight))
    assert found.keys() == {GATE, *GAMMAS}  # the static gate is a constant
    for one in (found[GATE], found[GAMMA]):
        assert one.verdict == verdict and (one.effect <= NEARLY) == (verdict == "nearly static")
        assert (0 < one.spread < 0.1) == (verdict == "nearly static")
        assert one.reason == f"its mean changes {one.output} most" and one.output in made.TASKS


@pytest.mark.parametrize("spoil", [f"{GATE}.logits.weight", "backbone.stages.1.blocks.0.norm2.weight"])
def test_a_gate_that_cannot_see_the_image_is_none(spoil: str) -> None:
    model = make_model()
    zero(model, spoil)
    assert judge(model).keys() == set(GAMMAS)


def test_the_effect_is_that_of_putting_the_mean_in_its_place() -> None:
    """The same by hand: a gate whose weights are 0 and whose bias gives the mean, image by image."""
    model = make_model(30.0)
    found = judge(model)[GATE]
    gate = model.get_submodule(GATE)
    assert isinstance(gate, DynamicGate)
    answers: list[torch.Tensor] = []
    handle = gate.register_forward_hook(lambda m, i, output: answers.append(output))
    with torch.no_grad():
        before = [model(image) for image in images()]
    handle.remove()
    values = torch.cat(answers)
    centred = values - values.mean(0)
    assert found.spread == pytest.approx(float(centred.square().sum() / values.square().sum()) ** 0.5, rel=1e-4)
    assert found.mean == pytest.approx(float(values.mean()))
    with torch.no_grad():
        gate.logits.weight.zero_()
        gate.logits.bias.copy_(values.mean(0).log().flatten() * gate.config.temperature)
        after = [model(image) for image in images()]
    changes = {}
    for task in made.TASKS:
        want, got = (torch.cat([one[task] for one in each]).double() for each in (before, after))
        changes[task] = float((got - want).norm() / want.norm())
    assert found.effect == pytest.approx(max(changes.values()), rel=1e-3)
    assert changes[found.output] == max(changes.values())


@pytest.mark.parametrize("count", [0, 1])
def test_without_a_second_image_nothing_is_said(count: int) -> None:
    assert judge(make_model(), count) == {}
