from pathlib import Path

import numpy as np
import onnx
import pytest

from bundle.base.errors import GraphError, TargetUnavailable
from bundle.judging.choice_rule import Precision
from targets.base import RunConfig, Session, Variant, VariantRecipe
from targets.intel.graph import read
from targets.intel.runtime import shared_core
from targets.intel.target import INTEL
from targets.isa import accumulates_int8_exactly
from tests.contract.graphs import CASES

CASE = CASES["attention"]
CPU = INTEL.capabilities(RunConfig())


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    onnx.save(CASE.model, tmp_path / "model.onnx")
    return INTEL.convert(tmp_path / "model.onnx", tmp_path / "model.xml")


def variant(files: tuple[str, ...], precision: Precision = "f32") -> Variant:
    hint = "f32" if precision == "int8" else precision
    return Variant(recipe=VariantRecipe(name=precision, graph="float", hint=hint, reason="a test"), files=files)


def open_at(
    folder: Path, files: tuple[str, ...], precision: Precision = "f32", run: RunConfig | None = None
) -> Session:
    return INTEL.open(folder, variant(files, precision), run or RunConfig(threads=1), "device", keep=folder)


def error(session: Session) -> float:
    got, expected = session.infer(CASE.feed)["y"], CASE.expected["y"]
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def test_f32_is_pinned_whatever_the_device_prefers(files, tmp_path: Path) -> None:
    """OpenVINO's own default on a CPU with AMX is bf16, 2⁻⁸ relative: pinned, the error is float32's."""
    with open_at(tmp_path, files) as session:
        assert session.info.settings["INFERENCE_PRECISION_HINT"] == "f32"
        assert error(session) < 1e-6


@pytest.mark.skipif("bf16" not in CPU.precisions, reason="this CPU does not multiply in bfloat16")
def test_bf16_is_what_runs_when_it_is_asked_for(files, tmp_path: Path) -> None:
    with open_at(tmp_path, files, "bf16") as session:
        assert session.info.settings["INFERENCE_PRECISION_HINT"] == "bf16"
        assert session.outputs[0].dtype == "float32"
        assert 2**-12 < error(session) < 2**-6


def test_auto_reports_the_precision_of_the_device_it_chose(files, tmp_path: Path) -> None:
    with open_at(tmp_path, files, run=RunConfig(device="AUTO", threads=1)) as session:
        assert session.info.settings["INFERENCE_PRECISION_HINT"] == "f32"
        assert "CPU" in session.info.settings["EXECUTION_DEVICES"]


def test_the_number_of_threads_is_read_back(files, tmp_path: Path) -> None:
    with open_at(tmp_path, files) as session:
        assert session.info.settings["INFERENCE_NUM_THREADS"] == "1"


def test_the_model_cache_is_off_unless_asked_for(files, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    open_at(tmp_path, files).close()
    assert not cache.exists()
    open_at(tmp_path, files, run=RunConfig(threads=1, model_cache=cache)).close()
    assert any(cache.iterdir())


@pytest.mark.parametrize("device", ["NPU.7", "GPU.7", "AUTO:GPU.7,CPU", "TPU"])
def test_a_device_that_is_not_here_is_refused_with_those_that_are(files, tmp_path: Path, device: str) -> None:
    with pytest.raises(TargetUnavailable, match="OpenVINO has no device") as caught:
        open_at(tmp_path, files, run=RunConfig(device=device))
    assert caught.value.exit_code == 3
    assert "CPU" in caught.value.expected
    with pytest.raises(TargetUnavailable):
        INTEL.capabilities(RunConfig(device=device))


def test_there_is_no_emulation(files, tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable, match="emulates no device"):
        INTEL.open(tmp_path, variant(files), RunConfig(), "emulation", keep=tmp_path)


def test_a_dynamic_shape_is_refused(tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(CASES["gelu"].model.SerializeToString())
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.save(model, tmp_path / "dynamic.onnx")
    files = INTEL.convert(tmp_path / "dynamic.onnx", tmp_path / "dynamic.xml")
    with pytest.raises(GraphError, match="'x' cannot be fed or read"):
        open_at(tmp_path, files)


def test_build_compiles_every_variant_and_records_what_was_set(files, tmp_path: Path) -> None:
    built = INTEL.build(tmp_path, (variant(files),), RunConfig(threads=1))
    assert built.status == "built"
    assert built.settings["f32.INFERENCE_PRECISION_HINT"] == "f32"


def test_the_host_s_capabilities_agree_with_the_kernel_s() -> None:
    """OpenVINO and /proc/cpuinfo are asked apart; a CPU with AMX-BF16 must show in both."""
    assert CPU.device == "CPU"
    assert "f32" in CPU.precisions
    assert CPU.runtime.startswith("openvino 20")
    if "amx_bf16" in CPU.isa:
        assert "bf16" in CPU.precisions


@pytest.mark.skipif(not accumulates_int8_exactly(CPU.isa), reason="without VNNI OpenVINO may choose a float kernel")
def test_a_quantized_product_runs_on_integers_and_does_not_saturate(tmp_path: Path) -> None:
    """The runtime's own graph must name an 8-bit kernel: an INT8 variant that runs in float proves nothing."""
    case = CASES["q_dq_extreme"]
    onnx.save(case.model, tmp_path / "q.onnx")
    INTEL.convert(tmp_path / "q.onnx", tmp_path / "q.xml")
    compiled = shared_core().compile_model(read(tmp_path / "q.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    info = [operation.get_rt_info() for operation in compiled.get_runtime_model().get_ops()]
    kernels = [row["runtimePrecision"].value for row in info if row["layerType"].value in ("FullyConnected", "MatMul")]
    assert kernels in (["i8"], ["u8"])
    np.testing.assert_array_equal(compiled(case.feed)[0], case.expected["y"])
