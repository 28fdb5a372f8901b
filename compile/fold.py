"""Fold: a checkpoint to the same function with everything static merged away, proven in float64 on real images.

The artifact holds config.toml (of the whole checkpoint), plan.json (which rewrites, on which modules), model.safetensors
(float32), fold.json (every decision with its numbers) and analysis.json (what of the model is static, module by module).
``load_folded`` rebuilds the module by code: it repeats the plan on a fresh model and loads the weights; nothing is
unpickled.
"""

if not __package__:
    import _path  # noqa: F401

import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from pydantic import JsonValue, TypeAdapter

from bundle.artifacts import Folded, hash_file, load, write_text
from bundle.dataset import SPEC_FILE, FolderDataset, load_spec
from bundle.errors import InputError
from bundle.fold import FOLD, FoldProof, FoldRecord
from bundle.limits import LIMITS
from bundle.manifest import default_budgets
from bundle.preprocess import Preprocess
from bundle.strict_json import dumps
from bundle.terminal import print_answer, say
from compile.config import FoldMode, FoldOptions
from compile.console import EscapingConsole
from compile.images import ImageFiles, folder_images
from compile.script import announce, claim, run_script
from compile.store import seal, tool_versions, writing
from compile.stored import parts_of
from compile.tools import TOOLS

if TYPE_CHECKING:
    from torch import Tensor

    from compile.analysis import Finding
    from tdss.config import ModelConfig
    from tdss.model import MultiTaskModel

PLAN = "plan.json"
USUAL = "reference"  # whose costs decide where no target is named
TARGET_HELP = "For an .onnx: whose measured costs decide, intel, jetson or reference. Default: reference, ONNX Runtime, which any such file is for."


class Folding(NamedTuple):
    """What the stage found: the model as it came, the folded one (float64), every decision, the proof and the analysis."""

    config: "ModelConfig"
    original: "MultiTaskModel"
    folded: "MultiTaskModel"
    records: list[FoldRecord]
    proof: FoldProof
    findings: "tuple[Finding, ...]"


def fold(
    checkpoint: Path, out: Path, images: ImageFiles, options: FoldOptions, calibration: ImageFiles,
    progress: Callable[[str], None],
) -> Folded:  # fmt: skip
    """Fold the checkpoint into the artifact ``out``, proven on ``images``, analysed on ``calibration``.

    Raises:
        ConfigError: the checkpoint's config.toml is wrong, or a task is not one of the model's.
        CheckpointError: its weights are wrong, or a fold changed what the model computes.
        DatasetError: an image cannot be read or has another size than the model's.
    """
    from compile.explain import ANALYSIS, explain_rows, write_rows
    from compile.folds.base import step_of
    from compile.folds.cost import trace_cost
    from compile.module_folds import Traced, part_costs
    from tdss.checkpoint import write_config, write_weights
    from tdss.config_file import CONFIG, WEIGHTS

    done = fold_checkpoint(checkpoint, images, options, calibration, progress)
    folded, shape = done.folded.float(), (1, 3, done.config.image.height, done.config.image.width)
    before, after = (Traced(model, trace_cost(model, shape)) for model in (done.original, folded))
    parts, rows = part_costs(before, after), explain_rows(before, after, done.findings, done.records)
    steps = [step_of(line).model_dump() for line in done.records if line.decision == "folded"]
    with writing(out, Folded) as folder:
        write_config(folder / CONFIG, done.config)
        write_weights(folder / WEIGHTS, {name: x.contiguous() for name, x in folded.state_dict().items()})
        write_text(folder / PLAN, dumps(steps, indent=1))
        write_text(folder / FOLD, dumps([line.model_dump() for line in done.records], indent=1))
        write_rows(folder / ANALYSIS, rows)
        settings: dict[str, JsonValue] = {
            "mode": options.mode, "tasks": list(folded.config.tasks), "freeze_gates": options.freeze_gates,
            "proof": done.proof.model_dump(), "parts": [part.model_dump() for part in parts],
        }  # fmt: skip
        parent = hash_file(checkpoint / WEIGHTS)
        seal(
            Folded, folder, parent=parent, inputs=(), outputs=(), settings=settings, tools=tool_versions(*TOOLS["fold"])
        )
    return load(Folded, out)


def fold_checkpoint(
    checkpoint: Path, images: ImageFiles, options: FoldOptions, calibration: ImageFiles, progress: Callable[[str], None]
) -> Folding:
    """Analyse, restrict to the tasks asked for, freeze if asked to, fold and prove; nothing is written."""
    from compile.analysis import analyse
    from compile.module_folds import prove, rewrite, with_error
    from tdss.checkpoint import load as load_checkpoint
    from tdss.checkpoint import stored_halves
    from tdss.config_file import WEIGHTS

    config, model = load_checkpoint(checkpoint)
    if halves := stored_halves(checkpoint / WEIGHTS):
        progress(halves)
    batch = read_batch(config, images)
    seen = list(read_batch(config, calibration).split(1)) if calibration.paths else []
    findings = analyse(model, seen, progress)
    base, records = _restrict(model, options.tasks, batch)
    if options.freeze_gates:
        base, frozen = _freeze(checkpoint, base, calibration, options, progress)
        records += frozen
    folded, exact = rewrite(base, batch.shape, mode=options.mode)
    proof = prove(base if options.freeze_gates else model, folded, batch)
    return Folding(config, model, folded, [*records, *with_error(exact, proof.float64_max_abs)], proof, findings)


def folded_config(folded: Folded) -> "ModelConfig":
    """Return the configuration of the folded model: the checkpoint's, with the tasks that were kept."""
    from compile.module_folds import TASK_SUBSET
    from tdss.config import keep_tasks
    from tdss.config_file import CONFIG, read_config

    config = read_config(folded.file(CONFIG))
    subset = next((step for step in _plan(folded) if step["rule"] == TASK_SUBSET), None)
    return config if subset is None else keep_tasks(config, str(subset["form"]).split(","))


def load_folded(folded: Folded) -> "MultiTaskModel":
    """Rebuild the folded model, float32, in evaluation mode.

    Raises:
        CheckpointError: the weights do not fit the plan (another version of the project wrote them).
    """
    from compile.folds.base import Step
    from compile.module_folds import apply_steps
    from tdss.checkpoint import match, read_weights
    from tdss.config_file import CONFIG, WEIGHTS, read_config
    from tdss.model import MultiTaskModel

    model = MultiTaskModel(read_config(folded.file(CONFIG))).eval()
    apply_steps(model, [Step.model_validate(step) for step in _plan(folded)])
    weights = read_weights(folded.file(WEIGHTS))
    match(model.state_dict(), weights, str(folded.folder / WEIGHTS))
    model.load_state_dict(weights)
    return model


def read_batch(config: "ModelConfig", images: ImageFiles) -> "Tensor":
    """Return the images as the model takes them: float32 ``[batch, 3, H, W]``."""
    import torch

    preprocess = Preprocess(**config.image.model_dump())
    return torch.cat([torch.from_numpy(preprocess.apply(image, name=name)) for name, image in images.read()])


def _plan(folded: Folded) -> list[dict[str, JsonValue]]:
    return TypeAdapter(list[dict[str, JsonValue]]).validate_json(folded.file(PLAN).read_bytes())


def _restrict(
    model: "MultiTaskModel", tasks: tuple[str, ...], batch: "Tensor"
) -> "tuple[MultiTaskModel, list[FoldRecord]]":
    from compile.module_folds import restrict

    return restrict(model, tasks, batch.shape) if tasks else (model, [])


def _freeze(
    checkpoint: Path, model: "MultiTaskModel", calibration: ImageFiles, options: FoldOptions,
    progress: Callable[[str], None],
) -> "tuple[MultiTaskModel, list[FoldRecord]]":  # fmt: skip
    from compile.freeze import freeze_gates, read_labels
    from tdss.checkpoint import load_card

    card = load_card(checkpoint)
    budgets = default_budgets(dict(model.config.tasks), strict=False) | {
        task: budget for task, budget in options.budgets.items() if task in model.config.tasks
    }
    labels = {} if options.labels is None else read_labels(options.labels, calibration.paths, model.config.tasks)
    if not labels:
        progress("freeze: not every calibration image has its labels: the reference's predictions take their place")
    return freeze_gates(
        model, list(read_batch(model.config, calibration).split(1)), budgets=budgets, labels=labels,
        scales={} if card is None else card.metrics, progress=progress,
    )  # fmt: skip


def main(
    model: Annotated[
        Path, typer.Argument(help="A checkpoint folder (config.toml + model.safetensors), or an .onnx file.")
    ],
    images: Annotated[Path, typer.Option(help="A labelled folder, or a folder of images.")] = Path("data/scenes"),
    out: Annotated[
        Path | None, typer.Option(help="The folder to write, the file for an .onnx; not needed with --explain.")
    ] = None,
    mode: Annotated[FoldMode, typer.Option("--fold", help="all exact folds, those that pay (cost), or none.")] = "all",
    tasks: Annotated[str, typer.Option(help="Keep these only: semseg,depth. Default: every task.")] = "",
    freeze_gates: Annotated[
        bool, typer.Option("--freeze-gates", help="Approximate: freeze the gates that the budgets allow.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Print the analysis, module by module.")] = False,
    split: Annotated[str, typer.Option(help="The split of a labelled folder.")] = "calibration",
    count: Annotated[
        int,
        typer.Option(
            min=1, max=LIMITS["count"].most, help="How many images, or random inputs of an .onnx, the proof uses."
        ),
    ] = 2,
    inputs: Annotated[Path | None, typer.Option(help="For an .onnx: an .npz with an array for every input.")] = None,
    target: Annotated[str | None, typer.Option(help=TARGET_HELP)] = None,
    calibration: Annotated[
        int, typer.Option(min=0, max=LIMITS["count"].most, help="How many images the analysis and the freezing use.")
    ] = 8,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the record, or with --explain the table, as JSON.")
    ] = False,
) -> None:
    """Merge away everything static in a checkpoint or an ONNX file, and prove that the outputs are the same.

    Example: tdss fold models/default --explain; tdss fold model.onnx --out folded.onnx
    """
    _require_a_place(out, explain=explain)
    if model.suffix == ".onnx":
        _require_file_options(model, tasks, freeze_gates=freeze_gates)
        _fold_file(model, out, inputs, count, target or USUAL, explain=explain, as_json=as_json)
        return
    _require_checkpoint_options(model, inputs, target, calibration, freeze_gates=freeze_gates)
    if out is not None:
        claim(out, Folded, model, images)
    chosen = folder_images(images, split)
    spec = images / SPEC_FILE
    labelled = FolderDataset(root=images, spec=load_spec(spec)) if spec.is_file() else None
    kept = tuple(filter(None, tasks.split(",")))
    options = FoldOptions(mode=mode, tasks=kept, freeze_gates=freeze_gates, labels=labelled)
    with TemporaryDirectory() as temporary:
        place = out or Path(temporary) / "folded"
        folded = fold(model, place, chosen.first(count), options, chosen.first(calibration), say)
        if explain:
            _explain(folded, as_json=as_json)
        else:
            announce(folded, as_json=as_json)


def _require_a_place(out: Path | None, *, explain: bool) -> None:
    if out is None and not explain:
        raise InputError(
            "there is nowhere to write to", expected="--out or --explain", got="neither", where="the command line",
            fix="give the folder to write with --out, or --explain to look only",
        )  # fmt: skip


def _require_checkpoint_options(
    model: Path, inputs: Path | None, target: str | None, calibration: int, *, freeze_gates: bool
) -> None:
    if inputs is not None or target is not None:
        raise InputError(
            "--inputs and --target are for an .onnx file", expected="an .onnx file", got=str(model), where="the command line",
            fix="leave them away: a checkpoint is proven on --images, and its folds suit every target",
        )  # fmt: skip
    if freeze_gates and not calibration:
        raise InputError(
            "--freeze-gates measures on images", expected="--calibration 1 or more", got="--calibration 0", where="the command line",
            fix="give --calibration 8, or leave --freeze-gates away",
        )  # fmt: skip


def _require_file_options(path: Path, tasks: str, *, freeze_gates: bool) -> None:
    if tasks or freeze_gates:
        raise InputError(
            "--tasks and --freeze-gates are for a checkpoint", expected="a checkpoint folder", got=str(path),
            where="the command line", fix="leave them away, or name the checkpoint",
        )  # fmt: skip


def _fold_file(
    path: Path, out: Path | None, inputs: Path | None, count: int, target: str, *, explain: bool, as_json: bool
) -> None:
    from compile.fold_graph import fold_file, show

    show(fold_file(path, out, inputs, count, target, say), out, explain=explain, as_json=as_json)


def _explain(folded: Folded, *, as_json: bool) -> None:
    from compile.explain import draw, read_rows

    rows = read_rows(folded)
    parts = parts_of(folded)
    if as_json:
        answer = {"settings": folded.record.settings, "modules": [row.model_dump() for row in rows]}
        print_answer(dumps(answer))
    else:
        console = EscapingConsole(width=None if sys.stdout.isatty() else 200)
        console.print(draw(rows, parts))


if __name__ == "__main__":
    run_script(main)
