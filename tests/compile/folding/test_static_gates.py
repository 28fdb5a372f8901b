"""Gates are found by what a graph computes, whoever made it; a constant in their place does what the equation says."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from torch import Tensor, nn

from compile.folding.record import scope_of
from compile.folding.static_gates import find_gates, freeze, mask, measure_gates
from compile.graphs.cost import graph_cost
from compile.graphs.pytorch.evaluate import evaluate
from compile.stage.compare import run_model
from tdss.adapters.config import TdssConfig
from tdss.config import ModelConfig
from tests.compile.folding.applied import few
from tests.compile.folding.exporting import export_simplified
from tests.compile.folding.models import configs, make_config, make_model
from tests.compile.folding.proven import cost_of, feed_of, fold_exactly, graph_of, names_of

pytestmark = pytest.mark.slow

BASE = TdssConfig(experts=4, rank=2, gates=(("static", "dynamic"), ("dynamic",)), tsai="dynamic", activation="relu")
BANK = "adapter.stages.0.blocks.1.banks.mlp"
GATE = f"{BANK}.gate/Softmax"
OURS = [
    "adapter.stages.0.blocks.1.banks.mlp.gate",
    "adapter.stages.0.tsai.gate",
    "adapter.stages.1.blocks.0.banks.mlp.gate",
    "adapter.stages.1.tsai.gate",
]
TASKS = ("semseg", "depth")


class SqueezeExcite(nn.Module):
    """x · sigmoid(W₂ relu(W₁ mean(x))) between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 2, 1)
        self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map an image to two channels."""
        u = self.before(x).relu()
        answer: Tensor = self.after(u * self.up(self.down(u.mean((2, 3), keepdim=True)).relu()).sigmoid())
        return answer


class Modulated(nn.Module):
    """γ(c) · LN(x) + β(c), γ a linear map of a pooled condition: no activation makes the gate."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.gamma, self.beta = nn.LayerNorm(6), nn.Linear(4, 6), nn.Linear(4, 6)
        self.up = nn.Linear(6, 3)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Map tokens under a condition."""
        c = condition.mean(1, keepdim=True)
        answer: Tensor = self.up(self.gamma(c) * self.norm(x) + self.beta(c))
        return answer


def squeezed() -> ir.Model:
    """A squeeze-and-excite that is not TDSS's."""
    torch.manual_seed(0)
    return export_simplified(SqueezeExcite(), torch.zeros(1, 3, 8, 8))


def ours() -> ir.Model:
    """A small TDSS with dynamic gates and γ."""
    return graph_of(make_model(make_config(BASE, tasks=TASKS)))


def test_our_gates_are_found_by_their_scope() -> None:
    assert [gate.module for gate in find_gates(ours())] == OURS


def test_anybodys_gates_are_found() -> None:
    [gate] = find_gates(squeezed())
    assert gate.tensor.endswith("Sigmoid") and [uses.tolist() for uses in gate.uses] == [[list(range(8))]]
    film = export_simplified(Modulated(), torch.zeros(1, 5, 6), torch.zeros(1, 7, 4), names=("x", "condition"))
    [gate] = find_gates(film)
    assert gate.module == "gamma"


def test_a_graph_without_gates_has_none() -> None:
    static = BASE.model_copy(update={"gates": (("static",), ("static",)), "tsai": "static"})
    assert find_gates(graph_of(make_model(make_config(static, tasks=TASKS)))) == []


def test_what_is_measured_is_what_the_graph_computes() -> None:
    graph, feeds = squeezed(), [feed_of(squeezed(), seed) for seed in range(4)]
    [gate] = find_gates(graph)
    found = measure_gates(graph, [gate], feeds, threads=1)[gate.tensor]
    values = np.stack([evaluate(graph, feed, [gate.tensor])[gate.tensor].astype(np.float64) for feed in feeds])
    np.testing.assert_allclose(found.mean, values.mean(0), rtol=1e-5)
    spread = np.square(values - values.mean(0)).sum() / np.square(values).sum()
    assert found.spread == pytest.approx(spread**0.5, rel=1e-4)
    assert len(graph.graph.outputs) == 1  # the graph given is left as it is


def test_a_frozen_gate_costs_what_a_static_one_does() -> None:
    graph = ours()
    frozen = freeze(graph, {GATE: np.full((1, 2, 4), 0.25)})
    assert GATE not in {value.name for node in frozen.graph for value in node.outputs}
    assert [gate.module for gate in find_gates(frozen)] == [name for name in OURS if name != scope_of(GATE)]
    folded = fold_exactly(frozen)
    assert f"{BANK}.gate" not in names_of(folded, "Softmax")
    static = BASE.model_copy(update={"gates": (("static", "static"), ("dynamic",))})
    assert graph_cost(folded).macs == cost_of(graph_of(make_model(make_config(static, tasks=TASKS)))).macs


@few(3)
@given(configs)
def test_frozen_to_what_it_answers_for_an_image_a_model_answers_the_same_for_it(config: ModelConfig) -> None:
    dynamic = config.adapter.model_copy(update={"tsai": "dynamic"})
    graph = graph_of(make_model(config.model_copy(update={"adapter": dynamic})))
    feed, gates = feed_of(graph), [gate.tensor for gate in find_gates(graph)]
    frozen = freeze(graph, evaluate(graph, feed, gates))
    want, got = evaluate(graph, feed), evaluate(frozen, feed)
    assert all(np.abs(got[name] - want[name]).max() <= 1e-5 * np.abs(want[name]).max() for name in want)
    assert find_gates(frozen) == []
    fold_exactly(frozen)


@pytest.mark.parametrize("freezes", [False, True])
def test_dropped_skills_are_not_computed(freezes: bool) -> None:
    """Of four skills two are left; in float64 the answer is that of a graph whose gate is multiplied by 0 and 1."""
    graph, kept = ours(), np.array([0, 3, 4, 7])
    dropped = mask(graph, GATE, kept)
    if freezes:
        dropped = freeze(dropped, {GATE: np.full((1, 2, 4), 0.25)})
    folded = fold_exactly(dropped)
    assert not [node for node in folded.graph if "/masked" in str(node.outputs[0].name)]
    assert (hidden(graph), hidden(folded)) == (4 * BASE.rank, 2 * BASE.rank)


def hidden(graph: ir.Model) -> int:
    """How many hidden units the skills of the bank have."""
    [relu] = [node for node in graph.graph if node.op_type == "Relu" and BANK in str(node.outputs[0].name)]
    return int(str((relu.outputs[0].shape or ())[-1]))


def test_a_masked_gate_is_the_gate_times_the_mask() -> None:
    graph = ours()
    masked = mask(graph, GATE, np.array([0, 3, 4, 7]))
    feed = feed_of(graph)
    ones = np.array([1, 0, 0, 1, 1, 0, 0, 1]).reshape(1, 2, 4)
    want = evaluate(graph, feed, [GATE])[GATE] * ones
    np.testing.assert_array_equal(evaluate(masked, feed, [f"{GATE}/masked"])[f"{GATE}/masked"], want)
    other = run_model(graph, [feed], threads=1)[0]
    assert any(not np.array_equal(run_model(masked, [feed], threads=1)[0][name], other[name]) for name in other)


def test_an_element_is_heavy_if_any_reader_of_its_channel_gives_it_weight() -> None:
    [gate] = [gate for gate in find_gates(ours()) if gate.tensor == GATE]
    mean = np.full((1, 2, 4), 0.001)
    mean[0, 1, 2] = 0.9  # skill 2 weighs for the second task only, and stays for both
    assert gate.heavy(mean, 0.02).tolist() == [2, 6]


def test_attentions_softmax_is_no_gate() -> None:
    """It multiplies matrices, place by place: no vector of the image."""
    graph = ours()
    found = {gate.module for gate in find_gates(graph)}
    assert {name for name in names_of(graph, "Softmax") if name.startswith("backbone")} and not {
        name for name in found if name.startswith("backbone")
    }
