"""One run without a clock or a disk: where its tensors are, when it stops, and who says how long it is."""

import signal
from pathlib import Path

import pytest
import torch
from lightning.fabric import Fabric
from rich.console import Console
from torch import Tensor

from bundle.base.errors import CheckpointError, ConfigError, InputError
from bundle.formats.artifacts import hash_folder
from tdss import checkpoint
from tdss.adapters.config import MtloraConfig
from tdss.card import Card
from tdss.kinds.unit_vector import UnitVectorTensors
from tdss.model import MultiTaskModel
from tdss.part import Moment
from tdss.training import data, loop
from tdss.training.config import TrainConfig
from tdss.training.loop import Run
from tdss.training.progress import Display
from tdss.training.start import build_model
from tests.tdss.training.tiny import settings, write_folder

CARD = Card(trained_on="nothing", steps=0, hours=0.0, metrics={})


def make_run(tmp_path: Path, *, double: bool = False, **changes: object) -> Run:
    keys = {**settings(write_folder(tmp_path / "set"), tmp_path / "runs"), **changes}
    config = TrainConfig.model_validate({key: value for key, value in keys.items() if value is not None})
    fabric = Fabric(accelerator="cpu", devices=1, precision="64-true" if double else "32-true")
    return Run(config, fabric, Display("tiny", Console(quiet=True)))


def draw_batch(run: Run) -> data.Batch:
    ram = run._decode()
    draw = data.generator(0, 0, 2)
    return data.make_batch(ram, data.indices(len(ram), 2, 0, 0), run.config.model.image, run.config.augment, draw)


def test_the_average_lies_where_setup_put_the_model(tmp_path: Path) -> None:
    """Fabric's double precision stands for a GPU: setup changes the parameters in place."""
    run = make_run(tmp_path, double=True)
    assert {tensor.dtype for tensor in run.ema.values()} == {torch.float64}
    run._average(0)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_run_that_diverges_stops_before_it_spoils_its_weights(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path)
    batch = draw_batch(run)

    def spoiled(self: UnitVectorTensors, raw: Tensor, label: Tensor, weight: Tensor | None) -> Tensor:
        if where == "loss":
            return raw.sum() * float("nan")
        return (raw - raw.detach()).abs().sum().sqrt()  # 0, with an infinite slope

    monkeypatch.setattr(UnitVectorTensors, "loss", spoiled)
    before = {name: tensor.clone() for name, tensor in run.model.named_parameters()}
    with pytest.raises(CheckpointError, match="diverged at step 1") as caught:
        run.step(batch, Moment(0, 0, data.generator(0, 0, 0)), data.generator(0, 0, 2))
    assert ("normals nan" in caught.value.got) == (where == "loss") and "the gradient nan" in caught.value.got
    assert all(torch.equal(before[name], tensor) for name, tensor in run.model.named_parameters())


def test_the_first_device_says_how_many_steps_the_minutes_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, steps=None, minutes=1.0)
    run.counters = run.counters.model_copy(update={"step": loop.TIMED - 1, "seconds": 1.0})
    monkeypatch.setattr(run.fabric, "broadcast", lambda value, src=0: 77)
    run._count(2.0, {"semseg": 1.0, "normals": 1.0}, 0.1, 0.0)
    assert run.counters.total == 77


def test_a_damaged_state_is_refused_by_name(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.save()
    make_run(tmp_path).resume()
    tensors = tmp_path / "runs" / "tiny" / "last" / "state.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match="cannot be resumed") as caught:
        make_run(tmp_path).resume()
    assert caught.value.where == str(tensors.parent)


@pytest.mark.parametrize("there", ["thesis.txt", "checkpoint/model.safetensors", "config.toml", "last/mine.txt"])
def test_a_run_writes_over_nothing_that_is_not_its_own(tmp_path: Path, there: str) -> None:
    run = make_run(tmp_path)
    path = run.config.folder / there
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    before = hash_folder(run.config.folder)
    if there.startswith("last"):  # a state that cannot be read is none, and is not replaced
        with pytest.raises(InputError, match="there is something here"):
            run.save()
    else:
        with pytest.raises(InputError, match="there is something here"):
            loop.train(run.config, run.fabric, run.display)
    assert hash_folder(run.config.folder) == before


def test_a_run_does_not_train_for_a_checkpoint_that_it_may_not_write(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.save()
    (run.config.folder / "checkpoint").mkdir()
    (run.config.folder / "checkpoint" / "model.safetensors").write_text("another's")
    with pytest.raises(InputError, match="there is something here"):
        loop.train(run.config, run.fabric, run.display)
    assert run.counters.step == 0 and not (run.config.folder / "log.jsonl").exists()


def test_a_run_stays_out_of_what_it_reads(tmp_path: Path) -> None:
    run = make_run(tmp_path, runs=tmp_path / "set")
    with pytest.raises(InputError, match="is inside an input"):
        loop.train(run.config, run.fabric, run.display)


def test_an_interrupt_finishes_and_saves_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial of minutes is over before the first timed save: Ctrl-C must not lose it."""
    run = make_run(tmp_path)
    original, steps, before = Run.step, list[int](), signal.getsignal(signal.SIGINT)

    def interrupted(
        own: Run, batch: data.Batch, moment: Moment, draw: torch.Generator
    ) -> tuple[float, dict[str, float]]:
        steps.append(moment.step)
        if moment.step == 2:
            signal.raise_signal(signal.SIGINT)
        return original(own, batch, moment, draw)

    monkeypatch.setattr(Run, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.train(run.config, run.fabric, run.display)
    assert steps == [0, 1, 2]
    again = make_run(tmp_path)
    again.resume()
    assert again.counters.step == 3
    assert signal.getsignal(signal.SIGINT) is before


def test_a_run_that_was_killed_before_its_first_state_starts_again(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.config.folder.mkdir(parents=True)
    run.log.add('{"step": 20}')
    assert loop.foreign(run.config.folder) == ""


def test_a_backbone_with_an_adapter_in_it_starts_no_other_model(tmp_path: Path) -> None:
    keys = settings(tmp_path, tmp_path / "runs")
    config = TrainConfig.model_validate({**keys, "init_backbone": tmp_path / "c"})
    adapted = config.model.model_copy(update={"adapter": MtloraConfig(kind="mtlora", rank=2)})
    checkpoint.save(tmp_path / "c", adapted, MultiTaskModel(adapted), CARD, storage="float32")
    with pytest.raises(ConfigError, match="holds an adapter"):
        build_model(config)
