"""Where a published file holds a backbone: inside ``module.``, ``model.backbone.``, ``encoder.``, ``teacher.`` and the like."""

import re
from collections.abc import Iterable

PATCHES = re.compile(r"^((?:.*\.)?)(?:patch_embed\.proj|embeddings\.patch_embeddings\.projection)\.weight$")
"""The weights of a patch embedding in every layout that is read; what is before it is before each name of the backbone."""


def prefix_of(names: Iterable[str]) -> str:
    """Return what each name of the backbone begins with: of two backbones the teacher's, else the first; "" without any."""
    prefixes = [match[1] for name in names if (match := PATCHES.match(name))]
    return next((prefix for prefix in prefixes if "teacher" in prefix.split(".")), prefixes[0] if prefixes else "")
