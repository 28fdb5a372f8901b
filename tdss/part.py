"""What a module of a model may add to a training, and to a choice of tasks; each method does nothing unless it is overridden.

``MultiTaskModel.parts`` finds the parts anywhere in the model, inside the backbone's layers too. What a part draws
comes from ``Moment.draw``, and what it remembers from step to step is in ``training_state``: so a run that was killed
ends as an undisturbed one.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Moment(NamedTuple):
    """Where a training is: the step from 0, the epoch from 0, and a generator of this step, the same on every device."""

    step: int
    epoch: int
    draw: torch.Generator


class Part:
    """A mixin of modules that have weights per task, or that training has to call."""

    def keep(self, tasks: Sequence[str]) -> None:
        """Answer ``tasks`` only, in place, and drop every weight that only other tasks need; what is kept is unchanged."""
        return

    def precompute(self) -> None:
        """Compute once, in place, what depends on weights alone; in evaluation mode the outputs stay the same."""
        return

    def before_step(self, moment: Moment) -> None:
        """Prepare the forward pass of a training step: sample a rank, switch a penalty on."""
        return

    def after_backward(self, moment: Moment) -> None:
        """Read the gradients, before they are clipped and the optimizer steps."""
        return

    def after_epoch(self, moment: Moment) -> None:
        """Act after the last step of an epoch. Parameters keep their shapes: the optimizer has moments of each."""
        return

    def penalties(self, moment: Moment) -> Mapping[str, Tensor]:
        """Return scalars that are added to the loss, by name; those of one name are summed."""
        return {}

    def loss_factors(self, epochs: Sequence[Mapping[str, float]]) -> Mapping[str, float]:
        """Return factors on the tasks' loss weights, by task, from the epochs so far.

        An epoch is the mean of each output's loss, auxiliary ones and penalties too, by name.
        """
        return {}

    def training_state(self) -> Mapping[str, Tensor]:
        """Return the tensors that training changes and no checkpoint holds, by name; a resumed run copies into them."""
        return {}
