"""The state of a run on disk: weights, running average, what parts remember and optimizer in one file, counters in JSON.

Both lie in one folder that is replaced whole, so a kill leaves the old state or the new one. Nothing is pickled.
AdamW keeps two moments per parameter and a count of steps that all parameters share.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import AdamW

from bundle.base.errors import CheckpointError
from bundle.base.frozen import Frozen
from bundle.formats.artifacts import write_text
from bundle.formats.outputs import only, replacing
from tdss.checkpoint import write_weights

TENSORS = "state.safetensors"
COUNTERS = "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq")
Own: TypeAlias = Mapping[str, Mapping[str, Tensor]]
"""What a run holds beside model and optimizer, by group and name: the running average, and what the parts remember."""


class Counters(Frozen):
    """Where a run is: ``step`` steps are done, ``seconds`` of training; ``total`` is the schedule's length.

    ``epochs`` holds the mean of each output's loss and each penalty, by name, for every epoch that ended. ``sums`` and
    ``counted`` are those of this epoch's steps so far.
    """

    schema_version: Literal[2, 3] = 3
    step: int
    total: int
    seed: int
    seconds: float
    config_sha256: str
    epochs: tuple[dict[str, float], ...] = ()
    sums: dict[str, float] = Field(default_factory=dict)
    counted: int = 0

    def add(self, losses: Mapping[str, float], *, ends_epoch: bool) -> "Counters":
        """Return the counters with one step's losses in this epoch's sums."""
        sums = {task: self.sums.get(task, 0.0) + loss for task, loss in losses.items()}
        counted = self.counted + 1
        if not ends_epoch:
            return self.model_copy(update={"sums": sums, "counted": counted})
        means = {task: value / counted for task, value in sums.items()}
        return self.model_copy(update={"epochs": (*self.epochs, means), "sums": {}, "counted": 0})


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def save(folder: Path, counters: Counters, model: nn.Module, own: Own, optimizer: AdamW) -> None:
    """Replace the state in ``folder``."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"{group}.{name}": tensor for group, held in own.items() for name, tensor in held.items()}
    for name, parameter in trainable(model).items():
        moments = optimizer.state.get(parameter, {})
        tensors |= {f"{key}.{name}": moments[key] for key in MOMENTS if key in moments}
    with replacing(folder, only(TENSORS, COUNTERS)) as temporary:
        stored = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
        write_weights(temporary / TENSORS, stored)
        write_text(temporary / COUNTERS, counters.model_dump_json(indent=2))


def load(folder: Path, model: nn.Module, own: Own, optimizer: AdamW) -> Counters | None:
    """Restore what ``save`` wrote in place and return the counters; None if there is no state.

    Raises:
        CheckpointError: the counters cannot be read, or the tensors are not those of this model.
    """
    if not (folder / COUNTERS).is_file():
        return None
    try:
        counters = Counters.model_validate_json((folder / COUNTERS).read_bytes())
    except ValidationError as error:
        raise _refuse(folder, "counters of schema_version 3", str(error)) from error
    try:
        tensors = load_file(folder / TENSORS)
    except (OSError, SafetensorError) as error:
        raise _refuse(folder, f"the tensors of step {counters.step}", str(error)) from error
    _expect(folder, "model", set(model.state_dict()), tensors)
    for group, held in own.items():
        _expect(folder, group, set(held), tensors)
    model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
    for group, held in own.items():
        for name, tensor in held.items():
            tensor.copy_(tensors[f"{group}.{name}"])
    for name, parameter in trainable(model).items() if counters.step else ():
        saved = {key: tensors[f"{key}.{name}"].to(parameter.device) for key in MOMENTS if f"{key}.{name}" in tensors}
        if saved:  # what never had a gradient has none
            optimizer.state[parameter] = {"step": torch.tensor(float(counters.step)), **saved}
    return counters


def _expect(folder: Path, group: str, names: set[str], tensors: dict[str, Tensor]) -> None:
    found = {name.removeprefix(f"{group}.") for name in tensors if name.startswith(f"{group}.")}
    if found != names:
        raise _refuse(
            folder, f"the {len(names)} {group} tensors of this config", f"other names: {sorted(found ^ names)[:4]}"
        )


def _refuse(folder: Path, expected: str, got: str) -> CheckpointError:
    return CheckpointError(
        "the last state of this run cannot be resumed",
        expected=expected,
        got=got,
        where=str(folder),
        fix="give the run another name, or remove this folder to start again",
    )
