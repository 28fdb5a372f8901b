from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from bundle.errors import ArtifactError, TargetUnavailable
from bundle.manifest import Bundle, BundleVariant
from targets.base import RunConfig
from targets.open import as_bundle_variant, as_variant, execution, open_session
from targets.table import target
from tests.bundle.made import HEIGHT, TASKS, WIDTH, manifest

RUN = RunConfig(threads=1)


def one_conv_per_task(tasks: dict[str, int]) -> onnx.ModelProto:
    """A graph with the interface of a bundle: each task's output is the sum of the image's channels times its index."""
    size = (HEIGHT, WIDTH)
    weights = [
        numpy_helper.from_array(np.full((n, 3, 1, 1), i, np.float32), f"{t}.w")
        for i, (t, n) in enumerate(tasks.items())
    ]
    nodes = [helper.make_node("Conv", ["image", f"{name}.w"], [name]) for name in tasks]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, *size))
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, n, *size)) for name, n in tasks.items()]
    graph = helper.make_graph(nodes, "tasks", [image], outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def bundle(folder: Path, name: str, tasks: dict[str, int] = TASKS) -> Bundle:
    """An unsealed bundle of that graph for a target, with every variant that runs the float graph."""
    chosen = target(name)
    onnx.save(one_conv_per_task(tasks), folder / "source.onnx")
    files = chosen.convert(
        folder / "source.onnx", folder / ("g.xml" if chosen.graph_format == "openvino" else "g.onnx")
    )
    offers = [offer for offer in chosen.variants(chosen.capabilities(RUN)) if offer.graph == "float"]
    variants = tuple(BundleVariant(name=o.name, precision=o.name, files=files, recipe=o.model_dump()) for o in offers)
    return Bundle(folder=folder, manifest=manifest(folder).model_copy(update={"target": name, "variants": variants}))


@pytest.mark.parametrize(
    ("name", "executed_on"), [("reference", "device"), ("intel", "device"), ("jetson", "emulation")]
)
def test_the_shipped_variant_is_opened_and_says_what_it_runs_on(tmp_path: Path, name: str, executed_on: str) -> None:
    session, ran_on = open_session(bundle(tmp_path, name), execute="auto", variant="", run=RUN)
    with session:
        outputs = session.infer({"image": np.ones((1, 3, HEIGHT, WIDTH), np.float32)})
    assert ran_on == executed_on
    assert [float(outputs[task].max()) for task in TASKS] == [3.0 * index for index in range(len(TASKS))]
    told = execution(session)
    assert (told.executed_on, told.precision) == (executed_on, "f32")
    assert told.device.name == session.info.capabilities.device_name


def test_a_variant_survives_the_manifest() -> None:
    stored = BundleVariant(
        name="int8",
        precision="int8",
        files=("int8.xml", "int8.bin"),
        recipe={"name": "int8", "graph": "quantized", "hint": "f32", "reason": "a test"},
    )
    assert as_bundle_variant(as_variant(stored)) == stored


def test_a_strange_recipe_or_variant_is_refused(tmp_path: Path) -> None:
    made = bundle(tmp_path, "reference")
    with pytest.raises(ArtifactError, match="no variant 'int4'"):
        open_session(made, execute="auto", variant="int4", run=RUN)
    with pytest.raises(ArtifactError, match="recipe of variant 'f32' cannot be read") as caught:
        as_variant(made.manifest.variants[0].model_copy(update={"recipe": {"name": "f32", "bits": "32"}}))
    assert "bits" in caught.value.got


def test_a_graph_with_another_interface_than_the_manifest_s_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="outputs are not what was recorded") as caught:
        open_session(bundle(tmp_path, "intel", {**TASKS, "semseg": 5}), execute="auto", variant="", run=RUN)
    assert "semseg float32 (1, 5," in caught.value.got


def test_execute_is_obeyed(tmp_path: Path) -> None:
    with pytest.raises(TargetUnavailable):
        open_session(bundle(tmp_path, "intel"), execute="emulation", variant="", run=RUN)
    with pytest.raises(TargetUnavailable):
        open_session(bundle(tmp_path, "intel"), execute="auto", variant="", run=RunConfig(device="NPU.7"))
