"""What the emulation computes, against NumPy: the roundings a graph states are honoured."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto

from targets.base import RunConfig, Session, Variant
from targets.jetson.emulation import open_emulation
from targets.jetson.scheme import F16, INT8
from tests.contract.graphs import CASES, Case, case, node, wide


def emulate(folder: Path, built: Case, variant: Variant) -> Session:
    onnx.save(built.model, folder / variant.files[-1])
    return open_emulation(folder, variant, RunConfig(threads=1))


def cast_pair(x: np.ndarray) -> Case:
    nodes = [node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16), node("Cast", ["half"], ["y"], to=TensorProto.FLOAT)]
    with np.errstate(over="ignore"):
        return case("casts", nodes, {"x": x}, {"y": wide(x.astype(np.float16))})


HALF = Variant(recipe=F16, files=("f16.onnx", "f16.emulation.onnx"))


def test_a_cast_pair_rounds_as_half_precision_does_and_overflows(tmp_path: Path) -> None:
    built = cast_pair(np.array([1.0, 1.0 + 2**-12, 65504.0, 65520.0, 489605.0, -1e30, 1e-8, np.nan], np.float32))
    with emulate(tmp_path, built, HALF) as session:
        got = session.infer(built.feed)["y"]
    np.testing.assert_array_equal(got, built.expected["y"])
    assert np.isinf(got[3:6]).all()


def test_int8_products_at_the_end_of_their_range_do_not_saturate(tmp_path: Path) -> None:
    built = CASES["q_dq_extreme"]
    with emulate(tmp_path, built, Variant(recipe=INT8, files=("int8.onnx", "int8.emulation.onnx"))) as session:
        np.testing.assert_array_equal(wide(session.infer(built.feed)["y"]), built.expected["y"])
