"""TAPS in training: its gates close, a run that was stopped ends as an undisturbed one, and what is stored is what acts."""

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from rich.console import Console

from tdss import checkpoint
from tdss.adapters.taps.modules import Residual
from tdss.card import Card
from tdss.model import MultiTaskModel
from tdss.training import finish
from tdss.training.config import TrainConfig
from tdss.training.loop import Run
from tdss.training.progress import Display
from tests.tdss.training.tiny import settings, write_folder

EPOCHS, STEPS = 5, 2  # 4 images, 2 in a batch


def config_of(tmp_path: Path, runs: str) -> TrainConfig:
    keys = settings(tmp_path / "set", tmp_path / runs)
    plain = TrainConfig.model_validate(keys).model
    if not (tmp_path / "set").exists():
        write_folder(tmp_path / "set")
        torch.manual_seed(0)  # other weights may keep every gate open
        card = Card(trained_on="nothing", steps=0, hours=0.0, metrics={})
        checkpoint.save(tmp_path / "base", plain, MultiTaskModel(plain), card, storage="float32")
    adapter = {"kind": "taps", "layers": ["stages.1.*", "*.mlp.fc2"], "sparsity": 1.0, "warmup": 1}
    changes = {
        "steps": EPOCHS * STEPS,
        "save_seconds": 0.0,
        "evaluations": 0,
        "init_backbone": tmp_path / "base",
        "freeze_backbone": True,
        "stores": "trained",
        "optimizer": {"lr": 0.02, "ema": 0.5},
        "model": plain.model_dump() | {"adapter": adapter},
    }
    return TrainConfig.model_validate({**keys, **changes})


def make_run(config: TrainConfig) -> Run:
    config.folder.mkdir(parents=True, exist_ok=True)
    run = Run(config, Fabric(accelerator="cpu", devices=1, precision="32-true"), Display("tiny", Console(quiet=True)))
    run.resume()
    return run


def gates(model: MultiTaskModel) -> list[bool]:
    model.train(model.training)
    return [module.open for module in model.modules() if isinstance(module, Residual)]


def test_a_run_stopped_as_its_gates_close_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_run(config_of(tmp_path, "whole"))
    assert all(gates(whole.model))
    whole.train()
    assert [("sparsity" in epoch) for epoch in whole.counters.epochs] == [False, False, True, True, True]
    stopped = make_run(config_of(tmp_path, "cut"))
    save = stopped.save

    def save_and_stop() -> None:
        save()
        if stopped.counters.step == 3 * STEPS + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(stopped, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = make_run(config_of(tmp_path, "cut"))
    assert resumed.counters.step == 3 * STEPS + 1
    resumed.train()
    assert 0 < sum(gates(resumed.model)) < len(gates(resumed.model))
    for mine, other in ((resumed.model.state_dict(), whole.model.state_dict()), (resumed.ema, whole.ema)):
        assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)


def test_a_checkpoint_stores_open_layers_only(tmp_path: Path) -> None:
    run = make_run(config_of(tmp_path, "runs"))
    run.train()
    trained = run.averaged_model()
    finish.finish(run.config, run.averaged_model(), run.dataset, run.counters, run.display, run.log)
    folder = run.config.folder / "checkpoint"
    stored = checkpoint.read_weights(folder / "model.safetensors")
    assert not [name for name in stored if name.endswith("score") or name.startswith("backbone.")]
    assert sum(name.endswith("residual") for name in stored) == sum(gates(trained)) < len(gates(trained))
    config, model = checkpoint.load(folder)
    assert config.adapter == model.adapter.config != run.config.model.adapter
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        want, got = trained(image), model(image)
    for task, answer in got.items():
        assert torch.allclose(answer, want[task], rtol=0, atol=2e-2 * float(want[task].abs().max()))  # FP16
    base = checkpoint.read_weights(tmp_path / "base" / "model.safetensors")
    backbone = [name for name in base if name.startswith("backbone.")]
    assert all(torch.equal(base[name], run.model.state_dict()[name]) for name in backbone)
