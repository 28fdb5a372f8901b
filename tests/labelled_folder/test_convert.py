"""Each published layout becomes the arrays that its encodings say, written here by hand; a bad tree is one clear error."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import DatasetError, InputError
from bundle.formats.artifacts import hash_folder
from bundle.tasks.dataset import FolderDataset, load_spec
from bundle.tasks.spec import OVERSHOOTS
from bundle.tasks.table import TASKS
from labelled_folder.convert import Terms, convert, spread
from labelled_folder.published.files import read_mat
from labelled_folder.published.pascal_context import boundaries, thinned
from labelled_folder.published.table import LAYOUTS
from tests.cli.run import tdss
from tests.labelled_folder.published import trees

ROWS = trees.HEIGHT
TREES: dict[str, Callable[[Path], Path]] = {
    "pascal-context": trees.pascal,
    "nyudv2": partial(trees.nyud, png=True),
    "cityscapes": partial(trees.cityscapes, camera=True),
}
UP, TOWARD, NONE = [128, 255, 128], [128, 128, 255], [0, 0, 0]


def converted(name: str, source: Path, out: Path, **terms: object) -> FolderDataset:
    convert(LAYOUTS[name], source, out, Terms.model_validate(terms), lambda pairs: pairs)
    return FolderDataset(root=out, spec=load_spec(out / "dataset.json"))


def test_pascal_context(tmp_path: Path) -> None:
    data = converted("pascal-context", trees.pascal(tmp_path / "in"), tmp_path / "out")
    assert data.ids("val") == ("2008_000001",) and data.ids("calibration") == ("2008_000002",)
    first = {name: data.encoded_label(name, "2008_000001") for name in ("semseg", "human_parts", "saliency", "edge")}
    assert first["semseg"].tolist() == [[15] * 6, [255] * 6, [0] * 6, [0] * 6]
    assert first["human_parts"].tolist() == [[1, 1, 0, 0, 0, 0], [4, 4, 4, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 0, 6]]
    assert first["saliency"].tolist() == [[0, 0, 255, 255, 0, 0]] * ROWS
    assert first["edge"].tolist() == [[0] * 6] + [[0, 0, 255, 0, 0, 0]] * (ROWS - 1)
    normals = data.encoded_label("normals", "2008_000001")
    assert normals.tolist() == [[TOWARD] * 3 + [NONE] * 3] * 2 + [[UP] * 3 + [NONE] * 3] * 2
    assert (data.encoded_label("human_parts", "2008_000002") == 255).all()
    assert (data.encoded_label("semseg", "2008_000002") == 20).all()
    assert len(data.spec.classes["semseg"]) == 21 and data.spec.palettes["semseg"][15] == (192, 128, 128)


@pytest.mark.parametrize("png", [False, True])
def test_nyudv2(tmp_path: Path, png: bool) -> None:
    data = converted("nyudv2", trees.nyud(tmp_path / "in", png=png), tmp_path / "out")
    assert data.encoded_label("semseg", "0002").tolist() == [[0] * 6, [39] * 6, [255] * 6, [255] * 6]
    assert data.encoded_label("depth", "0002").tolist() == [[0] * 6] + [[2500] * 6] * 3
    assert data.encoded_label("edge", "0002").tolist() == [[0] * 6, [0] * 6, [255] * 6, [0] * 6]
    assert data.encoded_label("normals", "0002").tolist() == [[TOWARD] * 6] * 2 + [[UP] * 6] * 2
    if png:
        np.testing.assert_array_equal(data.image("0002"), trees.PICTURE)


@pytest.mark.parametrize(("camera", "centimetres"), [(True, 400 / 10 * 100), (False, 0.209313 * 2262.52 / 10 * 100)])
def test_cityscapes(tmp_path: Path, camera: bool, centimetres: float) -> None:
    data = converted("cityscapes", trees.cityscapes(tmp_path / "in", camera=camera), tmp_path / "out", train=True)
    assert data.ids("val") == ("bonn_000001_000019",) and data.ids("train") == ("aachen_000000_000019",)
    assert data.encoded_label("semseg", "bonn_000001_000019").tolist() == [[0, 18, 255, 255, 11, 255]] * ROWS
    depth = data.encoded_label("depth", "bonn_000001_000019")[0].tolist()
    near = [round(centimetres / 10), round(centimetres * 10 * 256 / 65534)]
    assert depth == [0, 0, round(centimetres * 10), round(centimetres), *near]


def test_a_size_is_given_to_images_and_labels_alike_and_the_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    source = trees.pascal(tmp_path / "in")
    for name in ("a", "b"):
        data = converted("pascal-context", source, tmp_path / name, size=(8, 12), overshoot="as-published")
    assert data.image("2008_000001").shape == (8, 12, 3)
    assert data.encoded_label("edge", "2008_000001")[:, 3:7].tolist() == [[0] * 4] * 2 + [[0, 255, 255, 0]] * 6
    assert hash_folder(tmp_path / "a") == hash_folder(tmp_path / "b")


@pytest.mark.parametrize("overshoot", OVERSHOOTS)
@pytest.mark.parametrize("name", TREES)
def test_without_a_size_the_policy_gives_what_the_conversion_would(tmp_path: Path, name: str, overshoot: str) -> None:
    source, size = TREES[name](tmp_path / "in"), (8, 12)
    now = converted(name, source, tmp_path / "now", size=size, overshoot=overshoot)
    later = converted(name, source, tmp_path / "later", overshoot=overshoot)
    assert (now.spec.size_policy, later.spec.size_policy) == (None, overshoot)
    for identifier in now.ids("val"):
        np.testing.assert_array_equal(later.at(size).image(identifier), now.image(identifier))
        for task in TASKS:
            if now.label_path(task.name, identifier).is_file():
                one, other = (data.encoded_label(task.name, identifier).astype(int) for data in (now, later.at(size)))
                assert np.abs(one - other).max() <= (2 if one.ndim == 3 else 0)  # directions were rounded to 8 bits


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    source, out = trees.nyud(tmp_path / "in", png=True), tmp_path / "out"
    out.mkdir()
    (out / "mine").write_text("mine")
    with pytest.raises(InputError, match="something here already"):
        converted("nyudv2", source, out)
    assert [path.name for path in out.iterdir()] == ["mine"]


def cut(name: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / name).write_bytes((root / name).read_bytes()[:-40])

    return change


def gone(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def objects(root: Path) -> None:
    np.save(root / "depth" / "0002.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)


def array(name: str, values: np.ndarray) -> Callable[[Path], None]:
    return lambda root: trees.save(root / name, values)


ZERO = np.zeros((ROWS, 6), np.uint8)


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        ("pascal-context", gone("ImageSets/Context/val.txt"), "no split 'val'"),
        ("pascal-context", gone("human_parts/2008_000001.mat"), "human_parts of '2008_000001' is missing"),
        ("pascal-context", cut("human_parts/2008_000001.mat"), "2008_000001.mat cannot be read"),
        ("pascal-context", cut("pascal-context/trainval/2008_000001.mat"), "2008_000001.mat cannot be read"),
        ("pascal-context", array("semseg/VOC12/2008_000001.png", ZERO + 21), "is not what this layout has"),
        ("nyudv2", gone("edge/0002.png"), "edge of '0002' is missing"),
        ("nyudv2", objects, "0002.npy cannot be read"),
        ("nyudv2", array("depth/0002.npy", np.full((ROWS, 6), np.nan)), "is not what this layout has"),
        ("nyudv2", array("depth/0002.npy", np.full((ROWS, 6), -1.0)), "no map of distances"),
        ("nyudv2", array("normals/0002.npy", np.full((ROWS, 6, 3), 9.0)), "is not what this layout has"),
        ("nyudv2", array("segmentation/0002.png", ZERO + 41), "is not what this layout has"),
        ("cityscapes", gone("disparity/val/bonn/bonn_000001_000019_disparity.png"), "bonn of 'bonn_000001_000019' is"),
        ("cityscapes", gone("leftImg8bit/val/bonn/bonn_000001_000019_leftImg8bit.png"), "no split 'val'"),
        ("cityscapes", cut("camera/val/bonn/bonn_000001_000019_camera.json"), "is not what this layout has"),
    ],
)
def test_a_bad_tree_is_one_error_and_nothing_is_written(
    tmp_path: Path, layout: str, change: Callable[[Path], None], message: str
) -> None:
    source = TREES[layout](tmp_path / "in")
    change(source)
    with pytest.raises(DatasetError, match=message):
        converted(layout, source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_calibration_images_are_spread_over_the_training_split() -> None:
    ids = tuple(str(index) for index in range(10))
    assert spread(ids, 4) == ("0", "2", "5", "7") and spread(ids, 20) == ids and spread(ids, 0) == ()


def test_thinning_by_hand() -> None:
    """A bar two pixels thick loses its south-east side; a line of one pixel and its ends stay."""
    bar = np.zeros((4, 6), bool)
    bar[:, 2:4] = True
    assert thinned(bar)[1:3].tolist() == [[False, False, True, False, False, False]] * 2
    line = np.eye(5, dtype=bool)
    np.testing.assert_array_equal(thinned(line), line)


@pytest.mark.parametrize("seed", range(5))
def test_thinning_is_scikit_images(seed: int) -> None:
    morphology = pytest.importorskip("skimage.morphology", reason="scikit-image is in the extra oracles")
    generator = np.random.default_rng(seed)
    context = np.kron(generator.integers(0, 4, (9, 11)), np.ones((5, 7), np.int64))
    noise = generator.random((40, 50)) < 0.6
    np.testing.assert_array_equal(thinned(noise), morphology.thin(noise))
    changes = np.asarray(boundaries(context))
    np.testing.assert_array_equal(changes, morphology.thin(laplacian(context) != 0) * 255)


def laplacian(context: np.ndarray) -> np.ndarray:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is in the extra oracles")
    return np.asarray(cv2.Laplacian(context.astype(np.uint16), cv2.CV_64F))


def test_nothing_of_a_mat_file_is_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    path.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(DatasetError, match="cannot be read"):
        read_mat(path, "anno")


@pytest.mark.parametrize("name", LAYOUTS)
def test_check_takes_what_convert_writes(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = TREES[name](tmp_path / "in"), tmp_path / "out"
    for path in source.rglob("*"):  # the two images of a tree are one picture; its splits must not share one
        if path.suffix in (".jpg", ".png") and path.parent.name in ("JPEGImages", "images", "aachen"):
            with Image.open(path) as image:
                array = np.asarray(image)
            if array.ndim == 3 and path.stem in ("2008_000001", "0001", "aachen_000000_000019_leftImg8bit"):
                Image.fromarray(255 - array).save(path)
    words = ["data", "convert", str(source), "--from", name, "--out", str(out), "--size", "8", "12", "--json"]
    code, answer, _ = tdss(*words, capsys=capsys)
    assert code == 0 and json.loads(answer) == {"folder": str(out), "splits": {"calibration": 1, "val": 1}}
    code, answer, _ = tdss("data", "check", str(out), "--size", "8", "12", "--json", capsys=capsys)
    assert code == 0 and json.loads(answer)["sizes"] == {"8×12": 2}


def test_a_layout_that_has_no_reader_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = tdss("data", "convert", str(tmp_path), "--from", "taskonomy", "--out", "x", capsys=capsys)
    assert code == 2 and "no reader for the layout 'taskonomy'" in error and "cityscapes" in error
