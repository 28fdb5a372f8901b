"""The contract of a fold, and the line that each of its decisions leaves in fold.json."""

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

from torch import nn

from bundle.frozen import Frozen
from tdss.model import MultiTaskModel


class Candidate(NamedTuple):
    """A module that a fold looked at: folded or kept, and why. ``touches`` names every module it rewrites."""

    module: str
    decision: Literal["folded", "kept"]
    reason: str
    touches: tuple[str, ...]


class Fold(Protocol):
    """One exact rewrite. ``apply`` changes the model it is given; the fold stage hands it a copy."""

    name: str

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every module this fold could rewrite, with the decision and its reason."""

    def apply(self, model: MultiTaskModel, module: str) -> None:
        """Rewrite one candidate in place, in the model's own dtype; works on the meta device too."""


class FoldRecord(Frozen):
    """One line of fold.json.

    ``max_abs_error`` is the largest absolute change of any output, in float64 on real images, that the fold's
    whole rule caused (0 where nothing was rewritten). ``params`` and ``macs`` are those of the modules touched.
    """

    module: str
    rule: str
    decision: Literal["folded", "kept"]
    reason: str
    exact: bool
    max_abs_error: float
    params_before: int
    params_after: int
    macs_before: int
    macs_after: int


def set_module(model: nn.Module, path: str, new: nn.Module) -> None:
    """Put ``new`` in the place of the submodule at the dotted ``path``."""
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, new)
