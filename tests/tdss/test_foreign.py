"""Published weights: each layout becomes a checkpoint, anything but tensors is refused."""

import json
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bundle.base.errors import CheckpointError
from tdss import checkpoint
from tdss.adapters.config import AdapterConfig, MtloraConfig, SsfConfig
from tdss.foreign import import_backbone, read_foreign
from tdss.model import MultiTaskModel, plain_backbone
from tests.cli.run import tdss
from tests.tdss.test_checkpoint import small


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    checkpoint.write_config(path, small())
    return path


def official() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    ours = MultiTaskModel(small()).backbone.state_dict()
    named = {
        name.replace("stages.", "layers.").replace("bias_table", "relative_position_bias_table"): x
        for name, x in ours.items()
    }
    return named | {"head.weight": torch.zeros(10, 16), "norm.weight": torch.ones(16)}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_an_official_file_becomes_a_checkpoint(tmp_path: Path, config: Path, suffix: str) -> None:
    weights = tmp_path / f"swin{suffix}"
    if suffix == ".pth":
        torch.save({"model": official(), "epoch": 300}, weights)
    else:
        save_file(official(), weights)
    left = import_backbone(weights, config, tmp_path / "out", seed=0).left
    assert set(left) == {"head.weight", "norm.weight"}
    _, model = checkpoint.load(tmp_path / "out")
    assert torch.equal(model.backbone.patch_embed.proj.weight, official()["patch_embed.proj.weight"])


def test_a_hostile_file_is_refused_unrun(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return (open, (str(tmp_path / "opened"), "w"))

    torch.save({"model": Bomb()}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match="cannot be read safely"):
        read_foreign(tmp_path / "bad.pth")
    assert not (tmp_path / "opened").exists()


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "0 bytes that begin with nothing"),
        (b"hello", "5 bytes"),
        (b"PK\x03\x04\x00", "RuntimeError"),
        (b"\x80\x02.\x00\x00", ""),
        (b"\x80\x02}q\x00", ""),
        (b"\x80", ""),
        (b"PK\x05\x06" + bytes(18), "22 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "begin with 76 65 72"),
        (b"<!DOCTYPE html>" * 20, "300 bytes"),
        ((1 << 40).to_bytes(8, "little") + b"{}", "10 bytes"),
        ((2).to_bytes(8, "little") + b"{]", ""),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
def test_what_is_no_file_of_weights_is_refused_whatever_its_name(
    tmp_path: Path, config: Path, content: bytes, got: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    words = ("import", "--weights", str(path), "--config", str(config), "--out", str(tmp_path / "out"))
    code, _, err = tdss(*words, capsys=capsys)
    assert code == 2 and got in err and f"where:    {path}" in err and "Traceback" not in err
    assert not (tmp_path / "out").exists()


def test_a_damaged_pytorch_file_is_refused(tmp_path: Path) -> None:
    for legacy in (False, True):
        torch.save(official(), tmp_path / "a.pth", _use_new_zipfile_serialization=not legacy)
        whole = (tmp_path / "a.pth").read_bytes()
        for length in (5, 12, 100, len(whole) // 3, len(whole) - 30):
            (tmp_path / "a.pth").write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match="cannot be read safely"):
                read_foreign(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
@pytest.mark.parametrize("form", ["safetensors", "zipped", "pickled"])
def test_the_content_decides_not_the_name(tmp_path: Path, form: str, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    if form == "safetensors":
        save_file(official(), path)
    else:
        torch.save(official(), path, _use_new_zipfile_serialization=form == "zipped")
    assert read_foreign(path).keys() == official().keys()


def test_another_swin_is_refused_by_tensor(tmp_path: Path, config: Path) -> None:
    weights = official()
    del weights["layers.0.blocks.0.attn.qkv.weight"]
    save_file(weights, tmp_path / "swin.safetensors")
    with pytest.raises(CheckpointError, match=r"missing stages.0.blocks.0.attn.qkv.weight"):
        import_backbone(tmp_path / "swin.safetensors", config, tmp_path / "out", seed=0)
    assert not (tmp_path / "out").exists()


def test_a_file_of_self_distillation_gives_its_teacher(tmp_path: Path, config: Path) -> None:
    """As DINO's training writes it: two networks, the optimizer, and the arguments as an object."""
    student = {f"module.backbone.{name}": tensor + 1 for name, tensor in official().items()}
    teacher = {f"backbone.{name}": tensor for name, tensor in official().items()} | {"head.mlp.0.weight": torch.ones(2)}
    arguments = Namespace(arch="swin_tiny", lr=0.0005, local_crops_scale=(0.05, 0.4))
    torch.save({"student": student, "teacher": teacher, "epoch": 99, "args": arguments}, tmp_path / "dino.pth")
    read = import_backbone(tmp_path / "dino.pth", config, tmp_path / "out", seed=0)
    assert set(read.left) == {"backbone.head.weight", "backbone.norm.weight", "head.mlp.0.weight"}
    _, model = checkpoint.load(tmp_path / "out")
    assert torch.equal(model.backbone.patch_embed.proj.weight, official()["patch_embed.proj.weight"])


def test_the_command_names_what_it_resized(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wider = small().model_copy(update={"backbone": small().backbone.model_copy(update={"window": 6})})
    checkpoint.write_config(tmp_path / "config.toml", wider)
    save_file(official(), tmp_path / "swin.safetensors")
    files = [f"--weights={tmp_path / 'swin.safetensors'}", f"--config={tmp_path / 'config.toml'}"]
    code, out, _ = tdss("import", *files, f"--out={tmp_path / 'out'}", "--json", capsys=capsys)
    tables = [name for name in plain_backbone(wider).state_dict() if name.endswith("bias_table")]
    assert code == 0 and sorted(json.loads(out)["resized"]) == sorted(tables) and tables


def test_a_file_without_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(CheckpointError, match="no weights in this file"):
        read_foreign(tmp_path / "empty.pth")


@pytest.mark.parametrize("adapter", [SsfConfig(kind="ssf"), MtloraConfig(kind="mtlora", rank=2)])
def test_an_adapter_inside_the_backbone_starts_from_a_published_one(adapter: AdapterConfig, tmp_path: Path) -> None:
    """Every published tensor keeps its name, and the new adapter changes nothing yet."""
    config = small().model_copy(update={"adapter": adapter})
    checkpoint.write_config(tmp_path / "config.toml", config)
    save_file(official(), tmp_path / "swin.safetensors")
    import_backbone(tmp_path / "swin.safetensors", tmp_path / "config.toml", tmp_path / "out", seed=0)
    _, model = checkpoint.load(tmp_path / "out")
    plain = plain_backbone(config)
    names = set(plain.state_dict())
    assert names < set(model.backbone.state_dict())
    plain.load_state_dict({name: model.backbone.state_dict()[name] for name in names})
    image = torch.randn(1, 3, 32, 32)
    for mine, other in zip(model.backbone(image), plain.eval()(image), strict=True):
        assert torch.allclose(mine.output, other.output, atol=1e-6)


@pytest.mark.parametrize("name", ["folder.pth", "folder.safetensors"])
def test_a_folder_in_the_place_of_weights_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match="the weights"):
        read_foreign(tmp_path / name)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: {1: torch.ones(2)}, "there are no weights"),
        (lambda: official() | {"norm.weight": torch.ones(16).to_sparse()}, "norm.weight"),
        (lambda: official() | {"norm.weight": torch.ones(16, device="meta")}, "norm.weight"),
    ],
    ids=["numbered", "sparse", "meta"],
)
def test_tensors_without_a_name_or_plain_numbers_are_refused(
    tmp_path: Path, make: Callable[[], object], named: str
) -> None:
    torch.save(make(), tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as refused:
        read_foreign(tmp_path / "odd.pth")
    assert named in str(refused.value)


def test_nobody_is_advised_to_run_what_a_pickle_holds(tmp_path: Path) -> None:
    torch.save({"model": Path("x")}, tmp_path / "odd.pth")
    with pytest.raises(CheckpointError) as refused:
        read_foreign(tmp_path / "odd.pth")
    assert "pathlib" in refused.value.got and "weights_only" not in str(refused.value)
