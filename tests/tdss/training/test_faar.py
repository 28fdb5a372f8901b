"""FAAR in training: its ranks fall, and a run that was stopped between two shrinks ends as an undisturbed one."""

from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from rich.console import Console

from tdss import checkpoint
from tdss.adapters.faar.ranks import Dora
from tdss.training import finish
from tdss.training.config import TrainConfig
from tdss.training.loop import Run
from tdss.training.progress import Display
from tests.tdss.training.tiny import settings, write_folder

EPOCHS, STEPS = 4, 2  # 4 images, 2 in a batch


def config_of(root: Path, runs: Path) -> TrainConfig:
    keys = settings(root, runs)
    model = keys["model"]
    assert isinstance(model, dict)
    model["adapter"] = {"kind": "faar", "rank": 8, "task_rank": 6, "coverage": 0.5, "floor": 1, "penalty": 1.0}
    model["decoder"] = {"kind": "tspd", "widths": [4, 4], "hidden": 8}
    return TrainConfig.model_validate({**keys, "steps": EPOCHS * STEPS, "save_seconds": 0.0, "evaluations": 0})


def make_run(config: TrainConfig) -> Run:
    config.folder.mkdir(parents=True, exist_ok=True)
    run = Run(config, Fabric(accelerator="cpu", devices=1, precision="32-true"), Display("tiny", Console(quiet=True)))
    run.resume()
    return run


def ranks(run: Run) -> list[int]:
    return [part.kept() for part in run.parts if isinstance(part, Dora)]


@pytest.mark.slow
def test_a_run_stopped_between_two_shrinks_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path / "set")
    whole = make_run(config_of(root, tmp_path / "whole"))
    started = ranks(whole)
    whole.train()
    stopped = make_run(config_of(root, tmp_path / "cut"))
    save = stopped.save

    def save_and_stop() -> None:
        save()
        if stopped.counters.step == STEPS + 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(stopped, "save", save_and_stop)
    with pytest.raises(KeyboardInterrupt):
        stopped.train()
    resumed = make_run(config_of(root, tmp_path / "cut"))
    assert resumed.counters.step == STEPS + 1
    middle = ranks(resumed)
    resumed.train()
    assert started > middle > ranks(resumed) and ranks(resumed) == ranks(whole)
    for mine, other in ((resumed.model.state_dict(), whole.model.state_dict()), (resumed.ema, whole.ema)):
        assert mine.keys() == other.keys() and all(torch.equal(mine[name], other[name]) for name in mine)
    scores, others = resumed.model.training_state(), whole.model.training_state()
    assert all(torch.equal(scores[name], others[name]) for name in others) and any(x.any() for x in others.values())
    assert not torch.equal(
        *(run.model.decoders.heads["semseg"].delta for run in (whole, make_run(config_of(root, tmp_path / "new"))))
    )


@pytest.mark.slow
def test_the_ranks_that_are_kept_are_in_the_checkpoint(tmp_path: Path) -> None:
    run = make_run(config_of(write_folder(tmp_path / "set"), tmp_path / "runs"))
    run.train()
    finish.finish(run.config, run.averaged_model(), run.dataset, run.counters, run.display, run.log)
    _, model = checkpoint.load(run.config.folder / "checkpoint")
    kept = [update.kept() for update in model.modules() if isinstance(update, Dora)]
    assert kept == ranks(run) and min(kept) < 6
