"""Measure the shipped model: `make goldens` writes default.json; the test compares with it.

Parameters, MACs and fold decisions are exact. Metrics are those of the eager float32 checkpoint on a few validation
images, compared within ``RELATIVE``: another processor sums in another order.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx_ir as ir
from pydantic import Field, TypeAdapter

from bundle.base.frozen import Frozen
from bundle.formats.artifacts import write_text
from bundle.formats.fold import FOLD, FoldRecord
from bundle.tasks.dataset import SPEC_FILE, FolderDataset, load_spec
from calibration.image_files import folder_images
from compile.folding.record import scope_of
from compile.stage.artifacts import folding_of, total
from compile.stage.graph_info import GRAPH_FILE
from studies.stages import folded_graph
from targets.folding import rates_of
from tdss.checkpoint import load
from tdss.training.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[2]
MODEL, DATA = ROOT / "models/default", ROOT / "data/scenes"
FILE = Path(__file__).with_name("default.json")
IMAGES = 12
RELATIVE = 2e-3  # one pixel in 10⁵ may change its class; 12 images hold 6 × 10⁵


class Golden(Frozen):
    """What is remembered of the shipped model."""

    parameters: dict[str, int]
    macs_unfolded: int
    macs_folded: int
    decisions: dict[str, int] = Field(description="'rule folded' or 'rule kept' to how many values")
    scaled_scores: int = Field(description="attentions of the folded graph that still multiply by their scale")
    images: int
    metrics: dict[str, float]


def measure() -> Golden:
    """Measure the checkpoint in models/default on data/scenes."""
    config, model = load(MODEL)
    dataset = FolderDataset(root=DATA, spec=load_spec(DATA / SPEC_FILE))
    with TemporaryDirectory() as scratch:
        folded = folded_graph(
            MODEL, folder_images(DATA, "calibration").first(1), Path(scratch), rates_of("reference"), threads=0
        )
        costs, scaled = total(folding_of(folded).parts), _scaled_scores(folded.file(GRAPH_FILE))
        records = TypeAdapter(tuple[FoldRecord, ...]).validate_json(folded.file(FOLD).read_bytes())
    decisions: dict[str, int] = {}
    for record in records:
        name = f"{record.rule} {record.decision}"
        decisions[name] = decisions.get(name, 0) + 1
    parameters = {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}
    ids = dataset.ids("val")[:IMAGES]
    metrics = evaluate(model, config, dataset, ids, tuple(config.tasks))
    return Golden(
        parameters=parameters,
        macs_unfolded=costs.macs_before,
        macs_folded=costs.macs_after,
        decisions=decisions,
        scaled_scores=scaled,
        images=IMAGES,
        metrics=metrics,
    )


def _scaled_scores(path: Path) -> int:
    found = (scope_of(str(node.outputs[0].name)) for node in ir.load(path).graph if node.op_type == "Mul")
    return sum(scope.endswith(".attn") for scope in found)


def main() -> None:
    """Write the golden file."""
    write_text(FILE, json.dumps(measure().model_dump(), indent=2) + "\n")


if __name__ == "__main__":
    main()
