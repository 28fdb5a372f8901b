"""The folds in the order in which they run.

Affine parts go first, since the composition moves the skills' linears into modules of its own.
"""

from compile.folds.attention_scale import FoldAttentionScale
from compile.folds.base import Fold
from compile.folds.batch_norm import FoldBatchNorm
from compile.folds.compose import FoldCompose
from compile.folds.layer_norm import FoldLayerNorm
from compile.folds.layer_scale import FoldLayerScale

FOLDS: tuple[Fold, ...] = (FoldAttentionScale(), FoldLayerScale(), FoldLayerNorm(), FoldCompose(), FoldBatchNorm())


def fold_named(name: str) -> Fold:
    """Return the fold called ``name``.

    Raises:
        KeyError: there is none; only plans that this project wrote are read, after their hash was checked.
    """
    return {fold.name: fold for fold in FOLDS}[name]
