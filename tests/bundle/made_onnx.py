"""The bundle of tests/bundle/made.py with a graph that runs: the same arithmetic as ONNX, converted for a target."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from bundle.formats.manifest import BundleVariant, write_manifest
from bundle.formats.vectors import write_vectors
from targets.base import RunConfig
from targets.table import target
from tests.bundle.made import HEIGHT, SPEC, TASKS, WIDTH, evaluated, hash_bundle, manifest

COUNT = 12


def graph(noise: float = 0.0, tasks: Mapping[str, int] = TASKS) -> onnx.ModelProto:
    """The colour mixing of ``made.model`` as 1×1 convolutions; ``noise`` disturbs the weights of depth."""
    nodes, weights = [], []
    for index, (name, channels) in enumerate(tasks.items()):
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
        for name, channels in tasks.items()
    ]
    made = helper.make_model(helper.make_graph(nodes, "made", inputs, outputs, weights), ir_version=9)
    made.opset_import[0].version = 20
    onnx.checker.check_model(made)
    return made


def make(folder: Path, name: str, noise: float = 0.0, tasks: Mapping[str, int] = TASKS) -> Path:
    """Write a bundle of ``graph`` for a target, its manifest as if the graph had the outputs of ``TASKS``."""
    chosen = target(name)
    recipe = next(r for r in chosen.variants(chosen.capabilities(RunConfig())) if r.name == "f32")
    folder.mkdir(parents=True)
    onnx.save(graph(noise, tasks), folder / "source.onnx")
    files = chosen.convert(folder / "source.onnx", folder / f"f32{chosen.graph_suffix}")
    (folder / "source.onnx").unlink()
    write_vectors(folder / "vectors.npz", evaluated(COUNT), tasks=TASKS, spec=SPEC)
    variant = BundleVariant(name="f32", precision="f32", files=files, recipe=recipe.model_dump())
    changes = {"target": name, "variants": (variant,), "files": hash_bundle(folder)}
    write_manifest(folder, manifest(folder).model_copy(update=changes))
    return folder
