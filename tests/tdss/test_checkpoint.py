"""A checkpoint folder: what is written is what is read, and each fault is named."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from bundle.base.errors import CheckpointError, ConfigError
from tdss import checkpoint
from tdss.adapters.config import TdssConfig
from tdss.backbones.config import ImageConfig, SwinConfig
from tdss.card import Card, load_card
from tdss.config import ModelConfig
from tdss.decoders.config import HrnetConfig
from tdss.model import MultiTaskModel

CARD = Card(trained_on="nothing", steps=0, hours=0.0, metrics={})


def small() -> ModelConfig:
    return ModelConfig(
        name="small",
        image=ImageConfig(height=32, width=32),
        backbone=SwinConfig(embed_dim=8, depths=(1, 1), heads=(2, 4), window=4),
        adapter=TdssConfig(experts=2, rank=2, gates=(("static",), ("dynamic",))),
        decoder=HrnetConfig(widths=(3, 5), hidden=7),
        tasks={"semseg": 4, "depth": 1},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    config = small()
    checkpoint.save(tmp_path / "c", config, MultiTaskModel(config), CARD, storage="float32")
    return tmp_path / "c"


def test_round_trip(folder: Path) -> None:
    config, model = checkpoint.load(folder)
    assert config == small()
    assert not model.training
    stored = load_file(folder / checkpoint.WEIGHTS)
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())
    assert load_card(folder) == CARD


def test_half_storage_is_rounded_once(folder: Path) -> None:
    config, model = checkpoint.load(folder)
    half = folder.parent / "half"
    checkpoint.save(half, config, model, CARD, storage="float16")
    _, again = checkpoint.load(half)
    weight, want = again.backbone.patch_embed.proj.weight, model.backbone.patch_embed.proj.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, want.half().float())
    assert (half / checkpoint.WEIGHTS).stat().st_size < 0.6 * (folder / checkpoint.WEIGHTS).stat().st_size


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    weights = load_file(folder / checkpoint.WEIGHTS)
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        if tensor is None:
            del weights[key]
        else:
            weights[key] = tensor
    save_file(weights, folder / checkpoint.WEIGHTS)


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"backbone__patch_embed__norm__bias": None}, "missing backbone.patch_embed.norm.bias"),
        ({"backbone__extra": torch.zeros(1)}, "unexpected backbone.extra"),
        ({"backbone__patch_embed__norm__bias": torch.zeros(3)}, r"norm.bias is \(3,\), not \(8,\)"),
        ({"backbone__patch_embed__norm__bias": torch.full((8,), float("nan"))}, "norm.bias holds NaN"),
    ],
)
def test_wrong_tensors_are_named(folder: Path, tensors: dict[str, torch.Tensor | None], named: str) -> None:
    change(folder, **tensors)
    with pytest.raises(CheckpointError, match=named) as caught:
        checkpoint.load(folder)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "dtype",
    [
        torch.int8,
        torch.int16,
        torch.int64,
        torch.bool,
        torch.complex64,
        torch.float64,
        torch.float8_e4m3fn,
        torch.uint8,
    ],
    ids=str,
)
def test_a_type_that_the_model_does_not_have_is_refused_by_name(folder: Path, dtype: torch.dtype) -> None:
    change(folder, backbone__patch_embed__norm__bias=torch.ones(8).to(dtype))
    with pytest.raises(CheckpointError, match="of a type that the model does not have") as caught:
        checkpoint.load(folder)
    assert caught.value.got == f"backbone.patch_embed.norm.bias is {dtype}, not torch.float32"
    assert caught.value.exit_code == 2


def test_a_count_that_is_no_integer_is_refused(folder: Path) -> None:
    weights = load_file(folder / checkpoint.WEIGHTS)
    name = next(name for name, tensor in weights.items() if tensor.dtype == torch.int64)
    change(folder, **{name.replace(".", "__"): weights[name].float()})
    with pytest.raises(CheckpointError, match=rf"{name} is torch.float32, not torch.int64"):
        checkpoint.load(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_halves_are_widened_exactly_and_said(folder: Path, dtype: torch.dtype) -> None:
    stored = torch.tensor([1.5, -0.25, 3e-5, 100.0, 0.1, 7.0, -8.0, 1e-3]).to(dtype)
    assert checkpoint.stored_halves(folder / checkpoint.WEIGHTS) == ""
    change(folder, backbone__patch_embed__norm__bias=stored)
    _, model = checkpoint.load(folder)
    bias = model.backbone.patch_embed.norm.bias
    assert bias.dtype == torch.float32 and torch.equal(bias.double(), stored.double())
    said = checkpoint.stored_halves(folder / checkpoint.WEIGHTS)
    assert f"1 as {str(dtype).removeprefix('torch.')}" in said and "exactly" in said


def test_a_pickle_is_refused_unread(folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (open, (str(folder / "opened"),))

    (folder / checkpoint.WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(CheckpointError, match="no safetensors file"):
        checkpoint.load(folder)


def test_missing_files_are_named(folder: Path) -> None:
    (folder / checkpoint.WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="weights are missing"):
        checkpoint.load(folder)
    (folder / checkpoint.CONFIG).unlink()
    with pytest.raises(ConfigError, match="configuration is missing"):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("hidden = 7", "hidden = 7\nhiden = 8", "decoder.*hiden"),
        ("semseg = 4", "semsegg = 4", "unknown task 'semsegg'"),
        ("rank = 2", 'rank = "two"', "rank"),
        ("rank = 2", "rank = ", "no TOML"),
        ('["static"', '["sometimes"', "gates"),
    ],
)
def test_wrong_config_is_named(folder: Path, old: str, new: str, named: str) -> None:
    path = folder / checkpoint.CONFIG
    text = path.read_text()
    compact = text.replace('[\n        "static",\n    ]', '["static"]')
    assert old in compact
    path.write_text(compact.replace(old, new))
    with pytest.raises(ConfigError, match=f"(?s){named}"):
        checkpoint.load(folder)


def test_gates_must_match_the_blocks() -> None:
    config = small().model_dump()
    config["adapter"]["gates"] = (("static", "static"), ("dynamic",))
    with pytest.raises(ValueError, match="blocks per stage"):
        ModelConfig.model_validate(config)


@pytest.mark.parametrize("name", [checkpoint.CONFIG, checkpoint.WEIGHTS])
def test_a_folder_in_the_place_of_a_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises((ConfigError, CheckpointError), match=r"cannot be read|no safetensors"):
        checkpoint.load(folder)
