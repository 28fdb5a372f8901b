"""Fold a graph and check it in float64 on one feed; the rates are those of small models."""

import onnx_ir as ir
import torch

from compile.folding.engine import cast, eliminate
from compile.folding.proof import EXACT_RELATIVE, differences
from compile.graphs.cost import GraphCost, graph_cost
from compile.graphs.io_wrappers import RawModel
from targets.folding import Rates
from tdss.model import MultiTaskModel
from tests.compile.folding.exact import Arrays, checked
from tests.compile.folding.exporting import export_simplified

CHEAP = Rates(
    element=1.0, operator=300.0, thin=192
)  # our small models are a thousand times smaller than those the rates are for


def graph_of(model: MultiTaskModel) -> ir.Model:
    """A model as the fold stage gets it, in float32; the weights given stay as they are."""
    image = torch.zeros((1, 3, model.config.image.height, model.config.image.width))
    raw = RawModel(model.float()).eval()
    return export_simplified(raw, image, names=("image",), outputs=tuple(model.config.tasks))


def feed_of(model: ir.Model, seed: int = 1) -> Arrays:
    """A random image of the size that a graph takes."""
    [image] = [value for value in model.graph.inputs if value.const_value is None]
    shape = [int(str(size)) for size in image.shape or ()]
    return {str(image.name): torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy()}


def fold_exactly(model: ir.Model) -> ir.Model:
    """Return the folded graph, whether it pays or not; its outputs are those of the graph given in float64."""
    folding = eliminate(model, CHEAP)
    relative, _ = differences(model, folding.model, [feed_of(model)])
    assert max(relative.values()) <= EXACT_RELATIVE
    folded = cast(folding.model)
    checked(folded)
    return folded


def cost_of(model: ir.Model) -> GraphCost:
    """What the folded graph costs."""
    return graph_cost(fold_exactly(model))


def names_of(model: ir.Model, operator: str) -> set[str]:
    """The module scopes of an operator's nodes."""
    return {str(node.outputs[0].name).split("/")[0] for node in model.graph if node.op_type == operator}
