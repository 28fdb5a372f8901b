"""OpenVINO's benchmark_app beside our timing."""

from pathlib import Path

import numpy as np
import openvino
import pytest
from openvino import opset13

from bundle.errors import TargetUnavailable
from targets.base import RunConfig
from targets.intel import graph
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
