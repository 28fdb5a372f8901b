"""ONNX Runtime as a device: what it refuses, how it quantizes, and that its passes reach the integer kernels."""

from pathlib import Path

import onnx_ir as ir
import pytest

from bundle.base.errors import TargetUnavailable
from compile.graphs.passes.table import apply_passes
from targets.base import Capabilities, RunConfig, Variant
from targets.onnxruntime.target import F32, INT8, ONNXRUNTIME
from tests.compile.graphs.passes.made import graph
from tests.compile.graphs.passes.optimized import optimized
from tests.compile.graphs.passes.test_quantize_biases import TEXT
from tests.compile.graphs.passes.test_repeat_quantizers import SPLIT

RUN = RunConfig(threads=1)


@pytest.mark.parametrize(
    ("isa", "fix"),
    [
        (("avx2",), "enable"),
        (("avx512f", "avx512_vnni"), "disable"),
        (("neon",), "enable"),
        (("neon_dotprod",), "disable"),
    ],
)
def test_weights_keep_to_half_their_range_where_products_are_summed_in_16_bits(isa: tuple[str, ...], fix: str) -> None:
    able = Capabilities(device="CPU", device_name="", isa=isa, precisions=("f32", "int8"), runtime="")
    assert ONNXRUNTIME.scheme(able).overflow_fix == fix
    assert ONNXRUNTIME.variants(able) == (F32, INT8)


@pytest.mark.parametrize(("text", "kernel"), [(SPLIT, "QLinearConv"), (TEXT, "QGemm")])
def test_its_passes_make_an_integer_kernel_of_what_was_float(tmp_path: Path, text: str, kernel: str) -> None:
    source, out = tmp_path / "source.onnx", tmp_path / "out.onnx"
    ir.save(graph(text), source)
    apply_passes(ONNXRUNTIME.fusing_passes, source, out)
    assert (optimized(ir.load(source))[kernel], optimized(ir.load(out))[kernel]) == (0, 1)


def test_a_build_opens_every_variant_and_says_what_it_runs_on(tmp_path: Path) -> None:
    ir.save(graph(TEXT), tmp_path / "int8.onnx")
    built = ONNXRUNTIME.build(tmp_path, (Variant(recipe=INT8, files=("int8.onnx",)),), RUN)
    assert built.files == () and built.settings["int8.graph_optimizations"] == "all"


def test_it_has_one_device_and_emulates_nothing(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable, match="onnxruntime does not run on 'GPU'"):
        ONNXRUNTIME.capabilities(RunConfig(device="GPU"))
    with pytest.raises(TargetUnavailable, match="onnxruntime emulates nothing"):
        ONNXRUNTIME.open(tmp_path, Variant(recipe=F32, files=("f32.onnx",)), RUN, "emulation", keep=tmp_path)
