"""The defaults of the commands: one for each option of the stages, and none that depends on the working directory."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from bundle.base.errors import InputError
from compile.stage import shipped
from compile.stage.command import command_of
from compile.stage.config import load_config
from compile.stage.shipped import shipped_data, shipped_model

ROOT = Path(__file__).resolve().parents[3]
STAGES = ("export", "simplify", "fold", "rewrite", "quantize", "build")


def test_a_build_from_anywhere_takes_what_this_checkout_ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(None, {"target": "intel"})
    assert (config.checkpoint, config.data) == (ROOT / "models" / "default", ROOT / "data" / "scenes")
    assert config.out == Path("build"), "an output is where the person is"


@pytest.mark.parametrize(("find", "option"), [(shipped_model, "--checkpoint"), (shipped_data, "--data or --images")])
def test_an_installed_package_says_what_to_give(
    find: Callable[[], Path], option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipped, "ROOT", tmp_path)
    with pytest.raises(InputError) as caught:
        find()
    assert caught.value.where == str(tmp_path) and option in caught.value.fix


def defaults(stage: str) -> dict[str, object]:
    """Return the options of a stage with their defaults, made where typer makes them late."""
    rows = command_of(import_module(f"compile.{stage}").main).params
    return {name: row.default() if callable(row.default) else row.default for row in rows for name in row.opts}


def test_an_option_has_the_same_default_in_every_stage() -> None:
    found = {stage: defaults(stage) for stage in STAGES}
    assert all({"--out", "--threads", "--json"} <= set(options) for options in found.values())
    assert all({"--images", "--split"} <= set(found[stage]) for stage in STAGES if stage != "build")
    for name in ("--images", "--split", "--threads", "--json", "--device"):
        values = [options[name] for options in found.values() if name in options]
        assert len(values) > 1 and all(value == values[0] for value in values), name
    assert found["export"]["--images"] == ROOT / "data" / "scenes"


def test_folds_own_default_is_the_shared_one() -> None:
    """It reads no image where an .onnx file is folded, so it does not ask for the folder."""
    assert inspect.signature(import_module("compile.fold").main).parameters["images"].default == shipped_data()
