"""The runtime's own benchmark beside our timing: what it says is kept, and its failure ends nothing.

The tools are FAKES: no engine was built, no trtexec was run, and nothing ran on hardware.
"""

from pathlib import Path

import pytest

from bundle.base.errors import TargetUnavailable
from bundle.formats.manifest import Bundle
from bundle.judging.choice import Percentiles, VariantLatency
from targets.base import RunConfig, VendorBenchmark
from targets.decide import latency_line
from targets.jetson import target as jetson
from targets.jetson.builder import EngineFile
from targets.table import TARGETS
from targets.vendor_benchmark import with_vendor_timing
from tests.bundle.made import manifest

TOOLS = {name: one.vendor_benchmark for name, one in TARGETS.items() if one.vendor_benchmark}
ROW = VariantLatency(with_copies=Percentiles(p50_ms=7.0, p90_ms=7.5, p99_ms=9.0, runs=5))
ENGINE = EngineFile("f16-abc.engine", b"an engine")
RECIPE = {"name": "f16", "graph": "fp16", "hint": "f16", "reason": "a test"}


def bundle(folder: Path, target: str) -> Bundle:
    (folder / "f32.onnx").write_bytes(b"a graph")
    made = manifest(folder)
    variant = made.variants[0].model_copy(update={"recipe": RECIPE})
    return Bundle(folder=folder, manifest=made.model_copy(update={"target": target, "variants": (variant,)}))


def test_trtexec_is_asked_about_the_engine_that_our_session_runs(monkeypatch, tmp_path: Path) -> None:
    """FAKES of the engine's place and of trtexec, with invented milliseconds."""
    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(jetson, "find_device", lambda: None)
    monkeypatch.setattr(jetson, "_engine", lambda *given: ENGINE)
    monkeypatch.setattr(
        jetson,
        "time_with_trtexec",
        lambda engine, seconds: asked.append((engine.read_bytes(), seconds)) or (7.2, 6.1, {"a": f"--load={engine}"}),
    )
    opened = bundle(tmp_path, "jetson")
    row = with_vendor_timing(ROW, opened, "f32", RunConfig(), 4, lambda line: None)
    assert asked == [(ENGINE.content, 4)]
    assert (row.tool, row.tool_median_ms, row.tool_compute_ms) == ("trtexec", 7.2, 6.1)
    assert row.tool_settings == {"a": f"--load={tmp_path}/engines/{ENGINE.name}"}
    assert latency_line("f16", row).endswith("trtexec median 7.20 ms, 6.10 ms without copies")


@pytest.mark.parametrize("target", TOOLS)
def test_a_tool_that_fails_is_said_and_ends_nothing(monkeypatch, tmp_path: Path, target: str) -> None:
    def fails(*given: object) -> None:
        raise TargetUnavailable("it did not finish", expected="a", got="killed", where="c", fix="d")

    tool = TOOLS[target].name
    monkeypatch.setattr(type(TARGETS[target]), "vendor_benchmark", VendorBenchmark(tool, fails))
    said: list[str] = []
    row = with_vendor_timing(ROW, bundle(tmp_path, target), "f32", RunConfig(), 1, said.append)
    assert row.tool_median_ms is None and row.tool_settings == {"failed": "it did not finish: killed"}
    assert said[-1] == "f32: it did not finish: killed"
    assert latency_line("f16", row).endswith(f"{tool} it did not finish: killed")


def test_a_runtime_without_a_tool_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    assert with_vendor_timing(ROW, bundle(tmp_path, "reference"), "f32", RunConfig(), 1, said.append) is ROW
    assert "no benchmark of its own" in said[0]
