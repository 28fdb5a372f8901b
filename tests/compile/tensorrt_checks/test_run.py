"""Reading a file of any origin, and the report as a whole."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import pytest

from bundle.base.errors import GraphError
from compile.tensorrt_checks.findings import Accepted
from compile.tensorrt_checks.run import lint_file, lint_model
from tests.architecture.source import ROOT
from tests.compile.tensorrt_checks.rules.made import GOOD, parse
from tests.compile.tensorrt_checks.rules.test_residual import FLOAT_SKIP

KNOWN = Accepted(rule="residual-input", node="Add.*", reason="exactness", measured="by hand")


def test_external_data_beside_the_file_is_read_where_a_rule_needs_it(tmp_path: Path) -> None:
    model = parse(GOOD.replace("int8 z = {0}", "int8 z = {1}"))
    ir.save(model, tmp_path / "model.onnx", external_data="weights.bin", size_threshold_bytes=0)
    assert (tmp_path / "weights.bin").is_file()
    assert [finding.rule for finding in lint_file(tmp_path / "model.onnx").findings] == ["symmetric-int8"]


def test_missing_external_data_is_named(tmp_path: Path) -> None:
    ir.save(parse(GOOD), tmp_path / "model.onnx", external_data="weights.bin", size_threshold_bytes=0)
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(GraphError, match="cannot be read as ONNX") as caught:
        lint_file(tmp_path / "model.onnx")
    assert "weights.bin" in caught.value.got


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08\x0a"])
def test_a_file_that_is_no_model(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(GraphError):
        lint_file(path)


# ru_maxrss would be this process's own where that is the larger: it is handed down; VmHWM (KiB) begins with the program.
LINT = """
import sys
from pathlib import Path
from compile.tensorrt_checks.run import lint_file
report = lint_file(Path(sys.argv[1]))
[peak] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(len(report.findings), peak)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak of memory is read from Linux's /proc")
def test_a_model_of_many_gigabytes_is_not_read_whole(tmp_path: Path) -> None:
    weight = onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[1 << 16, 1 << 14])
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    with (tmp_path / "weights.bin").open("wb") as stream:
        stream.truncate(1 << 32)  # 4 GiB, and not a block of it on the disk
    io = [onnx.helper.make_tensor_value_info(name, 1, [1, size]) for name, size in (("x", 1 << 16), ("y", 1 << 14))]
    graph = onnx.helper.make_graph([onnx.helper.make_node("MatMul", ["x", "w"], ["y"])], "g", io[:1], io[1:], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)])
    (tmp_path / "model.onnx").write_bytes(model.SerializeToString())
    findings, peak = subprocess.run(
        [sys.executable, "-c", LINT, str(tmp_path / "model.onnx")], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert findings == "0" and int(peak) < 1 << 20, f"{int(peak) >> 10} MiB at the peak"


def test_an_accepted_warning_carries_its_reason_and_counts_apart() -> None:
    report = lint_model(parse(FLOAT_SKIP), "made", (KNOWN,))
    assert [finding.accepted for finding in report.findings] == ["exactness"]
    assert (report.errors, report.warnings, len(report.accepted), report.unused) == ((), (), 1, ())


def test_an_acceptance_of_other_nodes_covers_nothing_and_is_named() -> None:
    report = lint_model(parse(FLOAT_SKIP), "made", (KNOWN.model_copy(update={"node": "Mul.*"}),))
    assert len(report.warnings) == 1
    assert report.unused == ("residual-input: Mul.*",)


def test_an_error_cannot_be_accepted() -> None:
    accepted = Accepted(rule="symmetric-int8", reason="because", measured="nothing")
    report = lint_model(parse(GOOD.replace("int8 z = {0}", "uint8 z = {0}")), "made", (accepted,))
    assert len(report.errors) == 1 and report.errors[0].accepted is None


CALLED = """<ir_version: 10, opset_import: ["" : 20, "own" : 1]>
g (float[2,3] x) => (float[2,3] y) <float[3] w = {1.5, -2.0, 0.25}> { y = own.scaled (x, w) }
<domain: "own", opset_import: ["" : 20]>
scaled (a, b) => (c) { d = Mul (a, b) c = Sub (d, b) }
"""


def test_linting_changes_no_number() -> None:
    """The function is inlined and shapes are inferred in the model itself."""
    model, x = ir.from_onnx_text(CALLED), np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    before = numbers(model, x)
    assert len(model.functions) == 1 and lint_model(model, "made").nodes == 2
    after = numbers(model, x)
    assert before.keys() == after.keys() == {"w", "y"}
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array)
    np.testing.assert_array_equal(after["y"], x * before["w"] - before["w"])


def numbers(model: ir.Model, x: np.ndarray) -> dict[str, np.ndarray]:
    """A model's weights and its answer by ONNX's own evaluator."""
    [y] = onnx.reference.ReferenceEvaluator(ir.to_proto(model)).run(None, {"x": x})
    weights = {name: value.const_value for name, value in model.graph.initializers.items()}
    return {"y": np.asarray(y), **{name: held.numpy().copy() for name, held in weights.items() if held is not None}}


@pytest.mark.slow
def test_no_model_that_the_onnx_package_carries_is_too_strange() -> None:
    folder = Path(onnx.__file__).parent / "backend" / "test" / "data"
    files = sorted(folder.rglob("*.onnx"))
    assert len(files) > 100
    findings = [finding for path in files for finding in lint_file(path).findings]
    assert {finding.rule for finding in findings} <= {  # none of them is quantized
        "known-opset",
        "known-operator",
        "narrowed-type",
    }
