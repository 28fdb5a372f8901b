"""Bundles that run, as OpenVINO IRs in float32: arithmetic of tensors, and the tiny model of camera frames."""

from pathlib import Path

import pytest

from bundle.formats.io_forms import Io
from bundle.formats.manifest import Bundle, BundleVariant, load_bundle, write_manifest
from bundle.formats.vectors import write_vectors
from calibration.image_files import fitted_images
from compile.export import export_module
from compile.stage.graph_info import GRAPH_FILE
from targets.table import target
from tests.bundle.made import SPEC, evaluated, hash_bundle, manifest
from tests.bundle.made import TASKS as SMALL
from tests.bundle.made_onnx import make
from tests.bundle.made_scenes import SPEC as SCENES
from tests.compile import made


def runnable(folder: Path, io: Io, name: str) -> Bundle:
    """Export the tiny model with an interface, and write a bundle of it for a target."""
    info = made.info(io)
    images = fitted_images(made.scenes(folder / "scenes"), "calibration", info.preprocess).first(1)
    exported = export_module(made.model(), info, folder / "exported", images, parent=None, threads=1)
    chosen, place = target(name), folder / "bundle"
    place.mkdir()
    files = chosen.convert(exported.folder / GRAPH_FILE, place / f"f32{chosen.graph_suffix}")
    write_vectors(place / "vectors.npz", evaluated(1), tasks=SMALL, spec=SPEC)
    recipe = {"name": "f32", "graph": "float", "hint": "f32", "reason": "a test"}
    inputs, outputs = info.interface
    changes = {
        "name": "tiny",
        "target": name,
        "tasks": info.tasks,
        "dataset": SCENES,
        "preprocess": info.preprocess,
        "inputs": inputs,
        "outputs": outputs,
        "variants": (BundleVariant(name="f32", precision="f32", files=tuple(files), recipe=recipe),),
        "files": hash_bundle(place),
    }
    write_manifest(place, manifest(place, io).model_copy(update=changes))
    return load_bundle(place)


@pytest.fixture(scope="session")
def edge_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """For intel, camera frames in."""
    return runnable(tmp_path_factory.mktemp("edge"), "edge", "intel")


@pytest.fixture(scope="session")
def raw_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """For intel, normalised tensors in."""
    return load_bundle(make(tmp_path_factory.mktemp("raw") / "bundle", "intel"))
