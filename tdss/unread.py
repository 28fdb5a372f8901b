"""Released models that are recognised by their tensors' names and not imported: what they need is not here.

MT-CP's decoders were trained on the pixel features and mask logits of a Mask2Former. Behind another backbone they mean
nothing, though their modules are those of ``decoder.kind = "mtcp"``. TAPS is released as ResNets that classify images.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from bundle.base.errors import CheckpointError


class Unread(NamedTuple):
    """A system, names that only its files have, the names of what is missing, and what is said of it."""

    system: str
    mark: re.Pattern[str]
    lacking: re.Pattern[str]
    needs: str
    here: str
    fix: str


UNREAD = (
    Unread(
        "MT-CP",
        re.compile(r"^gaaf\d?\.gate1\."),
        re.compile(r"^backbon\."),
        "Mask2Former with a Swin-S: {} tensors backbon.*, whose pixel features and mask logits the decoders read",
        "a backbone that is here: swin or vit",
        'train decoder.kind = "mtcp" behind a backbone of ours (docs/systems/mtcp.md)',
    ),
    Unread(
        "TAPS",
        re.compile(r"\.indicator$"),
        re.compile(r"\.indicator$"),
        "a ResNet that classifies images, {} of its convolutions gated by a score",
        "a backbone that is here, swin or vit, and decoders of dense tasks",
        'train adapter.kind = "taps" on dense tasks; a classifier answers none (docs/systems/taps.md)',
    ),
)


def refuse_unread(weights: Mapping[str, Tensor], path: Path) -> None:
    """Do nothing if the file is of none of these systems.

    Raises:
        CheckpointError: it is; the error says what the model needs that is not here.
    """
    names = [name.removeprefix("module.") for name in weights]
    for row in UNREAD:
        if any(row.mark.search(name) for name in names):
            raise CheckpointError(
                f"a released model of {row.system} cannot be imported: a part of it is not here",
                expected=row.here,
                got=row.needs.format(sum(row.lacking.search(name) is not None for name in names)),
                where=str(path),
                fix=row.fix,
            )
