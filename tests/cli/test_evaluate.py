"""``tdss evaluate`` on data that does not fit the checkpoint, or says nothing: refused by name, and never a NaN printed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.bundle.made_scenes import SPEC
from tests.cli.run import tdss
from tests.compile import made


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.checkpoint(tmp_path_factory.mktemp("c") / "checkpoint")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return made.scenes(tmp_path / "scenes")


def arguments(arrays: bool, tmp_path: Path) -> list[str]:
    return ["--arrays", str(tmp_path / "a.npz")] if arrays else []


@pytest.mark.parametrize("arrays", [False, True])
def test_a_data_set_of_more_classes_than_channels_is_refused(
    checkpoint: Path, root: Path, tmp_path: Path, arrays: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    names, colours = (*SPEC.classes["semseg"], "roof", "sky"), (*SPEC.palettes["semseg"], (1, 1, 1), (2, 2, 2))
    spec = SPEC.model_copy(
        update={"classes": {**SPEC.classes, "semseg": names}, "palettes": {**SPEC.palettes, "semseg": colours}}
    )
    (root / "dataset.json").write_text(spec.model_dump_json())
    words = ["evaluate", str(checkpoint), "--data", str(root), *arguments(arrays, tmp_path)]
    code, out, error = tdss(*words, "--json", capsys=capsys)
    assert (code, out) == (2, "")
    assert "disagree on semseg" in error and "5 channels" in error and "got:      3" in error
    assert not (tmp_path / "a.npz").exists()
    assert tdss(*words, "--tasks", "depth", capsys=capsys)[0] == 0  # no class of it is asked for


@pytest.mark.slow
@pytest.mark.parametrize("arrays", [False, True])
def test_a_split_without_a_labelled_pixel_is_refused_by_task(
    checkpoint: Path, root: Path, tmp_path: Path, arrays: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    for identifier in made.EVALUATION:
        Image.fromarray(np.full((32, 32), 255, np.uint8)).save(root / "semseg" / f"{identifier}.png")
        Image.fromarray(np.zeros((32, 32), np.uint16)).save(root / "depth" / f"{identifier}.png")
    words = ["evaluate", str(checkpoint), "--data", str(root), *arguments(arrays, tmp_path)]
    code, out, error = tdss(*words, "--json", capsys=capsys)
    assert (code, out) == (2, "")
    assert "says anything about semseg, depth" in error and "--tasks" in error
    assert not (tmp_path / "a.npz").exists()
    code, out, _ = tdss(*words, "--tasks", "normals,edge", "--json", capsys=capsys)
    assert code == 0
    assert list(json.loads(out, parse_constant=pytest.fail)) == ["normals", "edge"]


@pytest.mark.parametrize("folder", ["image", "semseg"])
def test_a_turned_image_or_label_is_refused(
    checkpoint: Path, root: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / folder / f"{made.EVALUATION[2]}.png"
    exif = Image.Exif()
    exif[0x0112] = 3
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif)
    code, out, error = tdss("evaluate", str(checkpoint), "--data", str(root), "--json", capsys=capsys)
    assert (code, out) == (2, "") and f"{path.name} is stored turned" in error and str(path) in error


def test_stored_halves_are_said(checkpoint: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = tdss("evaluate", str(checkpoint), "--data", str(root), "--tasks", "depth", capsys=capsys)
    assert code == 0 and "as float16 of" in error and "read as float32, exactly" in error


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("model.safetensors", None, "the weights are missing"),
        ("model.safetensors", b"", "the weights are damaged, or no safetensors file"),
        ("model.safetensors", b"\x80\x02abc", "the weights are damaged, or no safetensors file"),
        ("config.toml", b"name = 1", "the model's configuration is wrong"),
        ("card.json", b'{"hours": NaN}', "the card cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_refused_before_it_is_measured(
    checkpoint: Path,
    root: Path,
    tmp_path: Path,
    file: str,
    content: bytes | None,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = Path(shutil.copytree(checkpoint, tmp_path / "damaged"))
    (damaged / file).unlink(missing_ok=True)
    if content is not None:
        (damaged / file).write_bytes(content)
    code, out, error = tdss("evaluate", str(damaged), "--data", str(root), capsys=capsys)
    assert (code, out) == (2, "")
    assert error.startswith(f"error: {message}\n")
    assert str(damaged / file) in error


@pytest.mark.parametrize("arrays", [False, True])
def test_a_checkpoint_whose_output_is_not_finite_is_no_regression(
    checkpoint: Path, root: Path, tmp_path: Path, arrays: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    sick = Path(shutil.copytree(checkpoint, tmp_path / "sick"))
    weights = load_file(sick / "model.safetensors")
    save_file({key: -x if "running_var" in key else x for key, x in weights.items()}, sick / "model.safetensors")
    code, out, error = tdss(
        "evaluate", str(sick), "--data", str(root), *arguments(arrays, tmp_path), "--json", capsys=capsys
    )
    assert (code, out) == (2, "")
    assert "the checkpoint's own output is not finite" in error and made.EVALUATION[0] in error


@pytest.mark.parametrize("command", ["evaluate", "pipeline"])
@pytest.mark.parametrize("tasks", [",", "depth,", "depth,depth"])
def test_an_empty_or_a_doubled_name_of_a_task_is_refused_and_never_every_task(
    checkpoint: Path, root: Path, tmp_path: Path, command: str, tasks: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {
        "evaluate": [str(checkpoint)],
        "pipeline": ["--target", "intel", "--checkpoint", str(checkpoint), "--out", str(tmp_path / "build")],
    }[command]
    code, out, error = tdss(command, *words, "--data", str(root), "--tasks", tasks, capsys=capsys)
    assert (code, out) == (2, "") and "these tasks cannot be kept" in error
    assert not (tmp_path / "build").exists()


def test_a_task_that_is_no_better_than_a_constant_answer_is_named(
    checkpoint: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "untrained"))
    card = {
        "trained_on": "",
        "steps": 0,
        "hours": 0,
        "metrics": {},
        "baselines": {"trivial": {"depth": 0.0, "normals": 180.0}},
    }
    (folder / "card.json").write_text(json.dumps(card))
    code, _, error = tdss("evaluate", str(folder), "--data", str(root), "--tasks", "depth,normals", capsys=capsys)
    assert code == 0 and "depth: " in error and "normals: " not in error


@pytest.mark.slow
def test_images_of_every_size_are_measured_by_the_declared_policy(
    checkpoint: Path, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index, identifier in enumerate(made.EVALUATION[:4]):
        for folder in ("image", *made.TASKS):
            path = root / folder / f"{identifier}.png"
            with Image.open(path) as image:
                array = np.asarray(image)[: 20 + index]
            Image.fromarray(array).save(path)
    words = ["evaluate", str(checkpoint), "--data", str(root), "--json"]
    code, _, error = tdss(*words, capsys=capsys)
    assert code == 2 and "wrong size" in error and "size_policy" in error
    spec = json.loads((root / "dataset.json").read_text()) | {"schema_version": 2, "size_policy": "letterbox"}
    (root / "dataset.json").write_text(json.dumps(spec))
    code, out, _ = tdss(*words, capsys=capsys)
    assert code == 0 and set(json.loads(out, parse_constant=pytest.fail)) == set(made.TASKS)
    (root / "dataset.json").write_text(json.dumps(spec | {"schema_version": 3, "metrics_at": "image"}))
    code, own, _ = tdss(*words, capsys=capsys)
    assert code == 0 and set(json.loads(own)) == set(made.TASKS) and own != out
    code, recorded, _ = tdss(*words, "--arrays", str(root.parent / "arrays.npz"), capsys=capsys)
    assert code == 0 and json.loads(recorded) == pytest.approx(json.loads(own), rel=1e-5)
