"""What ``--out`` and its like may name, in every command: nothing that is there is lost, no input is written over."""

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from bundle.formats.artifacts import Folded, Imported, hash_folder, load
from cli import regress
from compile.stage.command import run_script
from studies import learning_curve as learning
from studies import pictures as picture
from studies.folding import run as bench_fold
from studies.gate_power import measure as power
from studies.quantization import nncf_defaults as naive
from studies.quantization import run as study
from tdss import checkpoint
from tdss.model import MultiTaskModel
from tests.bundle.made_onnx import make
from tests.cli.run import tdss
from tests.compile import made
from tests.exits import exit_code
from tests.tdss.test_checkpoint import small
from tests.tdss.test_foreign import official

STAGES = {
    "fold": ("{model}", "--images", "{data}"),
    "export": ("--model", "{model}", "--images", "{data}"),
    "simplify": ("--model", "{model}", "--images", "{data}"),
    "rewrite": ("--target", "intel", "--model", "{model}", "--images", "{data}"),
    "quantize": ("--target", "intel", "--model", "{model}", "--calibration", "{data}"),
    "build": ("--target", "intel", "--model", "{model}"),
    "import": ("--weights", "{model}/model.safetensors", "--config", "{model}/config.toml"),
}
"""Commands that write a folder, and what they read."""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint, a labelled folder and a folder of one's own; one stands in a fourth one."""
    made.checkpoint(tmp_path / "models" / "tiny")
    made.scenes(tmp_path / "scenes")
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("five years")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def run(command: str, out: str, place: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    """Run a stage's command with an output."""
    words = [word.format(model=place / "models" / "tiny", data=place / "scenes") for word in STAGES[command]]
    return tdss(command, *words, "--out", out, capsys=capsys)


@pytest.mark.parametrize("command", STAGES)
def test_no_stage_replaces_what_it_did_not_make(command: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hash_folder(place)
    checkpoint_said = "holds an input" if command == "import" else "is an input"
    for out, said in {
        str(place / "thesis"): "there is something here",
        str(place / "file"): "there is something here",
        str(place / "file" / "out"): "cannot be written",
        ".": "the folder you are in",
        "..": "you are in",
        "/": "you are in",
        str(place / "models" / "tiny"): checkpoint_said,
        str(place / "models"): "holds an input",
        "x" * 300: "cannot be the name",
    }.items():
        code, answer, err = run(command, out, place, capsys)
        assert (code, answer) == (2, "") and re.search(said, err), (out, err)
        assert "Traceback" not in err and all(f"\n  {fact}:" in err for fact in ("expected", "got", "where", "fix"))
    assert hash_folder(place) == before


@pytest.mark.parametrize("command", [name for name in STAGES if name not in ("build", "import")])
def test_no_stage_writes_into_its_data(command: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for out in ("scenes", "scenes/new", "scenes/image"):
        code, _, err = run(command, str(place / out), place, capsys)
        assert code == 2 and re.search("the output is (inside )?an input", err)


@pytest.mark.slow
def test_a_stage_replaces_its_own_output_and_no_other_stages(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, checkpoint = place / "out", place / "models" / "tiny"
    for _ in range(2):
        assert (
            tdss("fold", str(checkpoint), "--images", str(place / "scenes"), "--out", str(out), capsys=capsys)[0] == 0
        )
    load(Folded, out)
    code, _, err = tdss(
        "export", "--model", str(out), "--images", str(place / "scenes"), "--out", str(out), capsys=capsys
    )
    assert code == 2 and "the output is an input" in err
    shutil.copytree(out, place / "copy")
    code, _, err = tdss(
        "export", "--model", str(out), "--images", str(place / "scenes"), "--out", str(place / "copy"), capsys=capsys
    )
    assert code == 2 and "this is no exported artifact" in err
    (out / "notes.txt").write_text("mine")
    code, _, err = tdss("fold", str(checkpoint), "--images", str(place / "scenes"), "--out", str(out), capsys=capsys)
    assert code == 2 and "notes.txt" in err and (out / "notes.txt").read_text() == "mine"


def test_import_replaces_its_own_checkpoint_and_never_a_trained_one(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, out = place / "swin.safetensors", place / "start"
    checkpoint.write_weights(weights, official())
    checkpoint.write_config(place / "swin.toml", small())
    words = ("--weights", str(weights), "--config", str(place / "swin.toml"))
    for seed in ("0", "1"):
        assert tdss("import", *words, "--seed", seed, "--out", str(out), capsys=capsys)[0] == 0
    load(Imported, out)
    checkpoint.write_weights(out / "model.safetensors", MultiTaskModel(small()).state_dict())  # as training would
    trained = hash_folder(out)
    code, _, err = tdss("import", *words, "--out", str(out), capsys=capsys)
    assert code == 2 and "model.safetensors was altered" in err and hash_folder(out) == trained
    shutil.copytree(place / "models" / "tiny", place / "trained")
    code, _, err = tdss("import", *words, "--out", str(place / "trained"), capsys=capsys)
    assert code == 2 and "there is something here" in err


@pytest.mark.slow
def test_evaluate_asks_for_its_place_before_it_measures(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("evaluate", str(place / "models" / "tiny"), "--data", str(place / "scenes"), "--arrays")
    for out in ("file", "thesis", "scenes/ref.npz", "models/tiny/model.safetensors", "file/ref.npz"):
        code, _, err = tdss(*words, str(place / out), capsys=capsys)
        assert code == 2 and "fix:" in err
    assert (place / "file").read_text() == "mine"
    assert [tdss(*words, str(place / "new" / "ref.npz"), capsys=capsys)[0] for _ in range(2)] == [0, 0]


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (picture.main, ["--bundle", "{bundle}", "--out", "{file}"]),
        (learning.main, ["{bundle}", "--out", "{file}"]),
        (power.main, ["--bundle", "{bundle}", "--out", "{file}"]),
        (power.main, ["--bundle", "{bundle}", "--out", "{new}", "--figure", "{file}"]),
    ],
)
def test_pictures_and_measurements_are_written_over_nothing_else(
    main: Callable[..., None], words: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"bundle": place / "bundle", "file": place / "file", "new": place / "new.json"}
    assert exit_code(partial(run_script, main), [word.format(**given) for word in words]) == 2
    assert "there is something here" in capsys.readouterr().err and (place / "file").read_text() == "mine"


def test_every_table_asks_for_its_place_first(place: Path) -> None:
    from bundle.base.errors import InputError

    (place / "quantization-naive.json").write_text("[1, 2]")
    model, scenes, file = place / "models" / "tiny", place / "scenes", place / "file"
    for call in (
        lambda: naive.main(model, scenes, place / "thesis"),
        lambda: bench_fold.main(out=file),
        lambda: study.main(model, ["naive"], scenes, page=place / "page.md"),
    ):
        with pytest.raises(InputError, match="there is something here"):
            call()
    assert (place / "thesis" / "chapter.txt").is_file() and file.read_text() == "mine"


def test_regress_pack_and_report_write_over_nothing_else(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(regress, "judge_bundle", None)  # no judgement begins
    bundle, file = make(place / "bundle", "reference"), str(place / "file")
    folder, before, inside = str(bundle), hash_folder(bundle), str(bundle / "manifest.json")
    earlier = place / "earlier.json"
    earlier.write_text('{"model": "", "target": "", "executed_on": "", "tasks": {}, "passed": true}')
    for out in (file, inside, str(place / "thesis"), str(place / "file" / "x"), str(bundle / "new")):
        for words in (
            ("regress", folder, "--out", out),
            ("regress", folder, "--junit", out),
            ("bundle", "pack", folder, "--out", out),
            ("report", folder, str(earlier), "--out", out),
        ):
            code, answer, err = tdss(*words, capsys=capsys)
            assert (code, answer) == (2, "") and "fix:" in err, (words, err)
    code, _, err = tdss("regress", folder, "--baseline", str(earlier), "--out", str(earlier), capsys=capsys)
    assert code == 2 and "the output is an input" in err
    code, _, err = tdss("regress", folder, "--out", str(place / "new"), "--junit", str(place / "new"), capsys=capsys)
    assert code == 2 and "the output is an input" in err and not (place / "new").exists()
    assert hash_folder(bundle) == before and (place / "file").read_text() == "mine"


def test_pack_writes_over_its_own_archive(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make(place / "bundle", "reference")
    words = ("bundle", "pack", str(folder), "--out", str(place / "new" / "b.zip"))
    assert [tdss(*words, capsys=capsys)[0] for _ in range(2)] == [0, 0]
