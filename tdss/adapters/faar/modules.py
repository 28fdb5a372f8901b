"""FAAR (CVPR 2026) on a Swin: MTLoRA's streams, with an update of every linear that has a magnitude of its own.

    shared   y_s = W'x_s + b
    tasks    y_t = W0 x_s + b + (W'_t − W0) x_t          in the projection, fc1 and fc2 of a stage's last block

W' is in ranks.py. PatchMerging's reduction has a shared update too. The loss gains, for each shared update,
penalty·mean((m/n − 1)²); that of a reduction counts once for each task, whose streams pass it, as in the release.
Written from the released code's equations; its numbers are reproduced by tests.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from tdss.adapters.base import StreamAdapter
from tdss.adapters.faar.config import FaarConfig
from tdss.adapters.faar.ranks import Dora, row_norms
from tdss.adapters.mtlora import TaskLinear, attach
from tdss.backbones.swin import Swin
from tdss.linears import bias_of, take_over
from tdss.part import Moment, Part


class DoraLinear(nn.Linear, Part):
    """A linear with a shared update, of which ``streams`` streams count in the penalty."""

    def __init__(self, linear: nn.Linear, config: FaarConfig, streams: int = 1) -> None:
        take_over(self, linear)
        self.factor = streams * config.penalty
        self.update = Dora(self.weight, config.rank, config)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``[…, in]`` to ``[…, out]``."""
        gain, update = self.update(self.weight, x)
        y = gain * functional.linear(x, self.weight) + update
        bias = bias_of(self)
        return y if bias is None else y + bias  # type: ignore[no-any-return]

    def precompute(self) -> None:
        """See ``Part.precompute``."""
        self.update.compute_once(self.weight)

    def penalties(self, moment: Moment) -> dict[str, Tensor]:
        """Return the penalty of magnitudes that leave the row norms."""
        return {"magnitudes": self.factor * penalty(self.update, self.weight)}


class DoraTaskLinear(TaskLinear):
    """W0 on the shared stream, the shared update for it, and one update per task on the task's own stream."""

    shared: Dora

    def __init__(self, linear: nn.Linear, config: FaarConfig, tasks: Sequence[str]) -> None:
        take_over(self, linear)
        self.factor = config.penalty
        self.shared = Dora(self.weight, config.rank, config)
        self.tasks = nn.ModuleDict({task: Dora(self.weight, config.task_rank, config) for task in tasks})

    def forward(self, shared: Tensor, own: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:  # type: ignore[override]
        """Map the shared stream and each task's, ``[…, in]``, to the same of ``[…, out]``."""
        base, outputs = functional.linear(shared, self.weight), []
        for task, x in zip(self.tasks.values(), own, strict=True):
            gain, update = task(self.weight, x)
            scaled = gain * base if x is shared else base + (gain - 1) * functional.linear(x, self.weight)
            outputs.append(scaled + update + self.bias)
        gain, update = self.shared(self.weight, shared)
        return gain * base + update + self.bias, outputs

    def precompute(self) -> None:
        """See ``Part.precompute``."""
        for update in (self.shared, *self.tasks.children()):
            assert isinstance(update, Dora)
            update.compute_once(self.weight)

    def penalties(self, moment: Moment) -> dict[str, Tensor]:
        """Return the penalty of the shared magnitudes."""
        return {"magnitudes": self.factor * penalty(self.shared, self.weight)}


class Faar(StreamAdapter):
    """Gives each task its own stream of every stage, after the stage's merging."""

    def __init__(self, config: FaarConfig, backbone: Swin, tasks: Sequence[str]) -> None:
        super().__init__(config, backbone, tasks)
        attach(
            backbone,
            lambda linear: DoraLinear(linear, config),
            lambda linear: DoraTaskLinear(linear, config, tasks),
            lambda linear: DoraLinear(linear, config, len(tasks)),
        )


def penalty(update: Dora, weight: Tensor) -> Tensor:
    """Return mean((m/n − 1)²) of an update."""
    return (update.magnitude(row_norms(weight)) - 1).square().mean()
