"""The goldens are what they say they are, and the checks of an engine refuse engines that do nothing or something else."""

import onnx_ir as ir
import pytest

from compile.graphs.cost import graph_cost
from tests.compile.folding.engine_cases import (
    Engine,
    comes_down_to_its_golden,
    costs_no_more,
    operators,
    reads_the_norm_beside_the_mlp,
    stays_the_same,
)
from tests.compile.folding.exact import error, run_exactly, run_float32, widen
from tests.compile.folding.foreign import BESIDE, Foreign, chain

pytestmark = pytest.mark.slow


def macs(model: ir.Model) -> int:
    return graph_cost(model).macs


def agree(case: Foreign) -> None:
    """ONNX Runtime, ONNX's reference in float64, and the golden."""
    want = run_exactly(widen(case.model), case.feeds)
    assert error(run_float32(case.model, case.feeds), want) < 1e-6
    got = run_exactly(widen(case.golden), case.feeds)
    assert error(dict(zip(want, got.values(), strict=True)), want) < 1e-6


def test_a_golden_computes_the_same_with_less(merged: Foreign) -> None:
    agree(merged)
    before, after = len(operators(merged.model)), len(operators(merged.golden))
    assert after < before or macs(merged.model) == macs(merged.golden)
    assert macs(merged.golden) <= macs(merged.model)


def test_peft_merges_what_it_left_apart(peft: Foreign) -> None:
    agree(peft)
    assert len(operators(peft.golden)) < len(operators(peft.model))
    assert macs(peft.golden) < macs(peft.model)


def test_an_adapter_beside_an_mlp_reads_the_norm(beside: Foreign) -> None:
    [norm] = [node for node in beside.model.graph if node.op_type == "LayerNormalization"]
    assert [node.op_type for node, _ in norm.outputs[0].uses()].count(
        "MatMul"
    ) == 3  # the MLP, the adapter, another reader
    assert error(run_float32(beside.model, beside.feeds), run_exactly(widen(beside.model), beside.feeds)) < 1e-6


def copied(model: ir.Model) -> ir.Model:
    return model.clone()


def wrong(model: ir.Model) -> ir.Model:
    """One number of the first matrix is wrong by one part in a million."""
    other = model.clone()
    matrix = next(one for one in other.graph.initializers.values() if one.shape is not None and len(one.shape) > 1)
    assert matrix.const_value is not None
    array = matrix.const_value.numpy().copy()
    array.flat[0] *= 1 + 1e-6
    matrix.const_value = ir.tensor(array, name=matrix.name)
    return other


def renaming(model: ir.Model) -> ir.Model:
    """It changes the graph it is given."""
    next(iter(model.graph)).name = "renamed"
    return model.clone()


def restless(model: ir.Model) -> ir.Model:
    """Two runs differ."""
    other = model.clone()
    next(iter(other.graph)).name = f"node_{id(other)}"
    return other


@pytest.fixture(scope="module")
def pays() -> Foreign:
    return chain((8, 32, 8), (0, 2))


@pytest.fixture(scope="module")
def stays() -> Foreign:
    return chain((8, 2, 8), (0, 1, 2))


def test_where_nothing_pays_an_engine_may_do_nothing(stays: Foreign) -> None:
    comes_down_to_its_golden(copied, stays)
    costs_no_more(copied, stays.model, macs)


@pytest.mark.parametrize(("engine", "why"), [(wrong, "the largest relative error"), (renaming, "the engine changed")])
def test_a_wrong_engine_is_refused(stays: Foreign, engine: Engine, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        stays_the_same(engine, stays.model, stays.feeds)


def test_an_engine_that_does_too_little_or_too_much_is_refused(pays: Foreign, stays: Foreign) -> None:
    with pytest.raises(AssertionError):
        comes_down_to_its_golden(copied, pays)
    with pytest.raises(AssertionError):
        costs_no_more(restless, stays.model, macs)
    with pytest.raises(AssertionError, match="folded into a matrix"):
        reads_the_norm_beside_the_mlp(copied, BESIDE["tied adapter beside an MLP"]())


def test_a_constant_that_is_a_node_is_no_operator(stays: Foreign) -> None:
    model = stays.model.clone()
    number = ir.node("Constant", [], attributes={"value_float": 1.0})
    model.graph.insert_before(next(iter(model.graph)), number)
    assert operators(model) == operators(stays.model)
