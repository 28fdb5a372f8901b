"""A checkpoint that names its base by hash: it is the same model, any other base is refused, and no path leaves the rules."""

import hashlib
from pathlib import Path

import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from bundle.base.errors import CheckpointError
from calibration.image_files import folder_images
from compile.export import export
from compile.stage.graph_info import GRAPH_FILE
from tdss import checkpoint
from tdss.adapters.config import AdapterConfig, MtloraConfig, SsfConfig
from tdss.adapters.vmt.config import VmtConfig
from tdss.card import Card
from tdss.config import BaseConfig
from tdss.model import MultiTaskModel, plain_backbone
from tests.cli.run import tdss
from tests.compile import made
from tests.tdss.test_checkpoint import small

CARD = Card(trained_on="nothing", steps=0, hours=0.0, metrics={})
ADAPTERS = [small().adapter, MtloraConfig(kind="mtlora", rank=2), SsfConfig(kind="ssf")]


def write_pair(tmp_path: Path, adapter: AdapterConfig = ADAPTERS[0]) -> MultiTaskModel:
    """Write a plain model in ``base``, and in ``own`` what another with the same backbone adds to it."""
    torch.manual_seed(0)
    plain = small()
    first = MultiTaskModel(plain)
    checkpoint.save(tmp_path / "base", plain, first, CARD, storage="float16")
    backbone = plain_backbone(plain)
    lent = {name: x.half().float() for name, x in first.backbone.state_dict().items()}
    backbone.load_state_dict(lent)
    digest = hashlib.sha256((tmp_path / "base" / checkpoint.WEIGHTS).read_bytes()).hexdigest()
    config = plain.model_copy(update={"adapter": adapter, "base": BaseConfig(path="../base", sha256=digest)})
    model = MultiTaskModel(config, backbone).eval()
    for name, parameter in model.named_parameters():
        if name.removeprefix("backbone.") not in lent:
            torch.nn.init.normal_(parameter, std=0.1)
    held = {name: x for name, x in model.state_dict().items() if name.removeprefix("backbone.") not in lent}
    (tmp_path / "own").mkdir()
    checkpoint.write(tmp_path / "own", config, held, CARD, storage="float32")
    return model


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.kind)
def test_what_was_trained_and_its_base_are_the_model(adapter: AdapterConfig, tmp_path: Path) -> None:
    model = write_pair(tmp_path, adapter)
    config, loaded = checkpoint.load(tmp_path / "own")
    assert config == model.config
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        want, got = model(image), loaded(image)
    assert all(torch.equal(want[task], got[task]) for task in want)


def test_joined_it_needs_no_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = write_pair(tmp_path)
    assert tdss("join", str(tmp_path / "own"), "--out", str(tmp_path / "joined"), capsys=capsys)[0] == 0
    (tmp_path / "base" / checkpoint.WEIGHTS).unlink()
    config, loaded = checkpoint.load(tmp_path / "joined")
    assert config.base is None
    assert all(torch.equal(x, model.state_dict()[name]) for name, x in loaded.state_dict().items())
    with pytest.raises(CheckpointError, match="not the one") as caught:
        checkpoint.load(tmp_path / "own")
    assert caught.value.got == "no such file" and caught.value.where.endswith("own/../base/model.safetensors")


def test_a_missing_base_names_the_command_that_makes_it(tmp_path: Path) -> None:
    model = write_pair(tmp_path)
    assert model.config.base is not None
    told = model.config.base.model_copy(update={"made_by": "make base-of-mine"})
    checkpoint.write_config(tmp_path / "own" / "config.toml", model.config.model_copy(update={"base": told}))
    (tmp_path / "base" / checkpoint.WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match="not the one") as caught:
        checkpoint.load(tmp_path / "own")
    assert caught.value.fix.startswith("make base-of-mine makes it; or write its folder as base.path")


@pytest.mark.slow
def test_every_later_stage_gets_the_graph_of_the_joined_one(tmp_path: Path) -> None:
    write_pair(tmp_path, VmtConfig(kind="vmt", rank=2))
    checkpoint.join(tmp_path / "own", tmp_path / "joined")
    (tmp_path / "images").mkdir()
    Image.fromarray(made.image(0)).save(tmp_path / "images" / "a.png")
    images = folder_images(tmp_path / "images", "calibration")
    graphs = [
        export(tmp_path / name, tmp_path / f"{name}-exported", "raw", images, lambda _: None, threads=1).file(
            GRAPH_FILE
        )
        for name in ("own", "joined")
    ]
    assert graphs[0].read_bytes() == graphs[1].read_bytes()


def test_another_base_is_refused(tmp_path: Path) -> None:
    write_pair(tmp_path)
    path = tmp_path / "base" / checkpoint.WEIGHTS
    tensors = load_file(path)
    tensors["backbone.patch_embed.norm.bias"] += 1
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="not the one") as caught:
        checkpoint.load(tmp_path / "own")
    assert caught.value.got == f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert "base.path" in caught.value.fix


def test_a_base_lends_its_backbone_only(tmp_path: Path) -> None:
    write_pair(tmp_path)
    path = tmp_path / "own" / checkpoint.WEIGHTS
    tensors = load_file(path)
    dropped = next(name for name in tensors if name.startswith("decoders."))  # the base has one of this name too
    del tensors[dropped]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match=f"missing {dropped}"):
        checkpoint.load(tmp_path / "own")


@pytest.mark.parametrize("path", ["/etc", "a/../../b", "..\\b", "a\nb", "", "a\0b", "x" * 2000])
def test_a_path_that_is_not_from_the_checkpoints_folder_is_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        BaseConfig(path=path, sha256="0" * 64)


def test_a_device_file_is_no_base(tmp_path: Path) -> None:
    write_pair(tmp_path)
    weights = tmp_path / "base" / checkpoint.WEIGHTS
    weights.unlink()
    weights.symlink_to("/dev/zero")
    with pytest.raises(CheckpointError, match="not the one"):
        checkpoint.load(tmp_path / "own")


OLD = {
    "mtlora": {
        "backbone.stages.0.blocks.0.block.attn.qkv.linear.weight": "backbone.stages.0.blocks.0.attn.qkv.weight",
        "backbone.stages.0.blocks.0.block.attn.qkv.update.down": "backbone.stages.0.blocks.0.attn.qkv.update.down",
        "backbone.stages.1.blocks.0.block.attn.proj.streams.linear.bias": "backbone.stages.1.blocks.0.attn.proj.bias",
        "backbone.stages.1.blocks.0.block.attn.proj.streams.shared.up": "backbone.stages.1.blocks.0.attn.proj.shared.up",
        "backbone.stages.0.blocks.0.fc1.linear.weight": "backbone.stages.0.blocks.0.mlp.fc1.weight",
        "backbone.stages.0.blocks.0.fc2.tasks.depth.up": "backbone.stages.0.blocks.0.mlp.fc2.tasks.depth.up",
        "backbone.stages.0.blocks.0.block.norm1.weight": "backbone.stages.0.blocks.0.norm1.weight",
        "backbone.stages.0.downsample.reduction.linear.weight": "backbone.stages.0.downsample.reduction.weight",
    },
    "ssf": {
        "backbone.stages.0.blocks.0.mlp.fc1.linear.bias": "backbone.stages.0.blocks.0.mlp.fc1.bias",
        "backbone.stages.0.blocks.0.attn.qkv.gain": "backbone.stages.0.blocks.0.attn.qkv.gain",
    },
}


@pytest.mark.parametrize("kind", OLD)
def test_the_names_of_schema_version_1_are_read(kind: str, tmp_path: Path) -> None:
    """The old names are written out here, as they were on disk."""
    adapter = {"mtlora": MtloraConfig(kind="mtlora", rank=2, reduction=True), "ssf": SsfConfig(kind="ssf")}[kind]
    config = small().model_copy(update={"adapter": adapter})
    model = MultiTaskModel(config)
    checkpoint.save(tmp_path / "c", config, model, CARD, storage="float32")
    weights = load_file(tmp_path / "c" / checkpoint.WEIGHTS)
    for old, new in OLD[kind].items():
        weights[old] = weights.pop(new)
    save_file(weights, tmp_path / "c" / checkpoint.WEIGHTS)
    with pytest.raises(CheckpointError, match="missing"):
        checkpoint.load(tmp_path / "c")
    text = (tmp_path / "c" / checkpoint.CONFIG).read_text()
    (tmp_path / "c" / checkpoint.CONFIG).write_text(text.replace("schema_version = 2", "schema_version = 1"))
    _, loaded = checkpoint.load(tmp_path / "c")
    assert all(torch.equal(x, model.state_dict()[name]) for name, x in loaded.state_dict().items())
