"""A checkpoint on disk: a folder with config.toml, model.safetensors and card.json.

A checkpoint with a ``base`` holds what was trained only: each other tensor of its backbone is in the base's file.
A floating-point tensor may be stored as float16 or bfloat16: each value of both is one of float32, which is what is
loaded. Any other type is refused by name, for its conversion would round or reinterpret. Nothing is ever unpickled.
"""

import errno
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeAlias

import tomli_w
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file, save_file
from torch import Tensor

from bundle.base.errors import CheckpointError, system_reason
from bundle.formats.artifacts import write_text
from bundle.formats.outputs import nothing, replacing, require_folder
from tdss.card import CARD, Card, load_card
from tdss.config import BaseConfig, ModelConfig
from tdss.config_file import CONFIG, WEIGHTS, read_config
from tdss.model import MultiTaskModel, shapes

Storage: TypeAlias = Literal["float16", "float32"]
HALVES = (torch.float16, torch.bfloat16)
BACKBONE = "backbone."
VERSION_1 = (
    (re.compile(r"(blocks\.\d+)\.(fc[12])\."), r"\1.mlp.\2."),
    (re.compile(r"\.(block|streams)\."), "."),
    (re.compile(r"\.linear\.(weight|bias)$"), r".\1"),
)
"""How MTLoRA and SSF named what they adapt in schema_version 1."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; float16 and bfloat16 become float32, any other type stays for ``match`` to refuse.

    Raises:
        CheckpointError: the file is missing, cannot be read or is no safetensors file (a pickle, say).
    """
    with reading(path):
        return widened(load_file(path))


@contextmanager
def reading(
    path: Path, expected: str = WEIGHTS, fix: str = "give the folder of a checkpoint: config.toml + model.safetensors"
) -> Iterator[None]:
    """Refuse by name what cannot be read in the block.

    Raises:
        CheckpointError: it cannot be read, or safetensors finds a fault in it.
    """
    try:
        yield
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        raise CheckpointError(
            f"the weights {'are missing' if missing else 'cannot be read'}",
            expected=expected,
            got=system_reason(error),
            where=str(path),
            fix=fix,
        ) from error
    except SafetensorError as error:
        raise CheckpointError(
            "the weights are damaged, or no safetensors file",
            expected="safetensors, whole; pickles are never read",
            got=str(error),
            where=str(path),
            fix="copy the file again; weights of another format are converted where they were made",
        ) from error


def widened(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with float16 and bfloat16 as float32, which holds each of their values."""
    return {name: tensor.float() if tensor.dtype in HALVES else tensor for name, tensor in tensors.items()}


def stored_halves(path: Path) -> str:
    """Say which tensors of a safetensors file are widened to float32; "" if none is.

    Raises:
        CheckpointError: see ``read_weights``.
    """
    with reading(path), safe_open(path, framework="pt") as weights:
        types = Counter(weights.get_slice(name).get_dtype() for name in weights.keys())  # noqa: SIM118  # safe_open is no mapping
    counts = [f"{types[name]} as {words}" for name, words in (("F16", "float16"), ("BF16", "bfloat16")) if types[name]]
    return (
        f"{path.name} stores {' and '.join(counts)} of {types.total()} tensors; read as float32, exactly"
        if counts
        else ""
    )


def write_config(path: Path, config: ModelConfig) -> None:
    """Write a model's configuration as TOML, in the present version."""
    present = ModelConfig.model_fields["schema_version"].default
    write_text(path, tomli_w.dumps(config.model_dump(mode="json", exclude_none=True) | {"schema_version": present}))


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
    """Compare tensor names, shapes and types, and look for NaN.

    Raises:
        CheckpointError: a tensor is missing, unexpected, of another shape or type, or not finite; each is named.
    """
    faults = [f"missing {name}" for name in expected if name not in got]
    faults += [f"unexpected {name}" for name in got if name not in expected]
    both = [name for name in expected if name in got]
    faults += [
        f"{name} is {tuple(got[name].shape)}, not {tuple(expected[name].shape)}"
        for name in both
        if got[name].shape != expected[name].shape
    ]
    _refuse(
        faults,
        "the weights do not fit the configuration",
        f"the {len(expected)} tensors of config.toml's model",
        where,
        "give the config.toml the weights were trained with",
    )
    _refuse(
        [
            f"{name} is {got[name].dtype}, not {expected[name].dtype}"
            for name in both
            if got[name].dtype != expected[name].dtype
        ],
        "the weights are of a type that the model does not have",
        "float32; or float16 or bfloat16, which are read as float32",
        where,
        "save the weights as float32 where they were made; quantized ones are no checkpoint",
    )
    _refuse(
        [f"{name} holds NaN or infinity" for name in both if not torch.isfinite(got[name]).all()],
        "the weights are not finite",
        "finite numbers",
        where,
        "give a checkpoint from before its training diverged",
    )


def _refuse(faults: list[str], message: str, expected: str, where: str, fix: str) -> None:
    """Raise one error that names the first eight faults, if there are any."""
    if faults:
        shown = "; ".join(faults[:8]) + (f"; and {len(faults) - 8} more" if len(faults) > 8 else "")
        raise CheckpointError(message, expected=expected, got=shown, where=where, fix=fix)


def load(folder: Path) -> tuple[ModelConfig, MultiTaskModel]:
    """Load a checkpoint folder as a float32 model in evaluation mode.

    Raises:
        ConfigError: config.toml is wrong.
        CheckpointError: the weights cannot be read or do not fit, or its base is another one.
    """
    config, weights = read(folder)
    model = MultiTaskModel(config)
    model.load_state_dict(weights)
    return config, model.eval()


def read(folder: Path) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Read a checkpoint's configuration and all tensors of its model, those of its base among them; see ``load``."""
    config = read_config(folder / CONFIG)
    weights = read_weights(folder / WEIGHTS)
    if config.schema_version == 1:
        weights = {_present(name): tensor for name, tensor in weights.items()}
    expected = shapes(config).state_dict()
    if config.base is not None:
        lent = _read_base(folder, config.base)
        weights = {name: tensor for name, tensor in lent.items() if name in expected} | weights
    match(expected, weights, str(folder / WEIGHTS))
    return config, weights


def _read_base(folder: Path, base: BaseConfig) -> dict[str, Tensor]:
    """Read the backbone's tensors of a checkpoint's base; the bytes that are hashed are those that are read.

    Raises:
        CheckpointError: the file is missing, or is not the one that the checkpoint was trained on.
    """
    path = folder / base.path / WEIGHTS
    content = path.read_bytes() if path.is_file() else None
    got = "no such file" if content is None else f"sha256 {hashlib.sha256(content).hexdigest()}"
    if content is None or got != f"sha256 {base.sha256}":
        there = f"{base.made_by} makes it" if base.made_by else "put the checkpoint with these weights there"
        raise CheckpointError(
            "the base of this checkpoint is not the one that it was trained on",
            expected=f"sha256 {base.sha256}",
            got=got,
            where=str(path),
            fix=f"{there}; or write its folder as base.path into {folder / CONFIG}",
        )
    with reading(path):
        tensors = widened(load_bytes(content))
    return {name: tensor for name, tensor in tensors.items() if name.startswith(BACKBONE)}


def _present(name: str) -> str:
    """Return the present name of a tensor of schema_version 1."""
    for pattern, new in VERSION_1:
        name = pattern.sub(new, name)
    return name


def save(folder: Path, config: ModelConfig, model: MultiTaskModel, card: Card, *, storage: Storage) -> None:
    """Write a new checkpoint folder, whole or not at all; see ``write``.

    Raises:
        InputError: there is something at ``folder``.
    """
    with replacing(folder, nothing) as temporary:
        write(temporary, config, model.state_dict(), card, storage=storage)


def join(folder: Path, out: Path) -> None:
    """Write a checkpoint with all its tensors into the new folder ``out``, as float32: those of its base among them.

    Raises:
        InputError: there is something at ``out``, or it lies in or around the checkpoint.
        ConfigError: config.toml is wrong.
        CheckpointError: the weights cannot be read or do not fit, or its base is another one.
    """
    require_folder(out, nothing, [folder])
    config, tensors = read(folder)
    card = load_card(folder)
    with replacing(out, nothing) as temporary:
        write(temporary, config.model_copy(update={"base": None}), tensors, card, storage="float32")


def write(
    folder: Path, config: ModelConfig, tensors: dict[str, Tensor], card: Card | None, *, storage: Storage
) -> None:
    """Write a checkpoint's files into ``folder``.

    ``storage`` is the type of the floating-point tensors on disk; ``num_batches_tracked`` of batch norms stays int64.
    """
    dtype = getattr(torch, storage)
    stored = {
        name: (tensor.detach().to(dtype) if tensor.is_floating_point() else tensor.detach()).contiguous()
        for name, tensor in tensors.items()
    }
    write_weights(folder / WEIGHTS, stored)
    write_config(folder / CONFIG, config)
    if card is not None:
        write_text(folder / CARD, card.model_dump_json(indent=2, exclude_none=True) + "\n")
