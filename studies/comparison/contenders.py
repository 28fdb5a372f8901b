"""The ways to run a model that are compared, one row each: what makes their graphs, what runs them, in which precision."""

from pathlib import Path
from typing import NamedTuple

from bundle.base.errors import TargetUnavailable
from bundle.formats.artifacts import Artifact, Engine
from compile.stage.artifacts import variants_of
from compile.stage.graph_info import GRAPH_FILE
from studies.comparison.makers import OURS, Model, Workshop, make
from studies.comparison.subject import Hint, Runner, Subject
from targets.base import Variant

CHECKPOINT = "checkpoint"
REFERENCE = "eager"  # the row whose answers all others are compared with


class Way(NamedTuple):
    """One way. ``kind`` is a maker of studies/comparison/makers.py, or the checkpoint itself."""

    name: str
    label: str
    kind: str
    runner: Runner
    hint: Hint = "own"  # of ours, the recipe's
    answers: bool = True  # False: it computes nothing that could be compared


WAYS = (
    Way(REFERENCE, "PyTorch, eager", CHECKPOINT, "eager", "f32"),
    Way("torch-compile", "torch.compile", CHECKPOINT, "torch.compile", "f32"),
    Way("plain-ort", "plain export → ONNX Runtime", "plain", "onnxruntime", "f32"),
    Way("plain-f32", "plain export → OpenVINO f32", "plain", "openvino", "f32"),
    Way("plain", "plain export → OpenVINO at its own precision", "plain", "openvino", "own"),
    Way("nncf", "nncf.quantize by default → OpenVINO", "nncf", "openvino", "own"),
    Way("ort-static", "ONNX Runtime static quantization", "static", "onnxruntime", "f32"),
    Way("singles", "a plain export for each task, in sequence → OpenVINO", "singles", "openvino", "own"),
    Way("ours-f32", "ours f32", OURS, "openvino"),
    Way("ours-bf16", "ours bf16", OURS, "openvino"),
    Way("ours-int8", "ours int8", OURS, "openvino"),
    Way("limit-f32", "limit: products of ours f32 alone", OURS, "products", answers=False),
    Way("limit-bf16", "limit: products of ours bf16 alone", OURS, "products", answers=False),
    Way("limit-int8", "limit: products of ours int8 alone", OURS, "products", answers=False),
)
SCALING = ("ours-bf16", "ours-int8")


def subject_of(way: Way, model: Model, shop: Workshop) -> Subject:
    """Make what a way needs and describe it.

    Raises:
        ProjectError: a tool refuses the model, or the target offers no such variant here.
    """
    files: tuple[Path, ...] = (model.checkpoint,)
    hint: Hint = way.hint
    if way.kind != CHECKPOINT:
        made = make(way.kind, model, shop)
        if isinstance(made, Engine):
            variant = _variant(way, made)
            files, hint = (made.file(variant.files[0]),), variant.recipe.hint
        else:
            files = _files(way, made, tuple(model.info.tasks))
    return Subject(
        runner=way.runner,
        files=tuple(path.resolve() for path in files),
        hint=hint,
        info=model.info,
        image=model.calibration.paths[0].resolve(),
        threads=shop.threads,
    )


def _files(way: Way, made: Artifact, tasks: tuple[str, ...]) -> tuple[Path, ...]:
    """Return the graphs of an artifact that a way runs."""
    if way.kind == "singles":
        return tuple(made.file(f"{task}.xml") for task in tasks)
    return (made.file(GRAPH_FILE if way.runner == "onnxruntime" else "model.xml"),)


def _variant(way: Way, engine: Engine) -> Variant:
    """Return the variant that a row of ours is called after."""
    precision = way.name.rpartition("-")[2]
    offered = {str(one.recipe.name): one for one in variants_of(engine)}
    if precision in offered:
        return offered[precision]
    raise TargetUnavailable(
        f"the intel target offers no {precision} here",
        expected=precision,
        got=", ".join(offered),
        where="this machine",
        fix="run it where the CPU computes in it",
    )
