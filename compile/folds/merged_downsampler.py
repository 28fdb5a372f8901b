"""Merge a patch merging's reduction into the downsampler that alone reads it, on each task's own path.

    before   z_t = P_t (R n̂_t + r)           n̂_t = LN([2×2 neighbours of x_t]), R ``[2·dim, 4·dim]``, P_t ``[narrow, 2·dim]``
    after    z_t = P'_t n̂_t + p_t            P'_t = P_t R, p_t = P_t r

For adapters whose tasks have streams of their own (MTLoRA): one matrix ``[narrow, 4·dim]`` per task and stage instead of
two. The shared stream keeps its own reduction.
"""

from collections.abc import Iterator

from torch import nn

from compile.folds.base import Candidate, Step, downsamplers_of
from tdss.adapters.mtlora import Mtlora
from tdss.backbones.swin import SwinStage
from tdss.linears import bias_of, linear_at, linear_of, set_module
from tdss.model import MultiTaskModel


class FoldMergedDownsampler:
    """The reduction of every stage whose tasks have streams, into the tasks' downsamplers."""

    name = "merged_downsampler"

    def candidates(self, model: MultiTaskModel) -> Iterator[Candidate]:
        """Yield every stage whose merging the tasks' streams pass."""
        if not isinstance(model.adapter, Mtlora):
            return
        for path, stage in model.named_modules():
            if isinstance(stage, SwinStage) and stage.downsample is not None and stage.reduces_streams:
                touches = (f"{path}.downsample", *downsamplers_of(model, path))
                if isinstance(stage.downsample.get_submodule("reduction"), nn.Linear):
                    yield Candidate(path, "folded", "each task's downsampler alone reads its reduced stream", touches)
                else:
                    yield Candidate(path, "kept", "the reduction is no plain linear", touches)

    def apply(self, model: MultiTaskModel, step: Step) -> None:
        """Replace the downsamplers and take the reduction out of the streams' path."""
        stage = model.get_submodule(step.module)
        if not isinstance(stage, SwinStage) or stage.downsample is None:
            raise TypeError(f"{step.module} is no SwinStage with a merging")
        reduction = stage.downsample.reduction
        for path in downsamplers_of(model, step.module):
            set_module(model, path, _product(linear_at(model, path), reduction))
        stage.reduces_streams = False


def _product(narrow: nn.Linear, reduction: nn.Linear) -> nn.Linear:
    bias = bias_of(reduction)
    return linear_of(narrow.weight @ reduction.weight, None if bias is None else narrow.weight @ bias)
