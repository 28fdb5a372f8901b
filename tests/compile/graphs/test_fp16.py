"""FP16 graphs as files: what is written, what shares its weights, and that the pair computes the same."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from bundle.base.errors import GraphError
from compile.graphs.fp16 import kept_ranges, write_fp16, write_ranges
from targets.base import RunConfig, Variant
from targets.jetson.emulation import open_emulation
from targets.jetson.scheme import F16
from tests.compile.graphs.passes.made import HEADER, graph, run
from tests.compile.graphs.test_tensor_ranges import FEEDS, TEXT

WIDE = 64
BIG = f"""
g (float[1,{WIDE}] x) => (float[1,{WIDE}] y)
<float[1] a = {{0}}, float[1] b = {{0}}>
{{
    [first] h = MatMul (x, a)
    [second] y = MatMul (h, b)
}}
"""
FEED = {"x": np.random.default_rng(0).normal(size=(1, WIDE)).astype(np.float32)}


@pytest.fixture
def big(tmp_path: Path) -> Path:
    model = graph(BIG)
    for seed, name in enumerate("ab"):
        array = np.random.default_rng(seed).normal(size=(WIDE, WIDE)).astype(np.float32) / 8
        model.graph.initializers[name].const_value = ir.tensor(array, name=name)
        model.graph.initializers[name].shape = ir.Shape(array.shape)
    ir.save(model, tmp_path / "big.onnx")
    return tmp_path / "big.onnx"


def test_the_emulation_reads_its_weights_from_the_typed_graph(big: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    ranges = write_ranges(big, out, [FEED], threads=1)
    files, note = write_fp16(big, out, "f16", ranges)
    assert files == ("f16.onnx", "f16.emulation.onnx")
    assert note.kept_by_range == {} and note.tensors == 3
    assert kept_ranges(out) == ranges and kept_ranges(tmp_path) == ()
    assert (out / files[1]).stat().st_size < 4000 < 2 * WIDE * WIDE * 2 < (out / files[0]).stat().st_size
    with open_emulation(out, Variant(recipe=F16, files=files), RunConfig(threads=1)) as session:
        [emulated] = session.infer(FEED).values()
    [typed] = run(ir.load(out / "f16.onnx"), **FEED)
    [exact] = run(ir.load(big), **FEED)
    assert 0 < np.abs(emulated - exact).max() < 0.01
    assert np.abs(emulated - typed).max() < 0.01


def test_an_overflowing_tensor_is_kept_in_float32_and_the_graph_stays_finite(tmp_path: Path) -> None:
    ir.save(graph(TEXT), tmp_path / "g.onnx")
    ranges = write_ranges(tmp_path / "g.onnx", tmp_path, FEEDS, threads=1)
    files, note = write_fp16(tmp_path / "g.onnx", tmp_path, "f16", ranges)
    assert sorted(note.kept_by_range) == ["answer", "root", "square"]
    with open_emulation(tmp_path, Variant(recipe=F16, files=files), RunConfig(threads=1)) as session:
        outputs = [session.infer(feed)["y"] for feed in FEEDS]
    assert np.isfinite(outputs).all()
    np.testing.assert_allclose(outputs[0], run(graph(TEXT), **FEEDS[0])[0], rtol=2e-3)
    onnx.checker.check_model(str(tmp_path / "f16.onnx"), full_check=True)


def refused(tmp_path: Path, text: str) -> GraphError:
    """What is said of a graph that cannot be typed, before anything is measured or written."""
    ir.save(ir.from_onnx_text(text), tmp_path / "g.onnx")
    with pytest.raises(GraphError, match="cannot be written in FP16") as caught:
        write_ranges(tmp_path / "g.onnx", tmp_path, FEEDS, threads=1)
    assert caught.value.where == str(tmp_path / "g.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["g.onnx"]
    return caught.value


@pytest.mark.parametrize("opset", [13, 18])
def test_an_opset_without_fp16_scales_is_refused(tmp_path: Path, opset: int) -> None:
    error = refused(tmp_path, f'<ir_version: 8, opset_import: ["" : {opset}]>' + TEXT)
    assert (error.got, error.fix) == (f"opset {opset}", "export it at opset 20")


def test_a_graph_that_is_partly_fp16_is_refused(tmp_path: Path) -> None:
    text = TEXT.replace("[root] r = Sqrt (k)", "[narrow] n = Cast <to = 10> (k)\n [root] r = Cast <to = 1> (n)")
    error = refused(tmp_path, HEADER + text)
    assert "1 tensors in FP16, the first is 'n'" in error.got and "float32" in error.fix


def test_a_body_that_holds_floats_is_refused_and_one_of_integers_is_not(tmp_path: Path) -> None:
    body = """[if] r = If (b) <
        then_branch = th () => (float[1,2] p) { p = Sqrt (k) },
        else_branch = el () => (float[1,2] q) { q = Neg (k) }
    >"""
    text = TEXT.replace("[root] r = Sqrt (k)", body).replace(
        "a = {300, 0, 0, -2}>", "a = {300, 0, 0, -2}, bool b = {1}>"
    )
    error = refused(tmp_path, HEADER + text)
    assert "If 'if'" in error.got and "without control flow" in error.fix
    integers = """[if] s = If (b) <
        then_branch = th () => (int64[2] p) { p = Constant <value_ints = [1, 2]> () },
        else_branch = el () => (int64[2] q) { q = Constant <value_ints = [1, 2]> () }
    >
    [root] r = Reshape (k, s)"""
    ir.save(ir.from_onnx_text(HEADER + text.replace(body, integers)), tmp_path / "g.onnx")
    assert write_ranges(tmp_path / "g.onnx", tmp_path, FEEDS, threads=1)
