"""The loop: one process or many, resumable at any moment, every step a function of (seed, step) and the state."""

import hashlib
import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from bundle.base.append_log import AppendLog
from bundle.base.errors import CheckpointError, ConfigError
from bundle.base.strict_json import dumps
from bundle.formats.outputs import nothing, require_folder, unlisted
from bundle.tasks.dataset import SPEC_FILE
from bundle.tasks.table import task as task_row
from tdss.decoders.base import AUXILIARY
from tdss.kinds.tensor_kind import tensors
from tdss.model import MultiTaskModel
from tdss.part import Moment
from tdss.training import data, finish, state
from tdss.training.config import TrainConfig
from tdss.training.evaluate import evaluate
from tdss.training.interrupt import held_interrupt
from tdss.training.progress import Display
from tdss.training.schedule import ema_decay, learning_rate
from tdss.training.start import averaged, build_model, make_optimizer, set_training
from tdss.training.tap_cache import NoTaps, Taps, open_taps

if TYPE_CHECKING:
    from lightning.fabric import Fabric

TIMED = 12  # steps that are timed before minutes become steps
LOG_EVERY = 20
LOG = "log.jsonl"


class Run:
    """Everything one run holds while it trains."""

    def __init__(self, config: TrainConfig, fabric: "Fabric", display: Display) -> None:
        self.config, self.fabric, self.display = config, fabric, display
        spec, image = config.data.spec or config.data.root / SPEC_FILE, config.model.image
        self.dataset = data.open_dataset(config.data.root, spec).at((image.height, image.width))
        self.log = AppendLog(config.folder / LOG)
        self.counters = state.Counters(
            step=0, total=config.steps or 0, seed=config.seed, seconds=0.0, config_sha256=fingerprint(config)
        )
        torch.manual_seed(config.seed)
        self.model = build_model(config)
        self.optimizer = make_optimizer(self.model, config)
        self.module, self.wrapped = fabric.setup(self.model, self.optimizer)  # moves the model to its device
        self.ema = {name: tensor.detach().clone() for name, tensor in averaged(self.model).items()}
        self.weights: dict[str, Tensor] = {}
        self.parts = [part for _, part in self.model.parts()]
        self.taps: Taps = NoTaps()
        self._take_factors()

    def resume(self) -> None:
        """Take up the last state of this run, if there is one."""
        found = state.load(self.config.folder / "last", self.model, self._own(), self.optimizer)
        if found is None:
            self._rewind(-1)
            return
        if found.config_sha256 != self.counters.config_sha256:
            raise ConfigError(
                f"run {self.config.name!r} was started with another config",
                expected=f"sha256 {found.config_sha256}",
                got=f"sha256 {self.counters.config_sha256}",
                where=str(self.config.folder),
                fix="give the run another name, or remove its folder",
            )
        self.counters = found
        self._take_factors()
        self._rewind(found.step)
        self.display.say(f"resumes at step {found.step} of {found.total}")

    def _rewind(self, step: int) -> None:
        """Drop the log's lines of later steps, which are made again."""
        if self.fabric.is_global_zero:
            self.log.keep(sum(json.loads(entry)["step"] <= step for entry in self.log.entries))

    def train(self) -> None:
        """Train to the last step.

        Raises:
            KeyboardInterrupt: the run was interrupted; its last step is saved.
        """
        ram = self._decode()
        self.taps = open_taps(self.config, ram, self.model.backbone, self.fabric, self.display)
        saved = time.monotonic()
        with held_interrupt() as interrupted:
            while not self.counters.total or self.counters.step < self.counters.total:
                self._one_step(ram)
                if self.counters.step in self._evaluation_steps():
                    self.evaluate()
                if interrupted():
                    self.save()
                    raise KeyboardInterrupt
                if time.monotonic() - saved >= self.config.save_seconds:
                    self.save()
                    saved = time.monotonic()
        self.save()

    def _one_step(self, ram: data.Ram) -> None:
        """Draw the step's batch, train on it and count it."""
        start, step, size = time.monotonic(), self.counters.step, self.config.batch * self.fabric.world_size
        chosen = data.indices(len(ram), size, step, self.config.seed)[self.fabric.global_rank :: self.fabric.world_size]
        draw = data.generator(self.config.seed, step, 2 + self.fabric.global_rank)
        batch = data.make_batch(ram, chosen, self.config.model.image, self.config.augment, draw)
        loaded = time.monotonic() - start
        epoch, following = step * size // len(ram), (step + 1) * size // len(ram)
        moment = Moment(step, epoch, data.generator(self.config.seed, step, 0))
        total, values = self.step(batch, moment, draw)
        self._end_step(moment, values, ends_epoch=following > epoch)
        self._count(total, values, time.monotonic() - start, loaded)

    def step(self, batch: data.Batch, moment: Moment, draw: torch.Generator) -> tuple[float, dict[str, float]]:
        """Do one step of the optimizer; return the loss, and each output's and penalty's unweighted part of it.

        Raises:
            CheckpointError: a loss or a gradient is not finite; the weights are those of the step before.
        """
        torch.manual_seed(int(torch.randint(2**62, (), generator=draw)))  # drop-path
        set_training(self.model)
        rate = learning_rate(moment.step, self.counters.total or 10**9, self.config.optimizer)
        for group in self.wrapped.param_groups:
            group["lr"] = rate
        for part in self.parts:
            part.before_step(moment)
        raw: dict[str, Tensor] = self.module(self.fabric.to_device(batch.images), self.taps.read(batch.views))
        labels = {task: self.fabric.to_device(label) for task, label in batch.labels.items()}
        parts = {name: self._loss(name, output, labels, draw) for name, output in raw.items()}
        weighted = [self._weight(name) * value for name, value in parts.items()]
        penalties = self._penalties(moment)
        loss = torch.stack([*weighted, *penalties.values()]).sum()
        self.wrapped.zero_grad()
        self.fabric.backward(loss)
        for part in self.parts:
            part.after_backward(moment)
        norm = self.fabric.clip_gradients(
            self.module, self.wrapped, max_norm=self.config.optimizer.clip, error_if_nonfinite=False
        )
        named = parts | penalties
        means = self.fabric.all_reduce(torch.stack(list(named.values())).detach())  # one history for all devices
        assert isinstance(means, Tensor)
        values = dict(zip(named, means.tolist(), strict=True))
        gradient = {"the gradient": float("nan") if norm is None else float(norm)}
        self._require_finite(moment.step, values | gradient)
        self.wrapped.step()
        return float(loss.detach()), values

    def evaluate(self) -> None:
        """Log the metrics of the averaged weights on some validation images; a slow metric waits for the end."""
        if not self.fabric.is_global_zero:
            return
        ids = self.dataset.ids(self.config.data.validation)[: self.config.evaluation_images]
        tasks = [task for task, channels in self.config.model.tasks.items() if not task_row(task).judge(channels).slow]
        values = evaluate(self.averaged_model(), self.config.model, self.dataset, ids, tasks)
        self.log.add(dumps({"step": self.counters.step, "images": len(ids), "metrics": values}))
        self.display.say(
            f"step {self.counters.step}: " + "  ".join(f"{task} {value:.4f}" for task, value in values.items())
        )

    def averaged_model(self) -> MultiTaskModel:
        """Return a copy of the model with the averaged weights."""
        model = MultiTaskModel(self.config.model).to(self.fabric.device)
        model.load_state_dict({**self.model.state_dict(), **self.ema})
        remembered = self.model.training_state()
        for name, tensor in model.training_state().items():
            tensor.copy_(remembered[name])
        return model.eval()

    def save(self) -> None:
        """Replace the last state on disk."""
        if self.fabric.is_global_zero:
            state.save(self.config.folder / "last", self.counters, self.model, self._own(), self.optimizer)

    def _own(self) -> state.Own:
        return {"ema": self.ema, "part": self.model.training_state()}

    def _decode(self) -> data.Ram:
        ids = self.dataset.ids(self.config.data.train)
        self.dataset.require_channels(self.config.model.tasks)
        self.display.say(f"decodes {len(ids)} images")
        ram = data.decode(self.dataset, ids, tuple(self.config.model.tasks), self.config.model.image)
        for task, loss in self.config.losses.items():
            kind, channels = tensors(task_row(task).kind), self.config.model.tasks[task]
            weights = kind.class_weights(ram.labels[task], channels, loss.balance) if loss.balance else None
            if weights is not None:
                self.weights[task] = self.fabric.to_device(weights)
        return ram

    def _loss(self, name: str, raw: Tensor, labels: dict[str, Tensor], draw: torch.Generator) -> Tensor:
        task = name.partition(AUXILIARY)[0]
        stride = self.config.losses[task].stride
        down, across = (int(torch.randint(stride, (), generator=draw)) for _ in range(2))
        raw, label = raw[..., down::stride, across::stride], labels[task][..., down::stride, across::stride]
        return tensors(task_row(task).kind).loss(raw.float(), label, self.weights.get(task))

    def _weight(self, name: str) -> float:
        """Return the factor of an output's loss in the sum."""
        task, auxiliary, _ = name.partition(AUXILIARY)
        own = self.config.losses[task]
        return own.weight * self.factors.get(task, 1.0) * (own.auxiliary if auxiliary else 1.0)

    def _penalties(self, moment: Moment) -> dict[str, Tensor]:
        summed: dict[str, Tensor] = {}
        for part in self.parts:
            for name, value in part.penalties(moment).items():
                summed[name] = summed[name] + value if name in summed else value
        return summed

    def _end_step(self, moment: Moment, values: dict[str, float], *, ends_epoch: bool) -> None:
        """Count the step's losses for the epoch, end the epoch, and let the average follow."""
        self.counters = self.counters.add(values, ends_epoch=ends_epoch)
        if ends_epoch:
            for part in self.parts:
                part.after_epoch(moment)
            self._take_factors()
        self._average(moment.step)

    def _take_factors(self) -> None:
        """Ask the parts for the factors on the tasks' loss weights; those of several parts multiply."""
        self.factors: dict[str, float] = {}
        for part in self.parts:
            for task, factor in part.loss_factors(self.counters.epochs).items():
                self.factors[task] = self.factors.get(task, 1.0) * factor

    def _require_finite(self, step: int, values: dict[str, float]) -> None:
        """Stop before a step that would spoil the weights; the gradient is that of all devices, so each of them stops."""
        wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
        if wrong:
            raise CheckpointError(
                f"run {self.config.name!r} diverged at step {step + 1}",
                expected="finite losses and a finite gradient",
                got=", ".join(f"{name} {value}" for name, value in wrong.items()),
                where=str(self.config.folder),
                fix="give the run another name and a smaller learning rate, a longer warm-up or another seed; the last "
                "good state is kept",
            )

    def _average(self, step: int) -> None:
        decay = ema_decay(step, self.config.optimizer.ema)
        current = averaged(self.model)
        torch._foreach_lerp_(list(self.ema.values()), [current[name].detach() for name in self.ema], 1 - decay)

    def _count(self, total: float, values: dict[str, float], seconds: float, loaded: float) -> None:
        counters = self.counters
        counters = counters.model_copy(update={"step": counters.step + 1, "seconds": counters.seconds + seconds})
        if not counters.total and counters.step >= TIMED and self.config.minutes is not None:
            total_steps = round(self.config.minutes * 60 * counters.step / counters.seconds)
            counters = counters.model_copy(update={"total": self.fabric.broadcast(total_steps)})  # one for all devices
        self.counters = counters
        self.display.step(counters.step, counters.total, total, seconds)
        if self.fabric.is_global_zero and (counters.step % LOG_EVERY == 0 or counters.step == counters.total):
            rate = learning_rate(counters.step - 1, counters.total or 10**9, self.config.optimizer)
            timing = {
                "seconds": round(counters.seconds, 2),
                "step_seconds": round(seconds, 4),
                "data_seconds": round(loaded, 4),
            }
            self.log.add(dumps({"step": counters.step, "loss": total, "losses": values, "lr": rate, **timing}))

    def _evaluation_steps(self) -> set[int]:
        parts = self.config.evaluations + 1
        return {self.counters.total * part // parts for part in range(1, parts)} if self.counters.total else set()


def train(config: TrainConfig, fabric: "Fabric", display: Display) -> None:
    """Run one phase to its end and write its checkpoint; a phase that has one already is left as it is.

    Raises:
        InputError: the run's folder holds something else, or lies in or around what the run reads.
    """
    if finish.is_done(config, fingerprint(config)):
        display.say(f"is done: {config.folder / 'checkpoint'}")
    else:
        inputs = [config.data.root, *([] if config.init_backbone is None else [config.init_backbone])]
        require_folder(config.folder, foreign, inputs)
        config.folder.mkdir(parents=True, exist_ok=True)
        run = Run(config, fabric, display)
        trained, every = (
            sum(p.numel() for p in part) for part in (state.trainable(run.model).values(), run.model.parameters())
        )
        display.say(f"trains {trained / 1e6:.3f} M of {every / 1e6:.3f} M parameters")
        run.resume()
        require_folder(config.folder / "checkpoint", nothing)
        run.train()
        if fabric.is_global_zero:
            finish.finish(config, run.averaged_model().cpu(), run.dataset, run.counters, display, run.log)
        fabric.barrier()
    if fabric.is_global_zero:
        finish.compare(config)


def foreign(folder: Path) -> str:
    """Say what is in a run's folder that no killed run left; ``Run.resume`` says whose state is there."""
    return "" if (folder / "last").is_dir() else unlisted(folder, {LOG})


def fingerprint(config: TrainConfig) -> str:
    """Return the sha256 of everything in a config that is not a default."""
    return hashlib.sha256(config.model_dump_json(exclude_defaults=True).encode()).hexdigest()
