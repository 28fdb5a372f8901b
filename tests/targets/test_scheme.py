"""Which layers stay in float: the names are those ``compile.graphs.clean`` gives, ``<module path>/<operator>``."""

import re

import pytest

from targets.base import Capabilities
from targets.intel.scheme import scheme as intel
from targets.intel.scheme import variants as intel_variants
from targets.jetson.scheme import scheme as jetson
from targets.scheme import GATE
from targets.table import TARGETS
from tests.contract.flows import QUANTIZING


@pytest.mark.parametrize(
    ("name", "ignored"),
    [
        ("adapter.stages.2.blocks.1.banks.mlp.gate/ReduceMean", True),
        ("adapter.stages.2.blocks.1.banks.mlp.gate.logits/MatMul", True),
        ("adapter.stages.0.tsai.gate/Add", True),
        ("gates.3/Softmax_1", True),
        ("gate/Softmax", True),
        ("adapter.stages.2.blocks.1.banks.mlp.down/MatMul", False),
        ("backbone.stages.0.blocks.1.mlp.fc1/MatMul", False),
        ("decoder.aggregate/Conv", False),
        ("navigate/Conv", False),
    ],
)
def test_the_gate_pattern_takes_gates_only(name: str, ignored: bool) -> None:
    assert bool(re.fullmatch(GATE.pattern, name)) is ignored


def capabilities(device: str, *isa: str, precisions: tuple[str, ...] = ("f32", "bf16", "f16", "int8")) -> Capabilities:
    return Capabilities.model_validate(
        {"device": device, "device_name": "", "isa": isa, "precisions": precisions, "runtime": ""}
    )


@pytest.mark.parametrize(
    ("device", "isa", "fix"),
    [
        ("CPU", ("avx2",), "enable"),
        ("CPU", ("avx2", "avx512f"), "enable"),
        ("CPU", ("avx2", "avx_vnni"), "disable"),
        ("CPU", ("avx512_vnni", "amx_int8"), "disable"),
        ("GPU.0", (), "disable"),
        ("AUTO", ("avx2",), "enable"),
    ],
)
def test_the_overflow_fix_follows_the_isa(device: str, isa: tuple[str, ...], fix: str) -> None:
    assert intel(capabilities(device, *isa)).overflow_fix == fix


@pytest.mark.parametrize("name", QUANTIZING)
def test_what_every_device_must_have(name: str) -> None:
    """The model type, SmoothQuant off, the gate path ignored; symmetric activations where TensorRT reads them."""
    chosen = TARGETS[name].scheme(capabilities("CPU", "avx2"))
    assert (chosen.model_type, chosen.smooth_quant_alpha) == ("transformer", "off")
    assert chosen.preset == "performance" or TARGETS[name].profile.rules != "tensorrt"
    assert GATE in chosen.ignored


def test_tensorrt_gets_one_scale_per_activation_and_no_thin_gemm() -> None:
    chosen = jetson(capabilities("emulation"))
    assert (chosen.per_channel_depthwise_activations, chosen.thin_below) == (False, 16)


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (capabilities("CPU", "amx_bf16"), ["f32", "bf16", "int8_weights", "int8"]),
        (capabilities("CPU", "amx_fp16"), ["f32", "bf16", "f16", "int8_weights", "int8"]),
        (capabilities("CPU", "avx2", precisions=("f32", "int8")), ["f32", "int8_weights", "int8"]),
        (capabilities("GPU", precisions=("f32", "f16", "int8")), ["f32", "f16", "int8_weights", "int8"]),
        (capabilities("NPU", precisions=("f16", "int8")), ["f16", "int8_weights", "int8"]),
    ],
)
def test_variants_are_what_the_device_computes(given: Capabilities, names: list[str]) -> None:
    offered = intel_variants(given)
    assert [offer.name for offer in offered] == names
    assert offered[-1].hint == next(name for name in ("bf16", "f32", "f16") if name in names)
