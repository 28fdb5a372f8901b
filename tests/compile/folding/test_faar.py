"""FAAR folds exactly by the engine that knows no adapter: shared updates vanish, slots that were cut too, tasks keep their rank."""

from functools import partial

import onnx_ir as ir
import pytest

from compile.folding.engine import fold_graph
from compile.graphs.cost import graph_cost
from tdss.adapters.config import NoAdapterConfig
from tdss.adapters.faar.config import FaarConfig
from tdss.adapters.faar.ranks import Dora
from tdss.config import ModelConfig
from tdss.decoders.tspd.config import TspdConfig
from tests.compile.folding.engine_cases import stays_the_same
from tests.compile.folding.models import adapted, make_model
from tests.compile.folding.proven import CHEAP, feed_of, fold_exactly, graph_of

pytestmark = pytest.mark.slow
RANK, KEPT = 4, 2


def graph() -> ir.Model:
    """Two tasks at 64×64; of the ranks of 4 two slots are kept, of the task's updates all."""
    plain = adapted(NoAdapterConfig(), size=64, tasks=("semseg", "depth"))
    parts = {
        "adapter": FaarConfig(kind="faar", rank=RANK, task_rank=1).model_dump(),
        "decoder": TspdConfig(kind="tspd", widths=(3, 5), hidden=7).model_dump(),
    }
    model = make_model(ModelConfig.model_validate(plain.model_dump() | parts))
    for update in model.modules():
        if isinstance(update, Dora):
            update.order.copy_(update.order.flip(0))
            update.order[update.order >= KEPT] = len(update.order)
    return graph_of(model)


def widths(model: ir.Model, module: str) -> set[tuple[int, ...]]:
    """The shapes of the constant matrices below a module."""
    return {
        tuple(int(side) for side in value.shape or ())
        for node in model.graph
        if node.op_type == "MatMul" and node.name is not None and node.name.startswith(module)
        for value in node.inputs
        if value is not None and value.const_value is not None
    }


def test_it_folds_exactly_with_fewer_products() -> None:
    before = graph()
    folded = stays_the_same(partial(fold_graph, rates=CHEAP), before, feed_of(before))
    assert graph_cost(folded).macs < graph_cost(before).macs
    assert not {"DFT", "STFT"} & {node.op_type for node in folded.graph}


def test_a_shared_update_is_one_matrix_and_what_was_cut_is_gone() -> None:
    before = graph()
    first = "backbone.stages.0.blocks.0.attn.qkv"
    assert widths(before, first) == {(8, 24), (8, RANK), (RANK, 24)}
    folded = fold_exactly(before)
    assert widths(folded, first) == {(8, 24)}
    assert RANK not in {side for node in folded.graph for shape in widths(folded, str(node.name)) for side in shape}
