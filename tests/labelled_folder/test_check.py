"""A run names every fault of every file, and what it takes the build's own readers take."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import ConfigError, DatasetError
from bundle.tasks.preprocess import Preprocess
from labelled_folder.check import Use, check_folder
from labelled_folder.findings import FolderReport
from tests.bundle import made_scenes
from tests.cli.run import tdss

SCENES = Path(__file__).parents[2] / "data" / "scenes"
CALIBRATION, VAL = ("a", "b"), tuple(f"v{index}" for index in range(10))
ROWS, COLUMNS = made_scenes.SIZE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made_scenes.write(tmp_path / "data", {"calibration": CALIBRATION, "val": VAL})
    return tmp_path / "data"


def check(root: Path, **use: object) -> FolderReport:
    return check_folder(root, None, Use.model_validate(use), lambda ids: ids)


def save(root: Path, name: str, array: np.ndarray) -> None:
    Image.fromarray(array).save(root / name)


def test_a_folder_without_a_fault_has_the_counts_that_are_in_it(root: Path) -> None:
    report = check(root, tasks=("semseg", "depth"))
    assert report.of("error") == () and report.sizes == {f"{ROWS}×{COLUMNS}": 12}
    [calibration, val] = report.splits
    assert (calibration.ids, val.ids) == (2, 10)
    labels = np.stack([made_scenes.labels(seed)["semseg"] for seed in range(2, 12)])
    [semseg, depth] = val.tasks
    assert (semseg.usable, semseg.missing, semseg.counted) == (10, 0, 10)
    assert semseg.pixels["floor"] == pytest.approx((labels == 1).mean())
    assert semseg.images == {"wall": 10, "floor": 10, "person": 10} and set(depth.pixels) == {"valid"}


def test_every_fault_of_every_file_is_named_in_one_run(root: Path) -> None:
    (root / "image" / "v0.png").unlink()
    (root / "image" / "v1.png").write_bytes(b"no picture")
    (root / "semseg" / "v2.png").unlink()
    save(root, "semseg/v3.png", np.full((ROWS, COLUMNS + 1), 9, np.uint8))  # two faults: a value and the size
    save(root, "depth/v4.png", np.zeros((ROWS, COLUMNS), np.uint8))
    save(root, "edge/v4.png", np.full((ROWS, COLUMNS), 3, np.uint8))
    save(root, "image/v5.png", np.zeros((ROWS, COLUMNS), np.uint16))
    (root / "val.txt").write_text("\n".join((*VAL, "v9", "../x")))
    errors = [(Path(one.where).name, one.message) for one in check(root).of("error")]
    expected = [
        ("val.txt", "'v9' occurs twice"),
        ("val.txt", "'../x' is not an id"),
        ("image", "'v0' has no file"),
        ("v1.png", "cannot be read"),
        ("v2.png", "semseg label is missing"),
        ("v3.png", "values that mean nothing"),
        ("v3.png", "differ in size"),
        ("v4.png", "wrong mode"),
        ("v4.png", "values that mean nothing"),
        ("v5.png", "wrong mode"),
    ]
    for name, words in expected:
        assert any(name == where and words in message for where, message in errors), (name, words)
    assert len(errors) == len(expected)


def turned(axis: int) -> Callable[[np.ndarray], np.ndarray]:
    """Reverse an axis of encoded normals."""

    def change(encoded: np.ndarray) -> np.ndarray:
        encoded[..., axis] = 255 - encoded[..., axis]
        return encoded

    return change


def room() -> np.ndarray:
    """Normals of a room: the ceiling points down, the floor up, the wall at the left to the right, that at the right to the left."""
    vectors = np.zeros((ROWS, COLUMNS, 3))
    vectors[..., 2] = 1
    vectors[:4, :, 1], vectors[-4:, :, 1] = -1, 1
    vectors[:, :4, 0], vectors[:, -4:, 0] = 1, -1
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.rint((vectors + 1) * 127.5).astype(np.uint8)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda normals: normals, ""),
        (turned(0), "x may be reversed"),
        (turned(1), "y may be reversed"),
        (turned(2), "z may be reversed"),
        (lambda normals: np.where(np.arange(COLUMNS)[:, None] < 2, np.uint8(127), normals), "invalid may be stored"),
    ],
)
def test_axes_that_look_reversed_are_named(root: Path, change: Callable[[np.ndarray], np.ndarray], words: str) -> None:
    for identifier in VAL:
        save(root, f"normals/{identifier}.png", change(room()))
    found = [one.message for one in check(root, tasks=("normals",)).of("warning") if "of val" in one.got]
    assert [words in message for message in found] == [True] * bool(words)


@pytest.mark.parametrize(("unit", "doubted"), [(0.001, False), (1.0, True), (0.00001, True)])
def test_a_depth_that_no_camera_sees_is_named(root: Path, unit: float, doubted: bool) -> None:
    spec = json.loads((root / "dataset.json").read_text()) | {"depth_unit_m": unit}
    (root / "dataset.json").write_text(json.dumps(spec))
    report = check(root, tasks=("depth",))
    assert any("depth_unit_m" in one.message for one in report.of("warning")) == doubted and report.of("error") == ()


def test_splits_that_share_ids_or_pictures_are_an_error(root: Path) -> None:
    (root / "calibration.txt").write_text("a\nv7\n")
    save(root, "image/a.png", made_scenes.image(2))  # v0's pixels
    messages = {one.message: one.got for one in check(root).of("error")}
    assert messages == {"the splits calibration and val share images": "v7", "2 images hold the same pixels": "a, v0"}


def test_sizes_are_one_error_or_one_for_each_image(root: Path) -> None:
    small = np.zeros((4, 4, 3), np.uint8)
    for identifier in ("a", "b"):
        save(root, f"image/{identifier}.png", small + ord(identifier))
        for name in made_scenes.labels(0):
            (root / name / f"{identifier}.png").unlink()
    report = check(root)
    assert [one.message for one in report.of("error")] == ["the images have different sizes"]
    assert report.sizes == {"4×4": 2, f"{ROWS}×{COLUMNS}": 10}
    sized = check(root, size=Preprocess(height=ROWS, width=COLUMNS)).of("error")
    assert [(one.message, Path(one.where).name) for one in sized] == [
        ("the image has the wrong size", "a.png"),
        ("the image has the wrong size", "b.png"),
    ]


@pytest.mark.parametrize(("policy", "refused"), [("letterbox", []), ("pad", ["c.png"])])
def test_a_declared_policy_takes_every_size(root: Path, policy: str, refused: list[str]) -> None:
    save(root, "image/c.png", np.ones((4, COLUMNS + 1, 3), np.uint8))
    (root / "calibration.txt").write_text("a\nb\nc\n")
    spec = json.loads((root / "dataset.json").read_text()) | {"schema_version": 2, "size_policy": policy}
    (root / "dataset.json").write_text(json.dumps(spec))
    assert check(root).of("error") == ()
    errors = check(root, size=Preprocess(height=ROWS, width=COLUMNS)).of("error")
    assert [Path(one.where).name for one in errors] == refused


def test_what_is_few_missing_or_unused_is_a_warning(root: Path) -> None:
    (root / "val.txt").write_text("\n".join(VAL[:9]))
    (root / "depth" / "a.png").unlink()
    (root / "normal").mkdir()
    warnings = [one.message for one in check(root, tasks=("depth",)).of("warning")]
    assert warnings == [
        "1 images of calibration have no depth label",
        "9 images count for depth, so its verdict is inconclusive",
        "1 files of depth belong to no split",
        "1 files of edge belong to no split",
        "1 files of human_parts belong to no split",
        "1 files of image belong to no split",
        "the folder normal is not read",
        "1 files of normals belong to no split",
        "1 files of saliency belong to no split",
        "1 files of semseg belong to no split",
    ]


def test_a_folder_with_a_suffix_holds_labels_of_a_task(root: Path) -> None:
    shutil.copytree(root / "depth", root / "depth-left")
    (root / "depth-Left!").mkdir()
    (root / "depth-left" / "v1.png").write_bytes(b"")
    report = check(root)
    assert [one.message for one in report.of("error")] == ["v1.png cannot be read"]
    assert "the folder depth-Left! is not read" in [one.message for one in report.of("warning")]


def test_without_a_spec_the_images_are_read_all_the_same(root: Path) -> None:
    (root / "dataset.json").unlink()
    (root / "image" / "v1.png").write_bytes(b"")
    assert [one.message for one in check(root).of("error")] == ["the data set has no spec", "v1.png cannot be read"]


def test_images_alone_are_enough_for_a_network_of_another_origin(root: Path) -> None:
    (root / "dataset.json").unlink()
    for task in ("semseg", "human_parts", "saliency", "normals", "depth", "edge"):
        shutil.rmtree(root / task, ignore_errors=True)
    report = check(root)
    assert not report.of("error") and report.splits[1].ids == len(VAL)
    assert [one.message for one in report.of("warning")] == ["there are neither labels nor a spec"]


def test_a_wrong_word_is_an_error_of_its_own(root: Path) -> None:
    with pytest.raises(ConfigError, match="unknown task 'deph'"):
        check(root, tasks=("deph",))
    with pytest.raises(DatasetError, match="no such folder"):
        check(root / "x")


@pytest.mark.parametrize(("arguments", "code"), [((), 0), (("--strict",), 2), (("--size", "3", "4"), 2)])
def test_the_command_ends_with_2_where_a_build_would_refuse(
    root: Path, arguments: tuple[str, ...], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "depth" / "a.png").unlink()
    ended, text, _ = tdss("data", "check", str(root), "--json", *arguments, capsys=capsys)
    assert ended == code and FolderReport.model_validate_json(text).sizes == {f"{ROWS}×{COLUMNS}": 12}
    ended, text, _ = tdss("data", "check", str(root), *arguments, capsys=capsys)
    assert ended == code and text.splitlines()[-1].endswith("warnings")


def test_the_shipped_scenes_have_nothing_that_looks_wrong() -> None:
    findings = check(SCENES, evaluation="calibration", tasks=("normals", "depth")).findings
    assert [one.message for one in findings if not one.message.endswith("belong to no split")] == []
