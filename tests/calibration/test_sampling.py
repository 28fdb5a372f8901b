"""Drawing calibration images: seeded, checked, hashed; and what is reported or refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import DatasetError
from bundle.tasks.preprocess import Preprocess
from calibration.sampling import choose, from_folder, hold_out
from tests.bundle import made_scenes

PREPROCESS = Preprocess(height=made_scenes.SIZE[0], width=made_scenes.SIZE[1])
IDS = tuple(f"{number:03}" for number in range(20))


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    return made_scenes.write(tmp_path / "scenes", {"train": IDS}).root


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    folder = tmp_path / "bare"
    folder.mkdir()
    for seed in range(4):
        Image.fromarray(made_scenes.image(seed)).save(folder / f"{seed}.png")
    return folder


def test_a_draw_is_seeded_and_without_replacement() -> None:
    drawn = choose(IDS, 8, seed=1)
    assert drawn == choose(IDS, 8, seed=1) != choose(IDS, 8, seed=2)
    assert len(set(drawn)) == 8 and drawn == tuple(sorted(drawn))


def test_every_image_is_drawn_alike() -> None:
    counts = np.zeros(20)
    for seed in range(400):
        counts[[int(identifier) for identifier in choose(IDS, 5, seed=seed)]] += 1
    assert counts.min() > 60 and counts.max() < 140  # 100 expected, standard deviation 8.7


def test_a_count_below_one_is_refused() -> None:
    with pytest.raises(DatasetError, match="no image was asked for"):
        choose(IDS, 0, seed=0)


def test_a_split_gives_its_images_in_its_order(scenes: Path) -> None:
    drawn = from_folder(scenes, "train", 3, seed=0, preprocess=PREPROCESS)
    assert drawn.findings == () and len(drawn.ids) == 3
    for identifier, (name, image) in zip(drawn.ids, drawn.read(), strict=True):
        assert Path(name).stem == identifier
        np.testing.assert_array_equal(image, made_scenes.image(int(identifier)))
    (scenes / "train.txt").write_text("003\n001\n")
    assert from_folder(scenes, "train", 2, seed=0, preprocess=PREPROCESS).ids == ("003", "001")


def test_a_labelled_folder_needs_no_labels(scenes: Path) -> None:
    for path in (scenes / "semseg").iterdir():
        path.unlink()
    (scenes / "dataset.json").unlink()
    assert len(from_folder(scenes, "train", 20, seed=0, preprocess=PREPROCESS).ids) == 20


def test_a_bare_folder_gives_every_image(bare: Path) -> None:
    drawn = from_folder(bare, "train", 4, seed=0, preprocess=PREPROCESS)
    assert drawn.ids == ("0.png", "1.png", "2.png", "3.png") and drawn.findings == ()
    np.testing.assert_array_equal([image for _, image in drawn.read()][2], made_scenes.image(2))


def test_what_weakens_a_calibration_is_reported(bare: Path) -> None:
    Image.fromarray(made_scenes.image(2)).save(bare / "copy.png")
    Image.fromarray(np.full((*made_scenes.SIZE, 3), 7, np.uint8)).save(bare / "flat.png")
    (bare / "notes.txt").write_text("x")
    findings = from_folder(bare, "", 9, seed=0, preprocess=PREPROCESS).findings
    assert findings == (
        "only 6 images of the 9 asked for",
        "image flat.png is constant: every pixel is [7, 7, 7]",
        "images 2.png, copy.png hold the same pixels",
    )


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("large.npy", np.zeros((13, 16, 3), np.uint8), "wrong size"),
        ("nan.npy", np.full((*made_scenes.SIZE, 3), np.nan, np.float32), "NaN"),
        ("float.npy", np.zeros((*made_scenes.SIZE, 3), np.float32), "wrong dtype"),
    ],
)
def test_a_wrong_image_is_refused_by_name(bare: Path, name: str, array: np.ndarray, message: str) -> None:
    np.save(bare / name, array)
    with pytest.raises(DatasetError, match=message) as caught:
        from_folder(bare, "train", 64, seed=0, preprocess=PREPROCESS)
    assert caught.value.where == str(bare / name) and caught.value.exit_code == 2


@pytest.mark.parametrize(("make", "got"), [(True, "0 other files"), (False, "no such folder")])
def test_an_empty_folder_is_refused(tmp_path: Path, make: bool, got: str) -> None:
    folder = tmp_path / "empty"
    if make:
        folder.mkdir()
    with pytest.raises(DatasetError, match="no image here") as caught:
        from_folder(folder, "train", 64, seed=0, preprocess=PREPROCESS)
    assert caught.value.got == got and caught.value.where == str(folder)


def test_a_labelled_folder_without_the_split_is_refused(scenes: Path) -> None:
    with pytest.raises(DatasetError, match="no split 'calibration'"):
        from_folder(scenes, "calibration", 64, seed=0, preprocess=PREPROCESS)


def test_a_policy_takes_images_of_every_size(bare: Path) -> None:
    Image.fromarray(made_scenes.image(9)[:5]).save(bare / "small.png")
    with pytest.raises(DatasetError, match="wrong size"):
        from_folder(bare, "", 9, seed=0, preprocess=PREPROCESS)
    drawn = from_folder(bare, "", 9, seed=0, preprocess=PREPROCESS, policy="letterbox")
    kept, held = hold_out(drawn, bare, "", 2, seed=0)
    assert {image.shape for files in (drawn, kept, held) for _, image in files.read()} == {(*made_scenes.SIZE, 3)}
