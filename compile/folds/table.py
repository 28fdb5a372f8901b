"""The folds in the order in which they run.

Gates that are constants by value become constants first, and adapters that are linears become linears, which every
later rule can read. Dead skills leave before anything gives their projections a bias. Affine parts go before the composition, which moves
the skills' linears into modules of its own; linear skills are multiplied out after it.
"""

from compile.folds.attention_scale import FoldAttentionScale
from compile.folds.base import Fold, Rewrite
from compile.folds.batch_norm import FoldBatchNorm
from compile.folds.compose import FoldCompose
from compile.folds.dead_skills import FoldDeadSkills
from compile.folds.freeze_gate import DropSkills, FreezeGate
from compile.folds.layer_norm import FoldLayerNorm
from compile.folds.layer_scale import FoldLayerScale
from compile.folds.linear_skills import FoldLinearSkills
from compile.folds.low_rank import FoldLowRank
from compile.folds.merged_downsampler import FoldMergedDownsampler
from compile.folds.scale_shift import FoldScaleShift
from compile.folds.static_value import FoldStaticValue
from compile.folds.training_only import FoldTrainingOnly

FOLDS: tuple[Fold, ...] = (
    FoldTrainingOnly(), FoldStaticValue(), FoldDeadSkills(), FoldLowRank(), FoldScaleShift(), FoldMergedDownsampler(),
    FoldAttentionScale(), FoldLayerScale(), FoldLayerNorm(), FoldCompose(), FoldLinearSkills(), FoldBatchNorm(),
)  # fmt: skip

APPROXIMATE: tuple[Rewrite, ...] = (FreezeGate(), DropSkills())
"""What compile/freeze.py may do where it was asked for."""


def fold_named(name: str) -> Rewrite:
    """Return the rewrite called ``name``.

    Raises:
        KeyError: there is none; only plans that this project wrote are read, after their hash was checked.
    """
    return {rewrite.name: rewrite for rewrite in (*FOLDS, *APPROXIMATE)}[name]
