"""A released file that lacks a tensor, has one more or one of another shape is refused with one error, never with a fault."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bundle.base.errors import CheckpointError, ConfigError
from tdss.config import ModelConfig
from tdss.model import MultiTaskModel, shapes
from tdss.released.import_model import import_model
from tests.cli.run import tdss
from tests.tdss.adapters.test_tadformer import released as tadformer
from tests.tdss.released.test_faar import released as faar
from tests.tdss.released.test_mtlora import released as mtlora

Files = Callable[[], Mapping[str, Tensor]]
SYSTEMS: dict[str, Files] = {"mtlora": lambda: mtlora("plus"), "faar": faar, "tadformer": lambda: tadformer("dynamic")}
WITHOUT_EFFECT = re.compile(r"attn_mask$|\.ema_score_|\.blocks\.0\.attn\.proj\.prompt_layernorm\.")
GIVEN = """[image]
height = {}
width = {}

[tasks]
{}
"""
THREE = "semseg = 5\nnormals = 3\nsaliency = 1"
KEYS = {
    "mtlora": GIVEN.format(64, 64, "human_parts = 4\nsemseg = 6"),
    "faar": GIVEN.format(64, 64, THREE),
    "tadformer": GIVEN.format(64, 64, THREE),
}


def one_of_each_kind(weights: Mapping[str, Tensor]) -> list[str]:
    """The first name of each kind, whatever its stage, block and task."""
    kinds = {re.sub(r"\d+|semseg|normals|sal|human_parts", "#", name): name for name in reversed(weights)}
    return [name for name in kinds.values() if not WITHOUT_EFFECT.search(name)]


def harmed(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Each kind of name with one of five harms, in turn."""
    for number, name in enumerate(one_of_each_kind(weights)):
        value = weights[name].clone()
        rest = {other: x for other, x in weights.items() if other != name}
        harms = {
            "missing": rest,
            "twice": rest | {name: value, f"{name}.copy": value},
            "without axes": rest | {name: value.flatten()[0].clone()},
            "longer": rest | {name: value[None].expand(2, *value.shape).flatten(0, 1) if value.ndim else value[None]},
            "empty": rest | {name: value.flatten()[:0]},
        }
        harm = list(harms)[number % len(harms)]
        if harm != "without axes" or value.ndim:
            yield f"{name} {harm}", harms[harm]


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_harm_is_one_error(tmp_path: Path, system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, MultiTaskModel] = {}  # most harms leave the configuration as it is

    def once(config: ModelConfig) -> MultiTaskModel:
        key = config.model_dump_json()
        if key not in made:
            made[key] = shapes(config)
        return made[key]

    monkeypatch.setattr("tdss.released.import_model.shapes", once)
    file, keys = tmp_path / "x.pth", tmp_path / "given.toml"
    keys.write_text(KEYS[system])
    taken, tried = [], 0
    for harm, weights in harmed(SYSTEMS[system]()):
        tried += 1
        torch.save(weights, file)
        try:
            import_model(system, file, keys, tmp_path / "out")
            taken.append(harm)
        except (CheckpointError, ConfigError):
            continue
    assert taken == [] and tried > 25


def test_a_tensor_under_two_names_is_refused(tmp_path: Path) -> None:
    """Both names are that of one tensor here."""
    weights = mtlora("plus")
    weights["backbone.layers.0.blocks.0.attn.qkv.weight"] = weights["backbone.layers.0.blocks.0.attn.qkv.linear.weight"]
    torch.save(weights, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match=r"unexpected backbone\.layers\.0\.blocks\.0\.attn\.qkv\."):
        import_model("mtlora", tmp_path / "x.pth", None, tmp_path / "out")


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_file_of_another_system_ends_with_2(tmp_path: Path, system: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "given.toml").write_text(KEYS["faar"])
    for other, weights in SYSTEMS.items():
        torch.save(weights(), tmp_path / "x.pth")
        words = [f"--from={other and system}", f"--weights={tmp_path / 'x.pth'}", f"--out={tmp_path / 'out'}"]
        code, _, err = tdss("import", *words, f"--config={tmp_path / 'given.toml'}", capsys=capsys)
        assert (code == 2 and "expected:" in err) or other == system
