"""Fold: a checkpoint to the same function with everything static merged away, proven in float64 on real images.

The artifact holds config.toml, plan.json (which rewrites, on which modules), model.safetensors (float32) and fold.json
(every decision with its numbers). ``load_folded`` rebuilds the module by code: it repeats the plan on a fresh model and
loads the weights; nothing is unpickled.
"""

if not __package__:
    import _path  # noqa: F401

import json
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import JsonValue, TypeAdapter

from bundle.artifacts import Folded, hash_file, load, replacing, write_text
from bundle.errors import CheckpointError
from bundle.frozen import Frozen
from bundle.preprocess import Preprocess
from compile.config import FoldMode
from compile.images import ImageFiles, folder_images
from compile.script import announce, run_script
from compile.store import seal, tool_versions

if TYPE_CHECKING:
    from torch import Tensor

    from compile.folds.base import Candidate, Fold, FoldRecord
    from compile.folds.cost import Macs
    from tdss.config import ModelConfig
    from tdss.model import MultiTaskModel

TOOLS = ("torch", "safetensors")
PLAN, REPORT = "plan.json", "fold.json"
EXACT_RELATIVE = 1e-11  # float64: largest |a − b| of an output over its largest |b|
FLOAT32_RELATIVE = 1e-4  # float32: the order of summation changes; 1e-5 is usual


class PlanStep(Frozen):
    """One rewrite that was done: which fold, on which module."""

    rule: str
    module: str


class Proof(Frozen):
    """The largest relative difference of each output, folded against unfolded, on ``images`` real images."""

    images: int
    float64: dict[str, float]
    float32: dict[str, float]


def fold(checkpoint: Path, out: Path, images: ImageFiles, *, mode: FoldMode) -> Folded:
    """Fold the checkpoint into the artifact ``out``, proven on ``images``; ``mode`` none rewrites nothing.

    Raises:
        ConfigError: the checkpoint's config.toml is wrong.
        CheckpointError: its weights are wrong, or a fold changed what the model computes.
        DatasetError: an image cannot be read or has another size than the model's.
    """
    from tdss.checkpoint import CONFIG, WEIGHTS, write_config, write_weights
    from tdss.checkpoint import load as load_checkpoint

    config, model = load_checkpoint(checkpoint)
    batch = read_batch(config, images)
    folded, records = fold_model(model, batch.double(), mode=mode)
    proof = _prove(model, folded, batch)
    steps = [PlanStep(rule=line.rule, module=line.module) for line in records if line.decision == "folded"]
    with replacing(out) as folder:
        write_config(folder / CONFIG, config)
        write_weights(folder / WEIGHTS, {name: x.contiguous() for name, x in folded.float().state_dict().items()})
        write_text(folder / PLAN, TypeAdapter(list[PlanStep]).dump_json(steps, indent=1).decode())
        write_text(folder / REPORT, json.dumps([line.model_dump() for line in records], indent=1))
        settings: dict[str, JsonValue] = {"mode": mode, "proof": proof.model_dump()}
        parent = hash_file(checkpoint / WEIGHTS)
        seal(Folded, folder, parent=parent, inputs=(), outputs=(), settings=settings, tools=tool_versions(*TOOLS))
    return load(Folded, out)


def fold_model(
    model: "MultiTaskModel", batch: "Tensor", *, mode: FoldMode
) -> "tuple[MultiTaskModel, list[FoldRecord]]":
    """Return a folded float64 copy of ``model`` and every decision; ``batch`` is float64 ``[batch, 3, H, W]``."""
    from compile.folds.cost import count_macs
    from compile.folds.table import FOLDS

    folded = deepcopy(model).double().eval()
    records: list[FoldRecord] = []
    if mode == "all":
        macs = count_macs(folded, batch)
        for rule in FOLDS:
            lines, macs = _run_fold(rule, folded, batch, macs)
            records += lines
    return folded, records


def folded_config(folded: Folded) -> "ModelConfig":
    """Return the configuration of the model that was folded."""
    from tdss.checkpoint import CONFIG, read_config

    return read_config(folded.file(CONFIG))


def load_folded(folded: Folded) -> "MultiTaskModel":
    """Rebuild the folded model, float32, in evaluation mode.

    Raises:
        CheckpointError: the weights do not fit the plan (another version of the project wrote them).
    """
    from compile.folds.table import fold_named
    from tdss.checkpoint import WEIGHTS, match, read_weights
    from tdss.model import MultiTaskModel

    model = MultiTaskModel(folded_config(folded)).eval()
    for step in TypeAdapter(list[PlanStep]).validate_json(folded.file(PLAN).read_bytes()):
        fold_named(step.rule).apply(model, step.module)
    weights = read_weights(folded.file(WEIGHTS))
    match(model.state_dict(), weights, str(folded.folder / WEIGHTS))
    model.load_state_dict(weights)
    return model


def read_batch(config: "ModelConfig", images: ImageFiles) -> "Tensor":
    """Return the images as the model takes them: float32 ``[batch, 3, H, W]``."""
    import torch

    preprocess = Preprocess(**config.image.model_dump())
    return torch.cat([torch.from_numpy(preprocess.apply(image, name=name)) for name, image in images.read()])


def _run_fold(rule: "Fold", model: "MultiTaskModel", batch: "Tensor", macs: "Macs") -> "tuple[list[FoldRecord], Macs]":
    """Apply one rule wherever it may; ``macs`` are the model's before, the second result those after."""
    from compile.folds.cost import count_macs, count_params

    candidates = list(rule.candidates(model))
    chosen = [candidate for candidate in candidates if candidate.decision == "folded"]
    params = [count_params(model, line.touches) for line in candidates]
    error, macs_after = 0.0, macs
    if chosen:
        before = _run(model, batch)
        for candidate in chosen:
            rule.apply(model, candidate.module)
        after = _run(model, batch)
        error = max(float((after[task] - before[task]).abs().max()) for task in before)
        macs_after = count_macs(model, batch)
    lines = [
        _record(rule.name, candidate, error, (was, count_params(model, candidate.touches)),
                (macs.of(candidate.touches), macs_after.of(candidate.touches)))
        for candidate, was in zip(candidates, params, strict=True)
    ]  # fmt: skip
    return lines, macs_after


def _record(
    rule: str, candidate: "Candidate", error: float, params: tuple[int, int], macs: tuple[int, int]
) -> "FoldRecord":
    from compile.folds.base import FoldRecord

    return FoldRecord(
        module=candidate.module, rule=rule, decision=candidate.decision, reason=candidate.reason, exact=True,
        max_abs_error=error if candidate.decision == "folded" else 0.0, params_before=params[0],
        params_after=params[1], macs_before=macs[0], macs_after=macs[1],
    )  # fmt: skip


def _run(model: "MultiTaskModel", batch: "Tensor") -> "dict[str, Tensor]":
    import torch

    with torch.no_grad():
        outputs: dict[str, Tensor] = model(batch)
    return outputs


def _prove(model: "MultiTaskModel", folded: "MultiTaskModel", batch: "Tensor") -> Proof:
    wide = _relative(_run(deepcopy(model).double(), batch.double()), _run(folded, batch.double()))
    narrow = _relative(_run(model, batch), _run(deepcopy(folded).float(), batch))
    for errors, limit, dtype in ((wide, EXACT_RELATIVE, "float64"), (narrow, FLOAT32_RELATIVE, "float32")):
        worst = max(errors, key=lambda task: errors[task])
        if not errors[worst] <= limit:
            raise CheckpointError(
                "folding changed what the model computes", expected=f"relative difference ≤ {limit:g} in {dtype}",
                got=f"{errors[worst]:.3g} on {worst}", where="the fold stage's own check",
                fix="build with folding off and report the model's config.toml",
            )  # fmt: skip
    return Proof(images=len(batch), float64=wide, float32=narrow)


def _relative(reference: "dict[str, Tensor]", other: "dict[str, Tensor]") -> dict[str, float]:
    return {
        task: float((other[task] - want).abs().max() / want.abs().max().clamp_min(1e-30))
        for task, want in reference.items()
    }


def main(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint folder: config.toml + model.safetensors.")],
    images: Annotated[Path, typer.Option(help="Images for the proof: a labelled folder, or a folder of images.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    mode: Annotated[FoldMode, typer.Option(help="all: every exact fold. none: keep the model as it is.")] = "all",
    split: Annotated[str, typer.Option(help="The split of a labelled folder.")] = "train",
    count: Annotated[int, typer.Option(min=1, help="How many images the proof uses.")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the artifact's record as JSON.")] = False,
) -> None:
    """Merge away everything static in a checkpoint, and prove that the outputs are the same.

    Example: python compile/fold.py --checkpoint models/default --images data/scenes --split calibration --out build/folded
    """
    chosen = folder_images(images, split).first(count)
    announce(fold(checkpoint, out, chosen, mode=mode), as_json=as_json)


if __name__ == "__main__":
    run_script(main)
