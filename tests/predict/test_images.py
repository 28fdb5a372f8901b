"""``tdss predict`` on image files: the files that it writes are what the model's arithmetic says, at the image's own size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.transport.archive import pack
from tests.bundle.made import HEIGHT, TASKS, WIDTH, image
from tests.cli.run import tdss
from tests.predict.seen import NAMES, colours_of, files_below, lines_of, maps_of, read

ALL = "maps,overlays,sheets,arrays,millimetres"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of three images of the model's size, and a file that is none."""
    there = tmp_path / "images"
    there.mkdir()
    for index in range(3):
        Image.fromarray(image(index)).save(there / f"{index}.png")
    (there / "notes.txt").write_text("none")
    return there


def test_every_file_of_an_image_is_what_the_model_says(made: Path, tmp_path: Path, folder: Path, capsys) -> None:
    out = tmp_path / "out"
    code, text, _ = tdss(
        "predict", str(made), str(folder), "--out", str(out), "--write", ALL, "--alpha", "0.25", "--json", capsys=capsys
    )
    frames, last = lines_of(text)
    assert code == 0 and last["frames"] == 3 and last["variant"] == "f32" and last["live"] is False
    assert set(last["ms"]) == {"decode", "pre", "infer", "post", "draw", "write", "whole"}
    assert files_below(out) == sorted(name for frame in frames for name in frame["files"])
    for index in range(3):
        maps, colours = maps_of(image(index)), colours_of(image(index))
        with np.load(out / "arrays" / f"{index}.npz", allow_pickle=False) as arrays:
            assert list(arrays) == NAMES
            for name in NAMES:
                np.testing.assert_allclose(arrays[name], maps[name], atol=1e-5)
        millimetres = read(out / "millimetres" / "depth" / f"{index}.png")
        assert millimetres.dtype == np.uint16 and np.abs(millimetres - maps["depth"] * 1000).max() <= 0.51
        for name in NAMES:
            drawn = read(out / "maps" / name / f"{index}.png").astype(int)
            assert np.abs(drawn - colours[name]).max() <= 1
            mixed = 0.25 * colours[name] + 0.75 * image(index)
            assert np.abs(read(out / "overlays" / name / f"{index}.png") - mixed).max() <= 1
        sheet = read(out / "sheets" / f"{index}.png").astype(int)
        assert sheet.shape == (2 * HEIGHT + 4, 4 * WIDTH + 3 * 4, 3)
        assert np.array_equal(sheet[:HEIGHT, :WIDTH], image(index)) and (sheet[-HEIGHT:, -WIDTH:] == 255).all()
        assert np.abs(sheet[-HEIGHT:, :WIDTH] - colours[NAMES[3]]).max() <= 1


def test_a_subset_of_tasks_and_of_images(made: Path, tmp_path: Path, folder: Path, capsys) -> None:
    words = ("--tasks", "depth,semseg", "--write", "maps", "--every", "2")
    pattern = str(folder / "*.png")
    assert tdss("predict", str(made), pattern, "--out", str(tmp_path / "out"), *words, capsys=capsys)[0] == 0
    assert files_below(tmp_path / "out") == [
        f"maps/{name}/{index}.png" for name in ("depth", "semseg") for index in (0, 2)
    ]
    words = ("--tasks", "depth", "--write", "maps", "--limit", "1")
    code, text, _ = tdss("predict", str(made), pattern, "--out", str(tmp_path / "one"), *words, capsys=capsys)
    assert code == 0 and files_below(tmp_path / "one") == ["maps/depth/0.png"] and "1 frames" in text


def test_an_archive_and_an_npy_file(made: Path, tmp_path: Path, capsys) -> None:
    archive = pack(made, tmp_path / "a.zip")
    np.save(tmp_path / "x.npy", image(5))
    words = ("--write", "arrays", "--out", str(tmp_path / "out"))
    assert tdss("predict", str(archive), str(tmp_path / "x.npy"), *words, capsys=capsys)[0] == 0
    with np.load(tmp_path / "out" / "arrays" / "x.npz", allow_pickle=False) as arrays:
        assert np.array_equal(arrays["semseg"], maps_of(image(5))["semseg"])


def test_an_image_is_seen_upright_and_its_maps_have_its_own_size(made: Path, tmp_path: Path, capsys) -> None:
    """Orientation 6 is shown turned clockwise: 24 × 32 stored pixels are shown as 32 × 24."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image(1)).save(tmp_path / "turned.png", exif=exif)
    shown = np.ascontiguousarray(np.rot90(image(1), -1))
    words = ("--out", str(tmp_path / "out"), "--write", "arrays")
    code, _, err = tdss("predict", str(made), str(tmp_path / "turned.png"), *words, capsys=capsys)
    assert code == 2 and "--fit" in err and "height 32, width 24" in err and files_below(tmp_path / "out") == []
    code, _, _ = tdss("predict", str(made), str(tmp_path / "turned.png"), "--fit", "stretch", *words, capsys=capsys)
    pillow = Image.fromarray(shown).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    expected = np.asarray(Image.fromarray(maps_of(np.asarray(pillow))["depth"]).resize((HEIGHT, WIDTH), 2))
    with np.load(tmp_path / "out" / "arrays" / "turned.npz", allow_pickle=False) as arrays:
        assert code == 0 and {arrays[name].shape[-2:] for name in TASKS} == {(32, 24)}
        np.testing.assert_allclose(arrays["depth"], expected, atol=0.05)


def test_images_of_one_name_in_several_folders_keep_their_folders(made: Path, tmp_path: Path, capsys) -> None:
    for index, name in enumerate(("a/x.png", "b/x.png", "b/x.jpg")):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image(index)).save(tmp_path / "in" / name)
    words = ("--out", str(tmp_path / "out"), "--write", "sheets")
    assert tdss("predict", str(made), str(tmp_path / "in" / "*" / "*"), *words, capsys=capsys)[0] == 0
    assert files_below(tmp_path / "out") == ["sheets/a/x.png.png", "sheets/b/x.jpg.png", "sheets/b/x.png.png"]


def test_a_damaged_image_is_named_and_what_was_finished_stays(made: Path, tmp_path: Path, folder: Path, capsys) -> None:
    (folder / "1.png").write_bytes((folder / "1.png").read_bytes()[:40])
    words = ("--out", str(tmp_path / "out"), "--write", "maps,arrays", "--tasks", "depth")
    code, _, err = tdss("predict", str(made), str(folder), *words, capsys=capsys)
    assert code == 2 and f"where:    {folder / '1.png'}" in err and err.count("error:") == 1
    assert files_below(tmp_path / "out") == ["arrays/0.npz", "maps/depth/0.png"]


@pytest.mark.parametrize(
    ("source", "words", "message"),
    [
        ("empty", (), "the folder has no images"),
        ("images/*.jpg", (), "nothing matches the pattern"),
        ("images/*", (), "matches something that is no image"),
        ("missing.png", (), "there is no such source"),
        ("images/notes.txt", (), "the video cannot be read"),
        ("images", ("--tasks", "semseg,cats"), "--tasks names something that there is not"),
        ("images", ("--write", "pictures"), "--write names something that there is not"),
        ("images", ("--write", "millimetres", "--tasks", "semseg"), "none of the tasks is a distance"),
        ("images", ("--alpha", "1.5"), "the command line is wrong"),
        ("images", ("--every", "0"), "the command line is wrong"),
        ("images", ("--fit", "cut"), "the command line is wrong"),
        ("images", ("--variant", "int4"), "no variant 'int4'"),
    ],
)
def test_what_cannot_be_used_is_one_error_and_nothing_is_written(
    made: Path, tmp_path: Path, folder: Path, source: str, words: tuple[str, ...], message: str, capsys
) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = tdss(
        "predict", str(made), str(tmp_path / source), "--out", str(tmp_path / "out"), *words, capsys=capsys
    )
    assert code == 2 and message in err and err.count("error:") == 1 and err.count("fix:") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["text.png", "text.jpg", "text.npy", "folder.png"])
def test_a_file_that_is_no_image_is_one_error(made: Path, tmp_path: Path, name: str, capsys) -> None:
    """Behind a pattern, after an image that is one: what was finished of that stays."""
    (tmp_path / "in").mkdir()
    Image.fromarray(image(0)).save(tmp_path / "in" / "a.png")
    if name == "folder.png":
        (tmp_path / "in" / name).mkdir()
    else:
        (tmp_path / "in" / name).write_text("none")
    words = ("--out", str(tmp_path / "out"), "--write", "maps", "--tasks", "depth")
    code, _, err = tdss("predict", str(made), str(tmp_path / "in" / "*"), *words, capsys=capsys)
    assert code == 2 and err.count("error:") == 1 and err.count("fix:") == 1 and name in err, err
    assert files_below(tmp_path / "out") == ["maps/depth/a.png"]


def test_no_name_at_all_is_no_source(made: Path, tmp_path: Path, folder: Path, monkeypatch, capsys) -> None:
    """As an empty variable of a shell: the working directory is not meant."""
    monkeypatch.chdir(folder)
    code, _, err = tdss("predict", str(made), "", "--out", str(tmp_path / "out"), capsys=capsys)
    assert code == 2 and "there is no such source" in err and not (tmp_path / "out").exists()


def test_an_output_folder_that_is_not_empty_is_left_as_it_is(made: Path, tmp_path: Path, folder: Path, capsys) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    code, _, err = tdss("predict", str(made), str(folder), "--out", str(tmp_path / "out"), capsys=capsys)
    assert code == 2 and err.count("error:") == 1 and str(tmp_path / "out") in err
    assert files_below(tmp_path / "out") == ["mine.txt"]


def test_no_file_of_the_user_is_written_over(made: Path, tmp_path: Path, folder: Path, capsys) -> None:
    for out in (folder, folder / "seen", made / "seen"):
        code, _, err = tdss("predict", str(made), str(folder), "--out", str(out), capsys=capsys)
        assert code == 2 and "error: " in err and not (folder / "seen").exists()
    assert files_below(folder) == ["0.png", "1.png", "2.png", "notes.txt"]
