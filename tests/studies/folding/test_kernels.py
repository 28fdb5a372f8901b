"""Kernels are summed by operator, and the page shows the dear ones."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from studies.folding.kernels import OpTime, ProfiledGraph, by_op, op_table, profile, totals
from studies.folding.run import kernel_rows
from targets.kernels import KernelTime, least

ROWS = tuple(
    OpTime(runtime="r", graph=graph, op=op, nodes=nodes, ms=ms)
    for graph, op, nodes, ms in (
        ("a", "MatMul", 3, 90.0),
        ("a", "Gelu", 1, 0.5),
        ("b", "MatMul", 4, 99.0),
        ("b", "Add", 2, 2.0),
        ("b", "Gelu", 1, 0.25),
    )
)


def test_each_node_keeps_its_least_time() -> None:
    runs = [KernelTime("n", "Add", 2.0), KernelTime("m", "Add", 1.0), KernelTime("n", "Add", 1.5)]
    assert sorted(least(runs)) == [KernelTime("m", "Add", 1.0), KernelTime("n", "Add", 1.5)]
    assert by_op("r", "g", least(runs)) == [OpTime(runtime="r", graph="g", op="Add", nodes=2, ms=2.5)]


def test_small_operators_share_a_line_and_the_sum_counts_them() -> None:
    assert totals(ROWS, "r") == {"a": 90.5, "b": 101.25} and totals(ROWS, "other") == {}
    assert op_table(ROWS, "r", ["a", "b"])[2:] == [
        "| MatMul | 90.0 (3) | 99.0 (4) |",
        "| Add |  | 2.0 (2) |",
        "| others | 0.5 (1) | 0.2 (1) |",
        "| **all** | **90.5** | **101.2** |",
    ]


def test_the_sums_give_the_same_numbers_without_judging() -> None:
    ms = {
        "baseline": 100.0,
        "folded_static": 109.0,
        "folded_dynamic": 104.0,
        "unfolded_static": 150.0,
        "unfolded_dynamic": 160.0,
        "unfolded_static_skills": 140.0,
    }
    parts = {f"adapter_{gate}_{n}": 10.0 + n for gate in ("static", "dynamic") for n in (1, 2)}
    rows = {row.name: row for row in kernel_rows("r", ms | parts)}
    static = rows["adapter overhead, folded, static gates, by kernels"]
    assert static.value == pytest.approx(0.09) and static.limit is None and static.met
    assert rows["unfolded over folded, whole model, dynamic gates, by kernels"].value == pytest.approx(160 / 104)
    assert rows["largest growth of the adapter part per task, static gates, by kernels"].value == pytest.approx(1 / 11)


def test_both_runtimes_name_what_they_run(tmp_path: Path) -> None:
    """A product is the dear one; the mean over axes that do not touch is a plain loop in OpenVINO."""
    weight = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], "product"),
        helper.make_node("Reshape", ["m", "shape"], ["r"], "cells"),
        helper.make_node("ReduceMean", ["r", "axes"], ["y"], "pool", keepdims=0),
    ]
    constants = {"w": weight, "shape": np.array([1, 16, 2, 16, 2, 256]), "axes": np.array([2, 4])}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1024, 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16, 16, 256])],
        [onnx.numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    feed = {"x": np.ones((1, 1024, 256), np.float32)}
    jobs = {}
    for runtime in ("openvino", "onnxruntime"):
        (tmp_path / runtime).mkdir()
        path = tmp_path / runtime / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
        jobs[runtime, "g"] = ProfiledGraph(path, feed)
    rows = profile(jobs, {"openvino": "intel", "onnxruntime": "reference"})
    ops = {runtime: {row.op for row in rows if row.runtime == runtime} for runtime in ("openvino", "onnxruntime")}
    assert {"FullyConnected", "ReduceMean (reference)"} <= ops["openvino"]
    assert {"MatMul", "ReduceMean"} <= ops["onnxruntime"]
    assert all(row.ms > 0 for row in rows)
