"""The one module that reads weights others wrote: published backbones, as safetensors or as a PyTorch file.

What a file is, its first bytes say, not its name. A PyTorch file is read with ``weights_only=True``, which loads tensors and
plain containers and refuses any other object.
"""

import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from bundle.base.errors import CheckpointError
from bundle.formats.artifacts import Imported, Record, hash_file, hash_folder, write_record
from bundle.formats.outputs import artifact, replacing, require_folder
from tdss import checkpoint, config_file
from tdss.backbones.base import Backbone, Published
from tdss.card import Card
from tdss.config import ModelConfig
from tdss.model import MultiTaskModel, plain_backbone, shapes
from tdss.systems import class_of
from tdss.unread import refuse_unread

ZIPPED, PICKLED = b"PK\x03\x04", b"\x80"  # how a PyTorch file begins: since 1.6, and before it
LENGTH = 8  # bytes of a safetensors header's length, little-endian, before the header
UNREADABLE = (
    pickle.UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
    MemoryError,
    OverflowError,
    OSError,
    struct.error,
    zipfile.BadZipFile,
)
"""What torch.load raises for a file that is damaged, made to harm, or holds something else than tensors."""
OTHER = re.compile(r"\bGLOBAL ([\w.]+)")  # what PyTorch's refusal of a pickle calls the object it asks for
SETTINGS = ("yacs.config.CfgNode", "argparse.Namespace")
"""Settings that released code saves beside the weights: read as plain dictionaries, of no use here."""
NESTED = ("model", "state_dict", "model_state", "net", "teacher", "student")
"""Where published files keep the weights; of a teacher and a student the teacher is what is published."""


def read_foreign(path: Path) -> dict[str, Tensor]:
    """Read a file of weights: safetensors, or a PyTorch file of tensors; its first bytes say which.

    Raises:
        CheckpointError: the file is missing, is neither, holds anything but tensors, or holds none; or it holds a
            released model that needs what is not here.
    """
    tensors = checkpoint.read_weights(path) if _is_safetensors(path) else _unpickle(path)
    refuse_unread(tensors, path)
    return tensors


def _unpickle(path: Path) -> dict[str, Tensor]:
    try:
        allowed = torch.serialization.safe_globals([(OrderedDict, name) for name in SETTINGS])
        with path.open("rb") as stream, allowed:
            content = torch.load(stream, map_location="cpu", weights_only=True)  # of a path it would read the suffix
    except UNREADABLE as error:
        said = _said(error)
        raise CheckpointError(
            "the weights cannot be read safely",
            expected="a PyTorch file of tensors only, or safetensors",
            got=said,
            where=str(path),
            fix="copy the file again if it was cut; else save the state_dict alone where it was made",
        ) from error
    for name in NESTED:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    tensors = (
        {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
        if isinstance(content, dict)
        else {}
    )
    if not tensors:
        raise CheckpointError(
            "there are no weights in this file",
            expected="tensors by name",
            got=type(content).__name__,
            where=str(path),
            fix="save the state_dict where the file was made",
        )
    if other := [name for name, tensor in tensors.items() if not _is_plain(tensor)]:
        raise CheckpointError(
            "a tensor of this file holds no plain numbers",
            expected="dense tensors that are not quantized",
            got=other[0],
            where=str(path),
            fix="save the state_dict of the float model where the file was made",
        )
    return checkpoint.widened(tensors)


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and not tensor.is_quantized and not tensor.is_meta


def _said(error: Exception) -> str:
    """Return what torch.load says of a file, without its advice to run what the file holds."""
    if isinstance(error, pickle.UnpicklingError):
        found = OTHER.search(str(error))
        return f"a pickle that asks for {found[1]}" if found else "a pickle of something else"
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _is_safetensors(path: Path) -> bool:
    """Say whether the file is safetensors; if not, it begins as a PyTorch file does.

    Raises:
        CheckpointError: it cannot be read, or begins as neither.
    """
    with checkpoint.reading(path, "a file", "correct the path"), path.open("rb") as stream:
        head = stream.read(LENGTH + 1)
        size = stream.seek(0, 2)
    if len(head) > LENGTH and head[LENGTH:] == b"{" and int.from_bytes(head[:LENGTH], "little") <= size - LENGTH:
        return True
    if not head.startswith((ZIPPED, PICKLED)):
        raise CheckpointError(
            "this is no file of weights",
            expected="a file that begins as safetensors or as torch.save writes it",
            got=f"{size} bytes that begin with {head.hex(' ') or 'nothing'}",
            where=str(path),
            fix="fetch the file again; a page or a pointer that was saved in its place is no file of weights",
        )
    return False


def import_backbone(weights: Path, config: Path, out: Path, *, seed: int) -> Published:
    """Write a checkpoint whose backbone is a published one; adapters and decoders are new, drawn from ``seed``.

    ``config`` is a model's config.toml. Returns what was read of the file.

    Raises:
        InputError: something is at ``out`` that import did not write, or ``out`` lies in or around an input.
        ConfigError: the configuration is wrong.
        CheckpointError: the weights cannot be read, or are of another backbone than the configuration's.
    """
    require_folder(out, artifact(Imported), [weights, config])
    model_config = config_file.read_config(config)
    shapes(model_config)
    backbone_class: type[Backbone] = class_of(model_config.backbone)
    published = backbone_class.translate(read_foreign(weights), model_config.backbone, model_config.image)
    torch.manual_seed(seed)
    backbone = plain_backbone(model_config)
    checkpoint.match(backbone.state_dict(), published.tensors, str(weights))
    backbone.load_state_dict(published.tensors)
    tensors = MultiTaskModel(model_config, backbone).state_dict()
    card = Card(
        trained_on=f"backbone from {weights.name}; adapters and decoders are untrained", steps=0, hours=0.0, metrics={}
    )
    write_imported(out, model_config, tensors, card, weights, {"seed": seed})
    return published


def write_imported(
    out: Path, config: ModelConfig, tensors: dict[str, Tensor], card: Card, weights: Path, settings: dict[str, object]
) -> None:
    """Write an ``Imported`` checkpoint of the file ``weights``."""
    with replacing(out, artifact(Imported)) as folder:
        checkpoint.write(folder, config, tensors, card, storage="float32")
        record = Record(
            kind=Imported.kind,
            files=hash_folder(folder),
            parent=hash_file(weights),
            inputs=(),
            outputs=(),
            settings=settings,
            tools={"torch": torch.__version__},
        )
        write_record(folder, record)
