"""Cutting the small set: the same source and seed give the same bytes, and the committed set is one."""

from pathlib import Path

import pytest

from bundle.formats.artifacts import hash_folder
from bundle.tasks.dataset import FolderDataset, load_spec, read_ids
from calibration.sampling import choose
from compile.stage.command import run_script
from studies.scenes_subset import CALIBRATION_COUNT, cut, main
from tests.bundle import made_scenes
from tests.exits import exit_code

SCENES = Path(__file__).parents[2] / "data" / "scenes"
TRAIN = tuple(f"t{number}" for number in range(9))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return made_scenes.write(tmp_path / "source", {"train": TRAIN, "val": ("v0", "v1")}).root


def test_it_is_the_same_every_time(source: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        cut(source, source / "dataset.json", tmp_path / name, count=4, seed=3)
    assert hash_folder(tmp_path / "one") == hash_folder(tmp_path / "two")
    assert read_ids(tmp_path / "one" / "calibration.txt") == choose(TRAIN, 4, seed=3)


def test_it_is_a_labelled_folder_of_unchanged_files(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cut(source, source / "dataset.json", out, count=4, seed=3)
    dataset = FolderDataset(root=out, spec=load_spec(out / "dataset.json"))
    assert [dataset.label(task, "v1").size for task in made_scenes.labels(0)]
    before, after = hash_folder(source), hash_folder(out)
    assert {name: digest for name, digest in after.items() if before.get(name) != digest}.keys() == {"calibration.txt"}
    assert len([name for name in after if name.startswith("image/")]) == 6


def test_a_missing_label_is_refused(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "edge" / "v1.png").unlink()
    arguments = ["--source", str(source), "--spec", str(source / "dataset.json"), "--out", str(tmp_path / "out")]
    assert exit_code(run_script, main, arguments) == 2
    assert "v1.png" in capsys.readouterr().err


def test_the_committed_calibration_split_is_of_that_count() -> None:
    assert len(read_ids(SCENES / "calibration.txt")) == CALIBRATION_COUNT
