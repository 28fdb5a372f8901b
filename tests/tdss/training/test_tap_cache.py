"""A run that reads its frozen backbone's taps from a file trains as one that computes them; a cut file is completed."""

from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from bundle.base.errors import CheckpointError, InputError
from tdss import checkpoint
from tdss.backbones.base import BlockTap, StageTap
from tdss.card import Card
from tdss.model import MultiTaskModel
from tdss.training import tap_cache
from tdss.training.config import TrainConfig
from tdss.training.loop import Run
from tdss.training.tap_cache import TapCache
from tests.tdss.training.test_loop import make_run
from tests.tdss.training.tiny import settings, write_folder

VIT = {"kind": "vit", "dim": 8, "depths": [2, 1], "heads": 2, "patch": 8}
ADAPTERS = {
    "mlp and stem": {"kind": "tdss", "experts": 2, "rank": 2, "gates": [["static", "dynamic"], ["static"]], "stem": 4},
    "both": {
        "kind": "tdss",
        "experts": 2,
        "rank": 2,
        "gates": [["static", "static"], ["dynamic"]],
        "insertion": "both",
    },
    "none": {"kind": "none"},
}


def keys(tmp_path: Path, adapter: str, **changes: object) -> dict[str, object]:
    """Return the keys of a run on a frozen ViT, whose checkpoint is written."""
    made = settings(write_folder(tmp_path / "set"), tmp_path / "runs")
    model = made["model"]
    assert isinstance(model, dict)
    widths = [4] * (2 + ("stem" in ADAPTERS[adapter]))
    model |= {"backbone": VIT, "adapter": ADAPTERS[adapter], "decoder": {"widths": widths, "hidden": 8, "stride": 4}}
    start = TrainConfig.model_validate(made).model
    torch.manual_seed(5)
    if not (tmp_path / "start").exists():
        card = Card(trained_on="nothing", steps=0, hours=0.0, metrics={})
        checkpoint.save(tmp_path / "start", start, MultiTaskModel(start), card, storage="float32")
    frozen = {"init_backbone": tmp_path / "start", "freeze_backbone": True, "augment": {"flip": 0.5}, "steps": 4}
    return {**made, **frozen, "evaluations": 0, **changes}


def losses(run: Run) -> list[dict[str, float]]:
    """Train a run and return the means of each epoch's losses."""
    run.train()
    return list(run.counters.epochs)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != ".lock"]


@pytest.mark.slow
@pytest.mark.parametrize("adapter", ADAPTERS)
def test_a_run_with_a_cache_trains_as_one_without(
    adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = losses(make_run(tmp_path, **keys(tmp_path, adapter)))
    cached = make_run(tmp_path, **keys(tmp_path, adapter, cache_taps=tmp_path / "taps"))
    cached_losses = losses(cached)
    assert len(plain) == len(cached_losses) == 2
    for one, other in zip(plain, cached_losses, strict=True):
        assert other == pytest.approx(one, rel=2e-3)  # FP16 has 11 bits
    monkeypatch.setattr(type(cached.model.backbone), "forward", lambda self, image: pytest.fail("the backbone runs"))
    assert losses(make_run(tmp_path, **keys(tmp_path, adapter, cache_taps=tmp_path / "taps"))) == cached_losses


def test_a_cut_cache_is_completed_and_another_backbone_has_another(tmp_path: Path) -> None:
    changes = keys(tmp_path, "mlp and stem", cache_taps=tmp_path / "taps", steps=1)
    losses(make_run(tmp_path, **changes))
    [path] = files(tmp_path / "taps")
    whole = path.read_bytes()
    assert (
        len(whole) == 2 * 8 * (3 + 2) * 16 * 8
    )  # FP16; 4 images, mirrored; 3 blocks, 2 stages; 4 × 4 patches; 8 channels
    path.write_bytes(whole[: len(whole) * 2 // 5])
    losses(make_run(tmp_path, **changes))
    assert path.read_bytes() == whole
    other = make_run(tmp_path, **changes)
    with torch.no_grad():
        other.model.backbone.patch_embed.weight.mul_(2)
    losses(other)
    assert len(files(tmp_path / "taps")) == 2 and path.read_bytes() == whole


def test_a_view_is_its_image_mirrored(tmp_path: Path) -> None:
    """The cache of the mirrored images holds what the backbone says of images that NumPy mirrors."""
    run = make_run(tmp_path, **keys(tmp_path, "none", cache_taps=tmp_path / "taps", steps=1))
    run.train()
    image = run.dataset.image("002")[:, ::-1]
    mean, std = (np.array(x) for x in (run.config.model.image.mean, run.config.model.image.std))
    pixels = torch.from_numpy(((image / 255 - mean) / std).transpose(2, 0, 1).astype(np.float32))
    with torch.no_grad():
        want = run.model.backbone(pixels[None])
    got = run.taps.read([4 + 2])
    assert got is not None
    assert all(torch.allclose(a.output, b.output, atol=5e-3) for a, b in zip(got, want, strict=True))


def test_what_fp16_cannot_hold_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path, **keys(tmp_path, "none"))
    cache = TapCache(tmp_path / "taps.f16", run.model.backbone, (), 1, torch.device("cpu"))
    taps: list[Tensor] = [torch.full((1, 4, 4, 8), value) for value in (1.0, 1e5)]
    with pytest.raises(CheckpointError, match="does not fit FP16") as caught:
        cache.append([StageTap((BlockTap(tap, tap),), tap) for tap in taps])
    assert caught.value.got == "100000" and cache.done() == 0


def test_a_full_disk_is_refused_before_the_backbone_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")(1, 1, 1000)
    monkeypatch.setattr(tap_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="no space for the backbone's taps"):
        make_run(tmp_path, **keys(tmp_path, "none", cache_taps=tmp_path / "taps")).train()
    assert files(tmp_path / "taps") == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"augment": {"flip": 0.5, "brightness": 0.1}}, "an augmentation by flips only"),
        ({"augment": {"scale": 0.9}}, "an augmentation by flips only"),
        ({"freeze_backbone": False}, "needs freeze_backbone"),
    ],
)
def test_what_would_make_a_cached_tap_wrong_is_refused(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    made = keys(tmp_path, "none", cache_taps=tmp_path / "taps")
    TrainConfig.model_validate(made)
    with pytest.raises(ValidationError, match=said):
        TrainConfig.model_validate({**made, **changes})


def test_an_adapter_inside_the_backbone_has_no_cache(tmp_path: Path) -> None:
    made = keys(tmp_path, "none", cache_taps=tmp_path / "taps")
    model = made["model"]
    assert isinstance(model, dict)
    model["adapter"] = {"kind": "ssf"}
    with pytest.raises(ValidationError, match="an adapter beside the backbone"):
        TrainConfig.model_validate(made)
