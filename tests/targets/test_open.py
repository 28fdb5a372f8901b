from pathlib import Path

import numpy as np
import pytest

from bundle.base.errors import ArtifactError, TargetUnavailable
from bundle.formats.manifest import Bundle, BundleVariant, load_bundle
from targets.base import RunConfig
from targets.open import as_bundle_variant, as_variant, execution, open_session
from tests.bundle.made import PREPROCESS, TASKS, image, model
from tests.bundle.made_onnx import make
from tests.contract.flows import EXECUTED_ON

RUN = RunConfig(threads=1)


def bundle(folder: Path, name: str, tasks: dict[str, int] = TASKS) -> Bundle:
    """The bundle of tests/bundle/made_onnx.py for a target."""
    return load_bundle(make(folder / name, name, tasks=tasks))


@pytest.mark.parametrize(("name", "executed_on"), EXECUTED_ON.items())
def test_the_shipped_variant_is_opened_and_says_what_it_runs_on(tmp_path: Path, name: str, executed_on: str) -> None:
    session, ran_on = open_session(bundle(tmp_path, name), execute="auto", variant="", run=RUN)
    pixels = PREPROCESS.apply(image(3))
    with session:
        outputs = session.infer({"image": pixels})
    assert ran_on == executed_on
    for task, expected in model(pixels).items():
        np.testing.assert_allclose(outputs[task], expected, rtol=1e-5, atol=1e-6)
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
    made = bundle(tmp_path, "intel")
    with pytest.raises(TargetUnavailable, match="emulates no device"):
        open_session(made, execute="emulation", variant="", run=RUN)
    with pytest.raises(TargetUnavailable, match="OpenVINO has no device"):
        open_session(made, execute="auto", variant="", run=RunConfig(device="NPU.7"))
