"""One low-rank update with a magnitude, and how its rank shrinks in training (PDRS: performance-driven rank shrinking).

With W0 the linear's matrix ``[out, in]``, n its row norms (at least 1e-6), A ``[rank, in]``, B ``[out, rank]``, θ ``[out]``:

    W' = m ⊙ v/‖v‖,   v = W0/n + s·B A,   m = n·exp(0.1 (θ − log n)),   θ starts at log n, so that W' starts at W0

A row of W' is a multiple of W0's plus a combination of A's rows, so W' is never formed:

    W' x = gain ⊙ (W0 x) + up (A x),      gain = m/(‖v‖ n),      up = s·m/‖v‖ ⊙ B

A slot is a row of A and the column of B. ``order`` has each slot's index in the order of importance, and ``rank`` for a slot
that was cut; it is a part of the checkpoint, so the ranks kept are. A step trains the first b slots, b ~ U{1 … kept}. Then

    score_i = min(½ (|⟨A_i, ∂A_i⟩| + |⟨B_i, ∂B_i⟩|), 100·median + 1e-12),   its running average has ``decay``

At an epoch's end the K most important slots have ``coverage`` of the scores' sum; K + ``margin`` slots are kept, at least
``floor``, and at most as many as were.
"""

import torch
from torch import Tensor, nn

from tdss.adapters.faar.config import FaarConfig
from tdss.part import Moment, Part

LEAST_NORM = 1e-6
ANCHOR = 0.1  # how much a magnitude follows its θ


def row_norms(matrix: Tensor) -> Tensor:
    """Return the norms of a matrix's rows, at least ``LEAST_NORM``: ``[out, in]`` to ``[out]``."""
    return matrix.square().sum(1).clamp(min=LEAST_NORM**2).sqrt()


class Dora(nn.Module, Part):
    """The update of one linear for one stream."""

    order: Tensor
    scores: Tensor
    gain: Tensor | None
    moved: Tensor | None

    def __init__(self, weight: Tensor, rank: int, config: FaarConfig) -> None:
        super().__init__()
        self.config = config
        self.prefix = rank
        self.down = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.theta = nn.Parameter(row_norms(weight.detach()).log())
        nn.init.kaiming_uniform_(self.down, a=5**0.5)
        self.register_buffer("order", torch.arange(rank, device=weight.device))
        self.register_buffer("scores", weight.new_zeros(rank), persistent=False)
        self.register_buffer("gain", None, persistent=False)
        self.register_buffer("moved", None, persistent=False)

    def kept(self) -> int:
        """Return how many slots are not cut."""
        return int((self.order < len(self.order)).sum())

    def magnitude(self, norms: Tensor) -> Tensor:
        """Return m of the rows whose norms in W0 are ``norms``, relative to them: ``[out]``."""
        return (ANCHOR * (self.theta - norms.log())).exp()

    def forward(self, weight: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map W0 and ``[…, in]`` to ``gain`` ``[out]`` and up (A x) ``[…, out]``; a slot that does not act is a column of zeros."""
        gain, moved = (
            self.effective(weight)
            if self.training or self.gain is None or self.moved is None
            else (self.gain, self.moved)
        )
        return gain, x @ self.down.T @ moved.T

    def effective(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return, of W0, ``gain`` ``[out]`` and ``up`` ``[out, rank]`` of the module's formula."""
        norms = row_norms(weight)
        acts = self.order < (self.prefix if self.training else len(self.order))
        up = self.config.scale * self.up * acts
        gain = self.magnitude(norms) / row_norms(weight / norms[:, None] + up @ self.down)
        return gain, (gain * norms)[:, None] * up

    @torch.no_grad()
    def compute_once(self, weight: Tensor) -> None:
        """Keep what ``effective`` returns of W0, for evaluation."""
        self.gain, self.moved = self.effective(weight)

    def before_step(self, moment: Moment) -> None:
        """Draw the number of slots that this step trains."""
        self.prefix = int(torch.randint(1, self.kept() + 1, (), generator=moment.draw))

    @torch.no_grad()
    def after_backward(self, moment: Moment) -> None:
        """Let the slots' scores follow this step's; an update that no output depends on has no gradient and no score."""
        if self.down.grad is None or self.up.grad is None:
            return
        by_down, by_up = (self.down * self.down.grad).sum(1).abs(), (self.up * self.up.grad).sum(0).abs()
        score = (by_down + by_up) / 2
        counted = score if self.config.median == "released" else score[self.order < self.prefix]
        self.scores.lerp_(score.clamp(max=100 * counted.median() + 1e-12), 1 - self.config.decay)

    def after_epoch(self, moment: Moment) -> None:
        """Sort the slots that are kept by their scores, and cut those that are not needed."""
        if self.scores.sum() <= 0:
            return
        slots, kept = len(self.order), self.kept()
        by_score = torch.where(self.order < slots, self.scores, -1).argsort(descending=True, stable=True)
        share = self.scores[by_score].cumsum(0) / self.scores.sum()
        needed = int((share < self.config.coverage).sum()) + 1
        keep = min(kept, max(self.config.floor, needed + self.config.margin))
        self.order[by_score] = torch.arange(slots, device=self.order.device)
        self.order[by_score[keep:]] = slots

    def training_state(self) -> dict[str, Tensor]:
        """Return the scores."""
        return {"scores": self.scores}
