"""FAAR's released models. The release keeps the ranks in no file; it zeroes what it cuts, so the zeros at the end tell them.

A slot is cut if its row of A and its column of B, and those of all later slots, are zero. Where the last slots are not zero
every slot acts, as in the release after it has loaded such a file. Ranks that differ between linears become one: a smaller
update gets slots that are cut.
"""

import re

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
    (re.compile(r"\.lora_tasks_A\.(\w+)$"), r".tasks.\1.down"),
    (re.compile(r"\.lora_tasks_B\.(\w+)$"), r".tasks.\1.up"),
    (re.compile(r"\.task_log_m\.(\w+)$"), r".tasks.\1.theta"),
    (re.compile(r"\.(update|shared)\.lora_shared_A$"), r".\1.down"),
    (re.compile(r"\.(update|shared)\.lora_shared_B$"), r".\1.up"),
    (re.compile(r"\.(update|shared)\.shared_log_m$"), r".\1.theta"),
)
FILTERS = {"delta": "lora_bin_weight", "gain": "lora_ssf_scale", "shift": "lora_ssf_shift", "alpha": "lora_alpha"}
CONSENSUS = {
    "rates": ("lora_eug_alpha_low", "lora_eug_alpha_high"),
    "scales": ("anchor_scale_low", "anchor_scale_edge"),
}


def describe(weights: Weights) -> Keys:
    """See ``Reader``."""
    bare = swin_family.bare(weights)
    keys = swin_family.describe(bare)
    ranks = {kind: _largest_rank(bare, kind) for kind in ("lora_shared_A", "lora_tasks_A")}
    adapter = {"kind": "faar", "rank": ranks["lora_shared_A"], "task_rank": ranks["lora_tasks_A"], "median": "released"}
    bins = next(tensor.shape[1] for name, tensor in bare.items() if name.endswith(FILTERS["delta"]))
    decoder = keys["decoder"]
    assert isinstance(decoder, dict)
    return keys | {"adapter": adapter, "decoder": decoder | {"kind": "tspd", "grid": "released", "bins": bins}}


def translate(weights: Weights, config: ModelConfig) -> Published:
    """See ``Reader``; the running scores are left out."""
    bare = swin_family.bare(weights)
    scores = [name for name in bare if SCORES.search(name)]
    kept = {name: tensor for name, tensor in bare.items() if name not in scores and not FREQUENCIES.match(name)}
    ours, left = swin_family.translate({_shared(name, bare): tensor for name, tensor in kept.items()}, OWN)
    for name in [name for name in ours if name.endswith(".down")]:
        _add_order(ours, name.removesuffix(".down"), config)
    return ours | _frequencies(bare, len(config.backbone.depths)), (*left, *scores)


def _largest_rank(weights: Weights, kind: str) -> int:
    return max(tensor.shape[0] for name, tensor in weights.items() if f".{kind}" in name)


def _shared(name: str, weights: Weights) -> str:
    """Return the released name of a shared tensor with the module that holds it here."""
    stem, _, last = name.rpartition(".")
    if last not in ("lora_shared_A", "lora_shared_B", "shared_log_m"):
        return name
    has_tasks = any(other.startswith(f"{stem}.task_log_m.") for other in weights)
    return f"{stem}.{'shared' if has_tasks else 'update'}.{last}"


def _add_order(ours: dict[str, Tensor], update: str, config: ModelConfig) -> None:
    """Bring an update to the configuration's rank, and add which of its slots are kept."""
    assert isinstance(config.adapter, FaarConfig)
    down, up = ours[f"{update}.down"], ours[f"{update}.up"]
    rank = config.adapter.task_rank if ".tasks." in update else config.adapter.rank
    acts = down.ne(0).any(1) | up.ne(0).any(0)
    kept = int(acts.nonzero().max()) + 1 if acts.any() else 0
    order = torch.arange(rank)
    order[kept:] = rank
    ours[f"{update}.order"] = order
    ours[f"{update}.down"] = torch.nn.functional.pad(down, (0, 0, 0, rank - len(down)))
    ours[f"{update}.up"] = torch.nn.functional.pad(up, (0, rank - len(down)))


def _frequencies(weights: Weights, branches: int) -> dict[str, Tensor]:
    """Return the parts of TS-PD, the branches of each joined."""
    joined = {}
    for task in dict.fromkeys(match[1] for name in weights if (match := FREQUENCIES.match(name))):
        prefix, head = f"decoders.decoders.{task}", f"decoders.heads.{swin_family.TASK_NAMES.get(task, task)}"
        for name, old in FILTERS.items():
            parts = [weights[f"{prefix}.lora_freqs.{branch}.{old}"][0] for branch in range(branches)]
            joined[f"{head}.{name}"] = torch.cat([part.flatten() if name == "alpha" else part for part in parts], -1)
        for name, (low, high) in CONSENSUS.items():
            joined[f"{head}.consensus.{name}"] = torch.stack([weights[f"{prefix}.{low}"], weights[f"{prefix}.{high}"]])
    return joined


READER = Reader(describe, translate)
