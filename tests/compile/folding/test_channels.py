"""Channels that nothing needs, or that are the same for every image, are not computed, whatever made them."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tdss.adapters.config import TdssConfig
from tdss.adapters.tdss import SkillBank
from tdss.config import ModelConfig
from tdss.model import MultiTaskModel
from tests.compile.folding.applied import few, zero
from tests.compile.folding.exact import run_float32
from tests.compile.folding.exporting import export_simplified
from tests.compile.folding.models import configs, make_config, make_model
from tests.compile.folding.proven import cost_of, feed_of, fold_exactly, graph_of, names_of

pytestmark = pytest.mark.slow

BASE = TdssConfig(experts=4, rank=2, gates=(("static", "dynamic"), ("dynamic",)), activation="relu")
STATIC, DYNAMIC = "adapter.stages.0.blocks.0.banks.mlp", "adapter.stages.0.blocks.1.banks.mlp"
TASKS = ("semseg", "depth")
PLACES = 64  # of the first stage
SITES = {
    "linear": (lambda: nn.Linear(5, 8), lambda: nn.Linear(8, 3), (1, 9, 5)),
    "convolution": (lambda: nn.Conv2d(5, 8, 3), lambda: nn.Conv2d(8, 3, 1), (1, 5, 6, 6)),
}


def model_of(config: TdssConfig = BASE) -> MultiTaskModel:
    """A small model with random weights."""
    return make_model(make_config(config, tasks=TASKS))


def widths(model: ir.Model, operator: str) -> list[int]:
    """How many channels each node of an operator has; they are last, or second of an image."""
    shapes = [
        [int(str(size)) for size in node.outputs[0].shape or ()] for node in model.graph if node.op_type == operator
    ]
    return [shape[1] if len(shape) == 4 and shape[2] == shape[3] else shape[-1] for shape in shapes]


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("bend", [nn.ReLU, nn.GELU, nn.Sigmoid, nn.SiLU, nn.ReLU6])
@pytest.mark.parametrize("dead", ["read by nobody", "without weights"])
def test_a_dead_channel_leaves_any_network(site: str, bend: Callable[[], nn.Module], dead: str) -> None:
    """Where f(0) ≠ 0, and where the channel's bias is not 0, what is left of it is a constant."""
    first, second, shape = SITES[site]
    torch.manual_seed(3)
    before, after = first(), second()
    with torch.no_grad():
        if dead == "read by nobody":
            after.weight[:, 2:4] = 0
        else:
            before.weight[2:4] = 0
    graph = export_simplified(nn.Sequential(before, bend(), after), torch.zeros(shape))
    folded = fold_exactly(graph)
    if dead == "read by nobody" or bend in (nn.ReLU, nn.GELU, nn.Sigmoid):
        products = {"Conv": 1, "MatMul": -1, "Gemm": -1}
        sizes = [
            [int(str(size)) for size in node.outputs[0].shape or ()][products[node.op_type]]
            for node in folded.graph
            if node.op_type in products
        ]
        assert sizes == [6, 3]


@pytest.mark.parametrize("bank", [STATIC, DYNAMIC])
@pytest.mark.parametrize("dead", ["down", "up"])
def test_a_skill_without_weights_is_not_computed(bank: str, dead: str) -> None:
    model, whole = model_of(), model_of()
    if dead == "down":
        zero(model, f"{bank}.down.weight:2-4")
    else:
        with torch.no_grad():
            model.get_parameter(f"{bank}.up.weight")[:, 2:4] = 0
    got, want = cost_of(graph_of(model)), cost_of(graph_of(whole))
    assert want.macs - got.macs >= PLACES * 2 * 8  # two hidden units of eight inputs each
    assert want.params - got.params >= 2 * 8


def test_the_softmax_of_a_dynamic_gate_still_sees_every_skill() -> None:
    model = model_of()
    zero(model, f"{DYNAMIC}.down.weight:0-2")
    folded = fold_exactly(graph_of(model))
    shapes = {
        str(node.outputs[0].name): str(node.outputs[0].shape) for node in folded.graph if node.op_type == "Softmax"
    }
    assert shapes[f"{DYNAMIC}.gate/Softmax"] == "[1,2,4]"


def test_a_bank_without_live_skills_leaves_altogether() -> None:
    model = model_of()
    zero(model, f"{DYNAMIC}.up.weight")
    folded = fold_exactly(graph_of(model))
    assert not [node for node in folded.graph if DYNAMIC in str(node.outputs[0].name)]


def test_a_static_gate_of_zero_for_every_task_is_dead() -> None:
    """Two tasks use one skill of four each."""
    folded = fold_exactly(graph_of(model_of(BASE.model_copy(update={"top_k": 1, "gates": (("static",), ("static",))}))))
    assert max(widths(folded, "Relu")[:1]) <= 2 * BASE.rank


def test_a_live_skill_stays_however_small() -> None:
    model = model_of()
    with torch.no_grad():
        model.get_parameter(f"{DYNAMIC}.down.weight")[:2].mul_(1e-30)
    assert cost_of(graph_of(model)).macs == cost_of(graph_of(model_of())).macs


@few(4)
@given(configs, st.integers(0, 30))
def test_any_model_answers_the_same(config: ModelConfig, dead: int) -> None:
    model = make_model(config)
    for bank in (module for module in model.modules() if isinstance(module, SkillBank)):
        first = dead % bank.down.out_features // bank.rank * bank.rank
        zero(bank, f"down.weight:{first}-{first + bank.rank}")
    fold_exactly(graph_of(model))


def test_what_is_left_is_what_the_equation_gives() -> None:
    """W₂·relu(W₁x + b) in NumPy, with a unit whose bias alone decides it."""
    torch.manual_seed(4)
    before, after = nn.Linear(5, 4), nn.Linear(4, 3)
    with torch.no_grad():
        before.weight[1] = 0
        before.bias[1] = 2.5
    graph = export_simplified(nn.Sequential(before, nn.ReLU(), after), torch.zeros(1, 7, 5))
    x = feed_of(graph)["x"].astype(np.float64)
    w1, b1, w2, b2 = (one.detach().numpy().astype(np.float64) for one in (*before.parameters(), *after.parameters()))
    want = np.maximum(x @ w1.T + b1, 0) @ w2.T + b2
    [got] = run_float32(fold_exactly(graph), {"x": x}).values()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


def test_units_of_a_task_that_is_dropped_leave_a_shared_activation() -> None:
    """γ of all tasks is one sigmoid: with the other outputs gone, only the tasks that stay are computed."""
    from compile.folding.task_subset import keep_outputs

    graph = graph_of(model_of(BASE.model_copy(update={"tsai": "dynamic"})))
    assert names_of(graph, "Sigmoid") == {"adapter.stages.0.tsai.gate", "adapter.stages.1.tsai.gate"}
    small = fold_exactly(keep_outputs(graph, ["depth"]))
    assert sorted(widths(small, "Sigmoid")) == [8, 16] and sorted(widths(fold_exactly(graph), "Sigmoid")) == [8, 16]
