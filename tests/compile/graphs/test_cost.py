"""A graph's cost against PyTorch's own counter on the eager model, and against numbers worked out by hand."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from bundle.base.errors import GraphError
from compile.graphs.cost import COUNTED, GraphCost, graph_cost, macs_by_node, read_cost
from compile.graphs.io_wrappers import RawModel
from compile.graphs.pytorch.table import OPERATORS
from studies.folding.models import random_model
from tdss.adapters.config import MtloraConfig, SsfConfig, TdssConfig
from tests.compile.folding.exporting import export
from tests.compile.folding.models import adapted, make_config
from tests.compile.graphs.passes.made import shaped

SHORT = TdssConfig(experts=2, rank=3, gates=(("static", "dynamic"), ("dynamic",)), tsai="dynamic", insertion="both")
TASKS = ("semseg", "depth")
CONFIGS = {
    "TDSS": make_config(SHORT, tasks=TASKS),
    "TDSS on a ViT": make_config(SHORT, tasks=TASKS, vit_patch=8),
    "MTLoRA": adapted(MtloraConfig(kind="mtlora", rank=1), tasks=TASKS),  # nothing reads its last shared update
    "SSF on padded windows": adapted(SsfConfig(kind="ssf"), size=24, tasks=TASKS[:1]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_the_macs_of_an_export_are_those_of_the_eager_model(name: str) -> None:
    config = CONFIGS[name]
    model, image = RawModel(random_model(config, 0)), torch.randn(1, 3, config.image.height, config.image.width)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(image)
    assert graph_cost(export(model, image)).macs == pytest.approx(counter.get_total_flops() / 2, rel=0.01)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("bik,kj->bij", ((2, 5, 7), (7, 3))),
        ("bhid,bhjd->bhij", ((2, 3, 4, 5), (2, 3, 6, 5))),
        ("etr,hwer->hwt", ((8, 6, 4), (3, 2, 8, 4))),
    ],
)
def test_an_einsum_counts_like_the_products_it_stands_for(equation: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    left, right = (torch.randn(shape) for shape in shapes)
    counter = FlopCounterMode(display=False)
    with counter:
        out = torch.einsum(equation, left, right)
    sizes = [",".join(map(str, shape)) for shape in (*shapes, out.shape)]
    text = f'g (float[{sizes[0]}] x, float[{sizes[1]}] w) => (float[{sizes[2]}] y) {{ y = Einsum <equation = "{equation}"> (x, w) }}'
    assert sum(macs_by_node(shaped(text)).values()) == counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("text", "macs"),
    [
        ("g (float[1,8,5,5] x, float[6,4,3,3] w) => (float[1,6,3,3] y) { y = Conv <group = 2> (x, w) }", 54 * 36),
        (
            "g (float[1,4,5,5] x, float[4,3,2,2] w) => (float[1,3,10,10] y) { y = ConvTranspose <strides = [2, 2]> (x, w) }",
            100 * 12,
        ),
        ("g (float[2,7,5] x, float[2,5,3] w) => (float[2,7,3] y) { y = MatMul (x, w) }", 2 * 7 * 3 * 5),
        ("g (float[5,7] x, float[3,5] w) => (float[7,3] y) { y = Gemm <transA = 1, transB = 1> (x, w) }", 7 * 3 * 5),
        (
            'g (float[2,3,7,5] x, float[5,4] w) => (float[2,3,7,4] y) { y = Einsum <equation = "...k, kn -> ...n"> (x, w) }',
            2 * 3 * 7 * 5 * 4,
        ),
        ('g (float[4,6] x) => (float[6,4] y) { y = Einsum <equation = "ij->ji"> (x) }', 0),
        ("g (float[4,6] x) => (float[4,6] y) { y = Relu (x) }", 0),
    ],
)
def test_the_macs_of_an_operator(text: str, macs: int) -> None:
    assert graph_cost(shaped(text)).macs == macs


# Operators of the standard that multiply and add, besides those that are counted.
NEVER_COUNTED = {
    "Attention",
    "ConvInteger",
    "DFT",
    "DeformConv",
    "GRU",
    "LSTM",
    "MatMulInteger",
    "QLinearConv",
    "QLinearMatMul",
    "RNN",
    "STFT",
}


def test_a_proof_refuses_the_operators_whose_work_is_not_counted() -> None:
    """So no fold is chosen by a cost that leaves work out."""
    assert NEVER_COUNTED.isdisjoint(OPERATORS) and OPERATORS.keys() > COUNTED


def test_bytes_parameters_and_nodes(tmp_path: Path) -> None:
    text = """<ir_version: 9, opset_import: ["": 19]> made (float[4,6] x) => (float[2,3] y)
    <float[6,3] w = {%s}, float[2] dead = {1.0, 2.0}, int64[2] shape = {2, 6}> {
      half = Slice (x, from, to)
      flat = Reshape (half, shape)
      y = MatMul (flat, w)
    }"""
    proto = onnx.parser.parse_model(text % ", ".join(["1.0"] * 18))
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array([end], np.int64), name) for name, end in (("from", 0), ("to", 2))
    )
    onnx.save(proto, tmp_path / "g.onnx")
    assert read_cost(tmp_path / "g.onnx") == GraphCost(
        macs=2 * 3 * 6, moved=4 * (2 * 12 + 12 + 18 + 6), params=18, nodes=3
    )


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(GraphError, match="the size of n is unknown"):
        graph_cost(shaped("g (float[n,5] x, float[5,3] w) => (float[n,3] y) { [n] y = MatMul (x, w) }"))
