"""Weights that lost their names are found by their place, whatever the order of a sum's inputs."""

import numpy as np
import onnx_ir as ir
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator

from bundle.base.errors import GraphError
from studies.dinov2.onnx_weights import expose_blocks, read_weights
from tests.compile import published


@pytest.fixture
def model() -> ir.Model:
    """The tiny published graph."""
    return ir.from_proto(published.graph())


def test_every_tensor_of_the_backbone_is_found_by_its_published_name(model: ir.Model) -> None:
    weights = read_weights(model)
    arrays = {one.name: numpy_helper.to_array(one) for one in published.graph().graph.initializer}
    inside = (
        "norm1",
        "norm2",
        "attention.attention.query",
        "attention.attention.key",
        "attention.attention.value",
        "attention.output.dense",
        "mlp.fc1",
        "mlp.fc2",
    )
    blocks = [f"encoder.layer.{number}" for number in range(published.BLOCKS)]
    names = {f"{block}.{one}.{kind}" for block in blocks for one in inside for kind in ("weight", "bias")}
    names |= {f"{block}.layer_scale{one}.lambda1" for block in blocks for one in (1, 2)}
    names |= {f"embeddings.patch_embeddings.projection.{kind}" for kind in ("weight", "bias")}
    assert set(weights) == names | {"embeddings.cls_token", "embeddings.position_embeddings"}
    assert weights["encoder.layer.1.mlp.fc1.weight"].shape == (4 * published.DIM, published.DIM)
    table = np.concatenate([arrays["onnx::Concat_1"], arrays["onnx::Reshape_1"]], axis=1)
    np.testing.assert_array_equal(weights["embeddings.position_embeddings"], table)
    query = next(
        node
        for node in published.graph().graph.node
        if "backbone.encoder.layer.0.attention.attention.query.bias" in node.input
    )
    product = next(node for node in published.graph().graph.node if node.output[0] in query.input)
    np.testing.assert_array_equal(
        weights["encoder.layer.0.attention.attention.query.weight"], arrays[product.input[1]].T
    )


def test_the_blocks_answer_what_the_whole_graph_computes(model: ir.Model) -> None:
    image = np.random.default_rng(3).normal(size=(1, 3, published.SIDE, published.SIDE)).astype(np.float32)
    [answer] = ReferenceEvaluator(published.graph()).run(None, {"input_image": image})
    names = expose_blocks(model)
    assert [value.name for value in model.graph.outputs] == list(names) and len(names) == published.BLOCKS
    shape = model.graph.outputs[0].shape
    assert shape is not None and list(shape) == [1, 1 + published.GRID**2, published.DIM]
    last = ReferenceEvaluator(ir.to_proto(model)).run(None, {"input_image": image})[-1]
    weights = {one.name: numpy_helper.to_array(one) for one in published.graph().graph.initializer}
    centred = last - last.mean(-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    head = 1 / (1 + np.exp(-(normed * weights["backbone.layernorm.weight"] + weights["backbone.layernorm.bias"])))
    np.testing.assert_allclose(head, answer, rtol=1e-5, atol=1e-6)


def test_another_graph_is_refused_with_what_is_missing(model: ir.Model) -> None:
    for node in [node for node in model.graph if node.op_type == "Concat"]:
        node.attributes["axis"] = ir.AttrInt64("axis", 1)
        node.replace_input_with(0, node.inputs[1])
    with pytest.raises(GraphError, match="no DINOv2") as caught:
        read_weights(model)
    assert "one row [1, 1, d]" in caught.value.expected
    empty = ir.from_onnx_text(
        '<ir_version: 9, opset_import: ["": 20]> g (float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Relu (x) }'
    )
    with pytest.raises(GraphError, match="no DINOv2"):
        read_weights(empty)
    with pytest.raises(GraphError, match="no DINOv2"):
        expose_blocks(empty)
