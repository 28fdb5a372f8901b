"""FAAR's released models. The release keeps the ranks in no file; it zeroes what it cuts, so the zeros at the end tell them.

A slot is cut if its row of A and its column of B, and those of all later slots, are zero. Where the last slots are not zero
every slot acts, as in the release after it has loaded such a file. Ranks that differ between linears become one: a smaller
update gets slots that are cut.
"""

import re
from collections.abc import Callable

import torch
from torch import Tensor

from tdss.adapters.faar.config import FaarConfig
from tdss.backbones.base import Published
from tdss.config import ModelConfig
from tdss.released import swin_family
from tdss.released.base import Keys, Reader, Weights

SCORES = re.compile(r"\.ema_score_(shared|task__\w+)$")
FREQUENCIES = re.compile(r"^decoders\.decoders\.(\w+)\.(?:lora_freqs\.(\d+)\.)?(lora_\w+|anchor_\w+)$")
OWN = (
    (re.compile(r"^decoders\.(\w+)\.downsamplers\."), r"decoders.downsamplers.\1."),
    (re.compile(r"^decoders\.(\w+)\.head\."), r"decoders.heads.\1."),
    (re.compile(r"\.task_log_m\.(\w+)$"), r".tasks.\1.theta"),
    (re.compile(r"\.shared_log_m$"), ".theta"),
)
FILTERS = {
    "delta": ("lora_bin_weight", 2),
    "gain": ("lora_ssf_scale", 1),
    "shift": ("lora_ssf_shift", 1),
    "alpha": ("lora_alpha", 1),
}
"""A filter's tensors here, their names in the release, and how many axes they have here."""
CONSENSUS = {
    "rates": ("lora_eug_alpha_low", "lora_eug_alpha_high"),
    "scales": ("anchor_scale_low", "anchor_scale_edge"),
}


def describe(weights: Weights) -> Keys:
    """See ``Reader``."""
    bare = swin_family.bare(weights)
    keys = swin_family.describe(bare)
    adapter = {"kind": "faar", **swin_family.ranks(bare), "median": "released"}
    task = next(match[1] for name in bare if (match := swin_family.DOWNSAMPLER.match(name)))
    bins = swin_family.shape(bare, f"decoders.decoders.{task}.lora_freqs.0.{FILTERS['delta'][0]}", 3)[1]
    decoder = keys["decoder"]
    assert isinstance(decoder, dict)
    return keys | {"adapter": adapter, "decoder": decoder | {"kind": "tspd", "grid": "released", "bins": bins}}


def translate(weights: Weights, config: ModelConfig) -> Published:
    """See ``Reader``; the running scores are left out."""
    assert isinstance(config.adapter, FaarConfig)
    bare = swin_family.bare(weights)
    scores = [name for name in bare if SCORES.search(name)]
    kept = {name: tensor for name, tensor in bare.items() if name not in scores and not FREQUENCIES.match(name)}
    ours, left = swin_family.translate(kept, OWN)
    updates = swin_family.pad_updates(ours, config.adapter)
    orders = {f"{update}.order": _order(ours[f"{update}.down"], ours[f"{update}.up"]) for update in updates}
    return Published(ours | orders | _frequencies(bare, len(config.backbone.depths)), (*left, *scores))


def _order(down: Tensor, up: Tensor) -> Tensor:
    """Return which slots of an update are kept: their order, and the rank for a slot that is cut."""
    acts = down.ne(0).any(1) | up.ne(0).any(0)
    kept = int(acts.nonzero().max()) + 1 if acts.any() else 0
    order = torch.arange(len(down))
    order[kept:] = len(down)
    return order


def _frequencies(weights: Weights, branches: int) -> dict[str, Tensor]:
    """Return the parts of TS-PD, the branches of each joined; what does not make a part keeps its name."""
    parts = {name: tensor for name, tensor in weights.items() if FREQUENCIES.match(name)}
    for task in dict.fromkeys(name.split(".")[2] for name in parts):
        old, new = f"decoders.decoders.{task}", f"decoders.heads.{swin_family.TASK_NAMES.get(task, task)}"
        for name, (stem, axes) in FILTERS.items():
            names = [f"{old}.lora_freqs.{branch}.{stem}" for branch in range(branches)]
            _join(parts, names, f"{new}.{name}", _side_by_side(axes))
        for name, stems in CONSENSUS.items():
            _join(parts, [f"{old}.{stem}" for stem in stems], f"{new}.consensus.{name}", torch.stack)
    return parts


def _side_by_side(axes: int) -> Callable[[list[Tensor]], Tensor]:
    return lambda branches: torch.cat(branches, -1).flatten(0, -axes)


def _join(parts: dict[str, Tensor], names: list[str], new: str, join: Callable[[list[Tensor]], Tensor]) -> None:
    """Put a tensor in the place of those called ``names``, if all are there and fit each other."""
    try:
        joined = join([parts[name] for name in names])
    except (KeyError, IndexError, RuntimeError):  # they stay, and are refused by name
        return
    for name in names:
        del parts[name]
    parts[new] = joined


READER = Reader(describe, translate)
