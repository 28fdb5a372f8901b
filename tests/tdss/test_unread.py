"""Files of MT-CP and TAPS, nested and prefixed as their training saves them, are refused by name."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from bundle.base.errors import CheckpointError
from tdss.checkpoint import write_config
from tdss.foreign import import_backbone
from tdss.released.import_model import import_model
from tests.tdss.decoders.test_mtcp import ORACLE
from tests.tdss.test_checkpoint import small

TAPS = ("conv1", "layer1.0.conv1", "layer1.0.downsample.0")


def mtcp() -> dict[str, Tensor]:
    """The NYUD model's names; of Mask2Former two tensors."""
    stored = load_file(ORACLE / "tiny.safetensors")
    own = {name.partition("/")[2]: x for name, x in stored.items() if name.startswith(("both/", "nyud/"))}
    return own | {f"backbon.model.{name}": torch.zeros(1) for name in ("pixel_level_module.a", "transformer_module.b")}


def taps() -> dict[str, Tensor]:
    gated = {f"{name}.{part}": torch.zeros(1) for name in TAPS for part in ("weight", "residual", "indicator")}
    return gated | {"bn1.weight": torch.zeros(1), "fc.weight": torch.zeros(1)}


@pytest.mark.parametrize(
    ("weights", "words"),
    [(mtcp(), ("MT-CP", "Mask2Former with a Swin-S: 2 tensors")), (taps(), ("TAPS", "3 of its convolutions"))],
)
@pytest.mark.parametrize("nested", ["", "model", "state_dict"])
def test_it_is_refused_by_name(tmp_path: Path, weights: dict[str, Tensor], words: tuple[str, str], nested: str) -> None:
    held = {f"module.{name}" if nested else name: x for name, x in weights.items()}
    if nested:
        torch.save({nested: held, "epoch": 3, "optimizer": {"state": {}}}, tmp_path / "file.pth")
    else:
        save_file(held, tmp_path / "file.pth")
    write_config(tmp_path / "config.toml", small())
    with pytest.raises(CheckpointError, match=words[0]) as whole:
        import_model(words[0].lower(), tmp_path / "file.pth", None, tmp_path / "out")
    with pytest.raises(CheckpointError, match=words[0]) as backbone:
        import_backbone(tmp_path / "file.pth", tmp_path / "config.toml", tmp_path / "out", seed=0)
    assert words[1] in str(whole.value) and str(whole.value) == str(backbone.value)
    assert not (tmp_path / "out").exists()
