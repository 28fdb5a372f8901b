"""Fold a graph and check it in float64 on one feed; the rates are those of small models."""

import hashlib

import onnx
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


GRAPHS: dict[str, bytes] = {}
"""The graphs of this process by the structure and the weights of their models, for an export takes seconds."""


def graph_of(model: MultiTaskModel) -> ir.Model:
    """A model as the fold stage gets it, in float32; the weights given stay as they are."""
    raw = RawModel(model.float()).eval()
    digest = hashlib.sha256(f"{model.config.model_dump_json()}{raw}".encode())
    for name, tensor in raw.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    key = digest.hexdigest()
    if key not in GRAPHS:
        image = torch.zeros((1, 3, model.config.image.height, model.config.image.width))
        graph = export_simplified(raw, image, names=("image",), outputs=tuple(model.config.tasks))
        GRAPHS[key] = ir.to_proto(graph).SerializeToString()
    return ir.from_proto(onnx.ModelProto.FromString(GRAPHS[key]))


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
