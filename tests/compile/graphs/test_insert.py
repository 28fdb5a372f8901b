"""What a pass adds gets a name that nothing in the graph has, bodies of nodes included."""

import numpy as np
import pytest
from onnxscript.rewriter import RULE_NAME_TAG

from compile.graphs.insert import MADE_BY, Inserter, supersede
from compile.graphs.nodes import add_constant, free_name, nodes_of
from compile.graphs.passes.quantize_residual_inputs import quantize_residual_inputs
from tests.compile.graphs.passes.made import graph
from tests.compile.tensorrt_checks.rules.test_residual import FLOAT_SKIP

TEXT = """
g (float[2] x, bool b) => (float[2] y)
<float[2] w = {1, 2}>
{
    [node] h = Mul (x, w)
    y = If (b) <
        then_branch = th () => (float[2] p) { p = Abs (h) },
        else_branch = el () => (float[2] q) { q = Neg (h) }
    >
}
"""


@pytest.mark.parametrize("name", ["x", "w", "h", "y", "p", "node"])
def test_a_taken_name_gets_a_number(name: str) -> None:
    model = graph(TEXT)
    assert free_name(model.graph, name) == f"{name}_1"
    assert free_name(model.graph, f"{name}/new") == f"{name}/new"
    added = [add_constant(model, name, np.zeros(2, np.float32)).name for _ in range(2)]
    assert added == [f"{name}_1", f"{name}_2"]


def test_what_is_inserted_clashes_with_nothing() -> None:
    model = graph(TEXT)
    [node] = nodes_of(model, "Mul")
    node.outputs[0].name = "old/new/h"
    insert = Inserter(model, node, "old", "new")
    made = insert.node("Abs", [node.inputs[0]], [2], "h")
    assert made.name == "old/new/h_1"
    producer = made.producer()
    assert producer is not None and producer.metadata_props == {MADE_BY: "new"}
    last = insert.node("Neg", [node.inputs[0]], [2], "y/superseded")
    output = model.graph.outputs[0]
    last.name = "y/superseded"
    supersede(model, output, last)
    assert (last.name, output.name) == ("y", "y/superseded_1")


def test_the_dq_of_a_skip_input_does_not_take_a_name() -> None:
    model = graph(FLOAT_SKIP)
    [product] = nodes_of(model, "MatMul")
    product.outputs[0].name = "y/skip"
    model, modified = quantize_residual_inputs(model)
    names = [value.name for node in model.graph for value in node.outputs]
    assert modified and len(set(names)) == len(names) and "y/skip_1" in names


def test_the_mark_of_a_pass_is_that_of_a_rewrite_rule() -> None:
    assert MADE_BY == RULE_NAME_TAG
