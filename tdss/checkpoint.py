"""A checkpoint on disk: a folder with config.toml, model.safetensors and card.json.

Weights may be stored as FP16; they are always loaded as FP32. Nothing is ever unpickled.
"""

import errno
from pathlib import Path
from typing import Literal

import tomli_w
import tomllib
import torch
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from bundle.artifacts import write_text
from bundle.errors import CheckpointError, ConfigError
from bundle.frozen import Frozen
from bundle.outputs import nothing, replacing
from bundle.tasks import task as task_row
from tdss.config import ModelConfig
from tdss.model import MultiTaskModel

CONFIG, WEIGHTS, CARD = "config.toml", "model.safetensors", "card.json"


class Card(Frozen):
    """What a checkpoint was trained on, for how long, and how good it is.

    ``metrics`` are those of the stored weights on the validation split, by task; ``baselines`` holds the same
    metrics of what the model is compared with (a trivial predictor, heads on the frozen backbone).
    """

    trained_on: str
    steps: int
    hours: float
    metrics: dict[str, float]
    baselines: dict[str, dict[str, float]] = Field(default_factory=dict)
    delta_m_percent: dict[str, float] = Field(default_factory=dict)
    notes: str = ""


def read_config(path: Path) -> ModelConfig:
    """Read a model's ``config.toml``.

    Raises:
        ConfigError: the file is missing or cannot be read, is no TOML, has an unknown key, a wrong value or an unknown task.
    """
    try:
        config = ModelConfig.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise ConfigError(
            f"the model's configuration {'is missing' if missing else 'cannot be read'}", expected=CONFIG,
            got="no such file" if missing else str(error), where=str(path),
            fix="give the folder of a checkpoint: config.toml + model.safetensors",
        ) from error  # fmt: skip
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the model's configuration is no TOML", expected="TOML", got=str(error), where=str(path),
            fix="mend the line that is named",
        ) from error  # fmt: skip
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']}" for e in error.errors())
        raise ConfigError(
            "the model's configuration is wrong", expected="the keys of tdss/config.py", got=faults, where=str(path),
            fix="correct or remove what is named",
        ) from error  # fmt: skip
    for name in config.tasks:
        task_row(name)
    return config


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file as float32 tensors.

    Raises:
        CheckpointError: the file is missing, cannot be read or is no safetensors file (a pickle, say).
    """
    try:
        tensors = load_file(path)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise CheckpointError(
            f"the weights {'are missing' if missing else 'cannot be read'}", expected=WEIGHTS,
            got="no such file" if missing else str(error), where=str(path),
            fix="give the folder of a checkpoint: config.toml + model.safetensors",
        ) from error  # fmt: skip
    except SafetensorError as error:
        raise CheckpointError(
            "the weights are no safetensors file", expected="safetensors; pickles are never read",
            got=str(error), where=str(path), fix="convert the weights to safetensors where they were made",
        ) from error  # fmt: skip
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def write_config(path: Path, config: ModelConfig) -> None:
    """Write a model's configuration as TOML."""
    write_text(path, tomli_w.dumps(config.model_dump(mode="json")))


def write_weights(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as a safetensors file that everyone may read.

    Raises:
        OSError: the system refuses to write it.
    """
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        raise OSError(errno.EIO, str(error), str(path)) from error
    path.chmod(0o644)


def match(expected: dict[str, Tensor], got: dict[str, Tensor], where: str) -> None:
    """Compare tensor names and shapes.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape, or not finite; each is named.
    """
    faults = [f"missing {name}" for name in expected if name not in got]
    faults += [f"unexpected {name}" for name in got if name not in expected]
    both = [name for name in expected if name in got]
    faults += [
        f"{name} is {tuple(got[name].shape)}, not {tuple(expected[name].shape)}"
        for name in both
        if got[name].shape != expected[name].shape
    ]
    faults += [f"{name} holds NaN or infinity" for name in both if not torch.isfinite(got[name]).all()]
    if faults:
        shown = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if len(faults) > 8 else "")
        raise CheckpointError(
            "the weights do not fit the configuration", expected=f"the {len(expected)} tensors of config.toml's model",
            got=shown, where=where, fix="give the config.toml the weights were trained with",
        )  # fmt: skip


def load(folder: Path) -> tuple[ModelConfig, MultiTaskModel]:
    """Load a checkpoint folder as a float32 model in evaluation mode.

    Raises:
        ConfigError: config.toml is wrong.
        CheckpointError: the weights cannot be read or do not fit.
    """
    config = read_config(folder / CONFIG)
    model = MultiTaskModel(config)
    weights = read_weights(folder / WEIGHTS)
    match(model.state_dict(), weights, str(folder / WEIGHTS))
    model.load_state_dict(weights)
    return config, model.eval()


def load_card(folder: Path) -> Card | None:
    """Read a checkpoint's card, or None where it has none.

    Raises:
        CheckpointError: the card is there and cannot be read.
    """
    path = folder / CARD
    if not path.is_file():
        return None
    try:
        return Card.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise CheckpointError(
            "the card cannot be read", expected="the fields of tdss.checkpoint.Card", got=str(error), where=str(path),
            fix="correct or remove what is named",
        ) from error  # fmt: skip


def save(
    folder: Path, config: ModelConfig, model: MultiTaskModel, card: Card, *, storage: Literal["float16", "float32"]
) -> None:
    """Write a new checkpoint folder, whole or not at all; see ``write``.

    Raises:
        InputError: there is something at ``folder``.
    """
    with replacing(folder, nothing) as temporary:
        write(temporary, config, model, card, storage=storage)


def write(
    folder: Path, config: ModelConfig, model: MultiTaskModel, card: Card, *, storage: Literal["float16", "float32"]
) -> None:
    """Write a checkpoint's files into ``folder``.

    ``storage`` is the type of the floating-point tensors on disk; ``num_batches_tracked`` of batch norms stays int64.
    """
    dtype = getattr(torch, storage)
    tensors = {
        name: (tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()).contiguous()
        for name, tensor in model.state_dict().items()
    }
    write_weights(folder / WEIGHTS, tensors)
    write_config(folder / CONFIG, config)
    write_text(folder / CARD, card.model_dump_json(indent=2) + "\n")
