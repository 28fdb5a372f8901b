"""Export, simplify and fold a model, for a measurement."""

from pathlib import Path

from torch import nn

from bundle.formats.artifacts import Folded, Simplified
from bundle.tasks.preprocess import Preprocess
from calibration.image_files import ImageFiles
from compile.export import export_module
from compile.fold import fold
from compile.simplify import simplify
from compile.stage.graph_info import GraphInfo
from targets.folding import Rates
from tdss.checkpoint import load
from tdss.config import ModelConfig


def folded_graph(checkpoint: Path, images: ImageFiles, out: Path, rates: Rates, *, threads: int) -> Folded:
    """Export, simplify and fold a checkpoint in ``out``, by what work costs a target."""
    config, model = load(checkpoint)
    return folded_module(model, config, images, out, rates, threads=threads)


def folded_module(
    model: nn.Module, config: ModelConfig, images: ImageFiles, out: Path, rates: Rates, *, threads: int
) -> Folded:
    """Export, simplify and fold a model that answers as ``config`` says, in ``out``."""
    simplified = simplified_module(model, config, images, out, threads=threads)
    return fold(simplified, out / "folded", images, "cost", rates, lambda line: None, threads=threads)


def simplified_module(
    model: nn.Module, config: ModelConfig, images: ImageFiles, out: Path, *, threads: int
) -> Simplified:
    """Export and simplify a model that answers as ``config`` says, in ``out``."""
    info = GraphInfo(io="raw", preprocess=Preprocess(**config.image.model_dump()), tasks=dict(config.tasks))
    exported = export_module(model, info, out / "exported", images, parent=None, threads=threads)
    return simplify(exported, out / "simplified", images, threads=threads)
