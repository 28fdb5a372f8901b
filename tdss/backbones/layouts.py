"""What published files of every backbone share: a prefix, and Hugging Face's names inside a block.

A backbone is inside ``module.``, ``model.backbone.``, ``encoder.``, ``teacher.`` and the like. Hugging Face keeps query, key
and value apart; transformers 5 has other names in memory than in its files.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

Rules: TypeAlias = tuple[tuple[re.Pattern[str], str], ...]

PATCHES = re.compile(r"^((?:.*\.)?)(?:patch_embed\.proj|embeddings\.patch_embeddings\.projection)\.weight$")
"""The weights of a patch embedding in every layout that is read; what is before it is before each name of the backbone."""
HF_BLOCK: Rules = (
    (re.compile(r"\.layernorm_before\."), ".norm1."),
    (re.compile(r"\.layernorm_after\."), ".norm2."),
    (re.compile(r"\.attention\.(?:output\.dense|o_proj)\."), ".attn.proj."),
    (re.compile(r"\.attention\.(?:self|attention)\.(query|key|value)\."), r".attn.\1."),
    (re.compile(r"\.attention\.q_proj\."), ".attn.query."),
    (re.compile(r"\.attention\.k_proj\."), ".attn.key."),
    (re.compile(r"\.attention\.v_proj\."), ".attn.value."),
    (re.compile(r"\.intermediate\.dense\."), ".mlp.fc1."),
    (re.compile(r"\.output\.dense\."), ".mlp.fc2."),
)


def prefix_of(names: Iterable[str]) -> str:
    """Return what each name of the backbone begins with: of two backbones the teacher's, else the first; "" without any."""
    prefixes = [match[1] for name in names if (match := PATCHES.match(name))]
    return next((prefix for prefix in prefixes if "teacher" in prefix.split(".")), prefixes[0] if prefixes else "")


def renamed(name: str, rules: Rules) -> str:
    """Return a name after every rule, in order."""
    for pattern, replacement in rules:
        name = pattern.sub(replacement, name)
    return name


def join_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stack query, key and value of each attention into one ``qkv``; what lacks one of them is left away, and missing."""
    joined = {key: tensor for key, tensor in weights.items() if not re.search(r"\.attn\.(query|key|value)\.", key)}
    for key in weights:
        if ".attn.query." in key:
            parts = [weights.get(key.replace(".query.", f".{part}.")) for part in ("query", "key", "value")]
            present = [part for part in parts if part is not None]
            if len(present) == 3 and len({part.shape[1:] for part in present}) == 1:
                joined[key.replace(".query.", ".qkv.")] = torch.cat(present)
    return joined
