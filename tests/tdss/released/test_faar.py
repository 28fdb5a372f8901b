"""Released files of FAAR: their layout, and that the zeros at the end of an update tell its rank."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from bundle.base.errors import CheckpointError
from tdss import checkpoint
from tdss.adapters.faar.config import FaarConfig
from tdss.adapters.faar.ranks import Dora
from tdss.config import ModelConfig
from tdss.config_file import make_config
from tdss.decoders.tspd.config import TspdConfig
from tdss.model import MultiTaskModel, shapes
from tdss.released.faar import READER
from tdss.released.import_model import import_model

ORACLE = Path(__file__).parents[1] / "oracles/faar"
TINY = json.loads((ORACLE / "tiny.json").read_text())
IMAGE = "[image]\nheight = 224\nwidth = 224\n\n[tasks]\nsemseg = 5\nnormals = 3\nsaliency = 1\n"
FLOAT = 1e-5  # tests/tdss/oracles/faar/README.md


def released() -> dict[str, Tensor]:
    """The oracle's weights with the counters and the scores that a file has."""
    weights = load_file(ORACLE / "tiny.safetensors")
    counters = {
        name.replace("running_mean", "num_batches_tracked"): torch.tensor(9)
        for name in weights
        if "running_mean" in name
    }
    scores = {
        f"{name.removesuffix('lora_shared_A')}ema_score_shared": torch.rand(len(tensor))
        for name, tensor in weights.items()
        if name.endswith("lora_shared_A")
    }
    return weights | counters | scores


def with_zero_tails(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What the release stores after a shrink to the ranks of the oracle."""
    stored = {name: tensor.clone() for name, tensor in weights.items()}
    for path, ranks in TINY["active_ranks"].items():
        for stream, rank in ranks.items():
            names = ("lora_shared_A", "lora_shared_B")
            if stream != "shared":
                names = (f"lora_tasks_A.{stream}", f"lora_tasks_B.{stream}")
            stored[f"{path}.{names[0]}"][rank:] = 0
            stored[f"{path}.{names[1]}"][:, rank:] = 0
    return stored


def imported(
    tmp_path: Path, weights: dict[str, Tensor], **beside: object
) -> tuple[ModelConfig, MultiTaskModel, tuple[str, ...]]:
    file, keys = tmp_path / "ckpt_epoch_299.pth", tmp_path / "image.toml"
    torch.save({"model": {f"module.{name}": tensor for name, tensor in weights.items()}, **beside}, file)
    keys.write_text(IMAGE)
    left = import_model("faar", file, keys, tmp_path / "out").left
    return (*checkpoint.load(tmp_path / "out"), left)


def differences(model: MultiTaskModel) -> list[float]:
    with np.load(ORACLE / "tiny.npz", allow_pickle=False) as stored, torch.no_grad():
        got = model(torch.tensor(stored["x"]))
        wanted = {
            "saliency" if task == "sal" else task: stored[f"f64/out/{task}"] for task in ("semseg", "normals", "sal")
        }
    stride = TINY["out_subsample_stride"]
    return [
        float(np.abs(got[task][..., ::stride, ::stride].numpy() - want).max() / np.abs(want).max())
        for task, want in wanted.items()
    ]


def test_zeros_at_the_end_of_an_update_tell_its_rank(tmp_path: Path) -> None:
    config, model, left = imported(
        tmp_path, with_zero_tails(released()), optimizer={"state": {0: {"step": torch.tensor(3.0)}}}, epoch=299
    )
    assert isinstance(config.adapter, FaarConfig) and isinstance(config.decoder, TspdConfig)
    assert (config.adapter.rank, config.adapter.task_rank, config.adapter.median) == (6, 4, "released")
    assert (config.decoder.grid, config.decoder.bins, config.decoder.widths) == ("released", 16, (5, 6, 7, 8))
    kept = {name: update.kept() for name, update in model.named_modules() if isinstance(update, Dora)}
    for path, ranks in TINY["active_ranks"].items():
        for stream, rank in ranks.items():
            ours = path.replace("layers", "stages")
            stream = f"tasks.{'saliency' if stream == 'sal' else stream}" if stream != "shared" else stream
            assert kept.get(f"{ours}.{stream}", kept.get(f"{ours}.update")) == rank
    assert max(differences(model)) < FLOAT
    assert len(left) == sum("ema_score" in name for name in released()) and all("ema_score" in name for name in left)


def test_without_zeros_at_the_end_every_slot_acts(tmp_path: Path) -> None:
    """The release loads such a file at its full ranks: no tensor says otherwise, and the oracle's ranks are not in it."""
    _, model, _ = imported(tmp_path, released())
    assert all(update.kept() == len(update.order) for update in model.modules() if isinstance(update, Dora))
    assert min(differences(model)) > 0.01


def test_a_zero_slot_between_others_is_kept(tmp_path: Path) -> None:
    weights = released()
    path = "backbone.layers.0.blocks.0.attn.qkv.lora_shared"
    weights[f"{path}_A"][2], weights[f"{path}_B"][:, 2] = 0, 0
    weights[f"{path}_B"][:, 5] = 0  # a row of A alone acts again once it is trained
    _, model, _ = imported(tmp_path, weights)
    assert model.backbone.stages[0].blocks[0].attn.qkv.update.kept() == 6


def test_ranks_that_differ_become_one(tmp_path: Path) -> None:
    weights = with_zero_tails(released())
    smaller = {
        name: tensor for name, tensor in weights.items() if name.startswith("backbone.layers.1.blocks.0.mlp.fc2.lora_s")
    }
    weights |= {name: tensor[:2] if name.endswith("_A") else tensor[:, :2] for name, tensor in smaller.items()}
    _, model, _ = imported(tmp_path, weights)
    assert len(smaller) == 2 and max(differences(model)) < FLOAT


def test_an_unknown_tensor_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="do not fit") as caught:
        imported(tmp_path, released() | {"backbone.layers.0.blocks.0.attn.qkv.lora_task_scale": torch.ones(1)})
    assert "lora_task_scale" in caught.value.got


def test_the_shipped_layout_is_that_of_our_model() -> None:
    layout = json.loads((ORACLE / "layout.json").read_text())["shipped_r32"]
    kinds = {"f32": torch.float32, "i64": torch.int64}
    weights = {name: torch.ones(shape, dtype=kinds[dtype]) for name, (dtype, shape) in layout["tensors"].items()}
    config = make_config({"name": "faar", **READER.describe(weights)}, ORACLE)
    tensors, left, _ = READER.translate(weights, config)
    checkpoint.match(shapes(config).state_dict(), tensors, "layout.json")
    assert config.image.height == 448 and config.tasks == {"semseg": 21, "normals": 3, "saliency": 1, "human_parts": 7}
    assert {name.rpartition(".")[2].partition("_score")[0] for name in left} == {
        "ema",
        "attn_mask",
        "relative_position_index",
    }
    learned = [name for name in shapes(config).state_dict() if not name.endswith(("order", "tracked", "mean", "var"))]
    assert sum(math.prod(tensors[name].shape) for name in learned) == layout["totals"]["all"]
