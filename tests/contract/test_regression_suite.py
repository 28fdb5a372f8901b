"""``pytest tests/regression --bundle`` as a person types it: a sound bundle passes, a worse or altered one fails by name.

The graph is the arithmetic of tests/bundle/made.py as ONNX, converted for each target that this machine can open.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundle.manifest import BundleVariant, hash_bundle, write_manifest
from bundle.vectors import write_vectors
from targets.base import RunConfig
from targets.table import target
from tests.bundle.made import HEIGHT, SPEC, TASKS, WIDTH, evaluated, manifest

ROOT = Path(__file__).resolve().parents[2]
COUNT = 9


def graph(noise: float = 0.0) -> onnx.ModelProto:
    """The colour mixing of ``made.model`` as 1×1 convolutions; ``noise`` disturbs the weights of depth."""
    nodes, weights = [], []
    for index, (name, channels) in enumerate(TASKS.items()):
        mix = np.random.default_rng(100 + index).normal(size=(channels, 3)).astype(np.float32)
        bias = np.full(channels, 2.0 if name == "depth" else 0.0, np.float32)
        mix = mix * np.float32(1 + noise) if name == "depth" else mix
        weights += [
            numpy_helper.from_array(mix[:, :, None, None], f"{name}.weight"),
            numpy_helper.from_array(bias, f"{name}.bias"),
        ]
        nodes.append(helper.make_node("Conv", ["image", f"{name}.weight", f"{name}.bias"], [name], name=f"{name}/conv"))
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, HEIGHT, WIDTH))]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, channels, HEIGHT, WIDTH))
        for name, channels in TASKS.items()
    ]
    made = helper.make_model(helper.make_graph(nodes, "made", inputs, outputs, weights), ir_version=9)
    made.opset_import[0].version = 20
    onnx.checker.check_model(made)
    return made


def make(folder: Path, name: str, noise: float = 0.0) -> Path:
    """Write a bundle of ``graph`` for a target."""
    chosen = target(name)
    recipe = next(r for r in chosen.variants(chosen.capabilities(RunConfig())) if r.name == "f32")
    (folder / "f32").mkdir(parents=True)
    onnx.save(graph(noise), folder / "source.onnx")
    suffix = "xml" if chosen.graph_format == "openvino" else "onnx"
    files = chosen.convert(folder / "source.onnx", folder / "f32" / f"model.{suffix}")
    (folder / "source.onnx").unlink()
    write_vectors(folder / "vectors.npz", evaluated(COUNT), tasks=TASKS, spec=SPEC)
    variant = BundleVariant(
        name="f32", precision="f32", files=tuple(f"f32/{file}" for file in files), recipe=recipe.model_dump()
    )
    changes = {"target": name, "variants": (variant,), "files": hash_bundle(folder)}
    write_manifest(folder, manifest(folder).model_copy(update=changes))
    return folder


def judge(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run the suite in a process of its own."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "-q",
        "tests/regression",
        "--bundle",
        str(folder),
    ]
    return subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "executed_on"), [("reference", "device"), ("intel", "device"), ("jetson", "emulation")]
)
def test_a_sound_bundle_passes_and_says_so(tmp_path: Path, name: str, executed_on: str) -> None:
    done = judge(make(tmp_path / name, name))
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / name / "regression.json").read_text())
    assert report["passed"] and report["executed_on"] == executed_on and report["images"] == COUNT
    assert report["device"]["name"] and set(report["tasks"]) == set(TASKS)
    assert f"{4 * len(TASKS) + 3} passed, 1 skipped" in done.stdout  # no --data given


def test_a_worse_task_fails_alone_and_is_named(tmp_path: Path) -> None:
    done = judge(make(tmp_path / "worse", "reference", noise=0.5))
    assert done.returncode == 1
    failed = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("FAILED")]
    tests = "tests/regression/test_bundle.py::test_"
    assert {f"{tests}budget[depth]", f"{tests}the_whole_report_passes"} <= set(failed)
    assert all("depth" in name or "whole" in name for name in failed)
    assert "depth: rmse_m" in done.stdout and "regression" in done.stdout
    assert json.loads((tmp_path / "worse" / "regression.json").read_text())["passed"] is False


@pytest.mark.parametrize("name", ["f32/model.onnx", "vectors.npz", "manifest.json"])
def test_an_altered_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "altered", "reference")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    done = judge(folder)
    assert done.returncode != 0 and f"{name} was altered" in done.stdout + done.stderr
    assert not (folder / "regression.json").exists()
