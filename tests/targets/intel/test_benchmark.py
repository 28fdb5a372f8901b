"""OpenVINO's benchmark_app beside our timing."""

import subprocess
from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13

from bundle.base.errors import TargetUnavailable
from targets.base import RunConfig
from targets.intel import benchmark, graph
from targets.intel.benchmark import time_with_tool, tool_arguments


def test_the_tools_settings_are_those_of_a_session(tmp_path: Path) -> None:
    run = RunConfig(device="GPU", model_cache=tmp_path)
    arguments = " ".join(tool_arguments(Path("/g.xml"), run, "f16", seconds=3, report=tmp_path))
    assert "-d GPU -hint latency -api sync -t 3 -infer_precision f16" in arguments and f"-cdir {tmp_path}" in arguments
    threads = " ".join(tool_arguments(Path("/g.xml"), RunConfig(threads=2), "f32", seconds=3, report=tmp_path))
    assert "-d CPU -hint none -nthreads 2" in threads


def test_it_measures_and_says_how(tmp_path: Path) -> None:
    image = opset13.parameter(
        [512, 512], np.float32, name="image"
    )  # large enough that the tool's two digits are not 0.00
    graph.save(openvino.Model([opset13.matmul(image, image, False, True)], [image], "g"), tmp_path / "g.xml")
    median, settings = time_with_tool(tmp_path / "g.xml", RunConfig(threads=1), "f32", seconds=1)
    assert median > 0
    assert int(settings["total number of iterations"]) > 0 and "-infer_precision f32" in settings["arguments"]


def test_a_graph_it_cannot_read_is_refused_in_its_words(tmp_path: Path) -> None:
    (tmp_path / "g.xml").write_text("no graph")
    with pytest.raises(TargetUnavailable, match="did not finish") as caught:
        time_with_tool(tmp_path / "g.xml", RunConfig(), "f32", seconds=1)
    assert caught.value.got


def answers(monkeypatch: pytest.MonkeyPatch, report: str | None) -> None:
    """Let the tool write ``report``; None: it hangs."""

    def run(command: list[str], *, cwd: str, timeout: float, **options: object) -> subprocess.CompletedProcess[str]:
        if report is None:
            raise subprocess.TimeoutExpired(command, timeout)
        (Path(cwd) / benchmark.STATISTICS).write_text(report)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(benchmark.subprocess, "run", run)


@pytest.mark.parametrize(
    ("report", "got"),
    [
        (None, "no end after 301 s"),
        ("{half", "JSONDecodeError"),
        ("{}", "execution_results"),
        ("[]", "TypeError"),
        ('{"execution_results": {"throughput": 1}}', "latency"),
        ('{"execution_results": {"latency (ms)": "fast"}}', "fast"),
    ],
)
def test_a_tool_that_hangs_or_reports_something_else_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, report: str | None, got: str
) -> None:
    answers(monkeypatch, report)
    with pytest.raises(TargetUnavailable, match="did not finish") as caught:
        time_with_tool(Path("/g.xml"), RunConfig(), "f32", seconds=1)
    assert got in caught.value.got


def test_the_cache_is_the_one_that_was_named_whatever_folder_the_tool_runs_in() -> None:
    arguments = tool_arguments(
        Path("/g.xml"), RunConfig(model_cache=Path("cache")), "f16", seconds=1, report=Path("/r")
    )
    assert arguments[arguments.index("-cdir") + 1] == str(Path("cache").resolve())
