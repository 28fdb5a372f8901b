"""The first stages run once for all tests of this folder."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

from bundle.formats.artifacts import Exported, Simplified
from bundle.formats.io_forms import Io
from bundle.tasks.dataset import FolderDataset
from calibration.image_files import ImageFiles
from calibration.sampling import CalibrationSet, from_folder
from compile.export import export_module
from compile.quantization.accuracy import AccuracyEvaluator, read_labelled
from compile.simplify import simplify
from tests.compile import made

FirstStages: TypeAlias = Callable[[Io], tuple[Exported, Simplified]]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny labelled folder."""
    return made.scenes(tmp_path_factory.mktemp("data") / "scenes")


@pytest.fixture(scope="session")
def dataset(scenes: Path) -> FolderDataset:
    """The same, read."""
    return FolderDataset(root=scenes, spec=made.SPEC)


@pytest.fixture
def evaluator(dataset: FolderDataset) -> AccuracyEvaluator:
    """An evaluator whose reference gives ``made.answer``."""
    info = made.INFO["raw"]
    found = AccuracyEvaluator(read_labelled(dataset, made.EVALUATION, info), info, dict.fromkeys(made.TASKS, 0.01), 0)
    found.set_reference(made.answer)
    return found


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny checkpoint."""
    return made.checkpoint(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def calibration(scenes: Path) -> CalibrationSet:
    """All its calibration images."""
    return from_folder(scenes, "calibration", 64, seed=0, preprocess=made.INFO["raw"].preprocess)


@pytest.fixture(scope="session")
def images(calibration: CalibrationSet) -> ImageFiles:
    """Two images for a stage's check."""
    return ImageFiles(paths=calibration.paths[:2])


@pytest.fixture(scope="session", params=["raw", pytest.param("edge", marks=pytest.mark.slow)])
def io(request: pytest.FixtureRequest) -> Io:
    """Both interfaces; most stages treat them alike, so the second one is for `make test-slow`."""
    chosen: Io = request.param
    return chosen


@pytest.fixture(scope="session")
def first_stages(images: ImageFiles, tmp_path_factory: pytest.TempPathFactory) -> FirstStages:
    """The tiny model by its interface, exported and simplified once: pytest makes a fixture with parameters again for each file."""

    @cache
    def run(io: Io) -> tuple[Exported, Simplified]:
        out = tmp_path_factory.mktemp(io)
        exported = export_module(made.model(), made.info(io), out / "exported", images, parent=None, threads=1)
        return exported, simplify(exported, out / "simplified", images, threads=1)

    return run


@pytest.fixture(scope="session")
def exported(io: Io, first_stages: FirstStages) -> Exported:
    """The tiny model as ONNX."""
    return first_stages(io)[0]


@pytest.fixture(scope="session")
def simplified(io: Io, first_stages: FirstStages) -> Simplified:
    """The same, simplified."""
    return first_stages(io)[1]
