"""Measure what NVIDIA's builder makes of each placement of quantizers, and store what was found beside the target.

    as_calibrated    Q·Kᵀ in INT8, softmax·V in float: what NNCF leaves
    float_attention  all four operands float
    float_query      Q float, K rounded: both products multiply in float, the pair keeps the projection's parts together
    …_and_heads      the same, and the 1×1 convolutions of the heads in float (compile/quantization/ignored_nodes.py)
    int8_attention   all four operands INT8; the scale of V is not calibrated, so that only the plan is measured, and never on

On is the first of those with the most attentions in one kernel whose bytes are within 2 % of the best, on every model.
It needs TensorRT-RTX (the extra ``proof``). Graphs, calibrations and each plan are kept in ``--work``. So a killed run
goes on, and a graph that has not changed is not built again.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import onnx_ir as ir
import typer

from bundle.base.errors import TargetUnavailable
from bundle.base.frozen import Frozen
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from bundle.formats.artifacts import Folded, hash_file, load, write_text
from bundle.formats.tensorrt_checks import CAVEAT
from bundle.tasks.agreement import signal_energy, sqnr_db
from calibration.image_files import folder_images
from calibration.sampling import CalibrationSet, from_folder
from compile.graphs.attention import attentions
from compile.graphs.fp16 import write_fp16, write_ranges
from compile.graphs.nodes import add_constant
from compile.graphs.passes.table import apply_passes
from compile.graphs.quantizers import DEQUANTIZE, QUANTIZE, dequantizers_behind
from compile.quantization.formats import ONNX
from compile.quantization.nncf_calibration import CalibrationRequest, calibrate, feeds_of
from compile.quantization.variants import CACHE
from compile.stage.artifacts import Range
from compile.stage.code_hash import ROOT, code_hash
from compile.stage.command import run_script
from compile.stage.compare import Outputs, run_graph
from compile.stage.graph_info import GRAPH_FILE, GraphInfo, graph_info
from compile.stage.store import StageKey, keep, tool_versions
from compile.tensorrt_checks.rtx_build import prove
from studies.generated_section import replace_section
from studies.placement_table import SECTION, table
from studies.rewrites import DEFAULT
from studies.stages import folded_graph
from targets.base import HeadType, RunConfig
from targets.folding import rates_of
from targets.jetson.placement import FILE, Candidate, Placement, Plan
from targets.jetson.rtx import DISTRIBUTION
from targets.jetson.scheme import scheme
from targets.jetson.target import AFTER_ATTENTION, BEFORE_ATTENTION, EMULATION, JETSON
from tdss.config_file import checkpoint_digest

if TYPE_CHECKING:
    from tdss.config import ModelConfig


class Choice(NamedTuple):
    """A placement: the passes for attention, and whether the heads are quantized."""

    passes: tuple[str, ...]
    heads: HeadType


CANDIDATES: Mapping[str, Choice] = MappingProxyType(
    {
        "as_calibrated": Choice((), "int8"),
        "float_attention": Choice(("float_attention",), "int8"),
        "float_query": Choice(("float_query",), "int8"),
        "float_attention_and_heads": Choice(("float_attention",), "float"),
        "float_query_and_heads": Choice(("float_query",), "float"),
    }
)
PLAN_ONLY = "int8_attention"
CLOSE = 1.02
SPLIT, SOFTMAX_STEP = "calibration", 1 / 127
COMMAND = "python -m studies.placement --write"
VIT = ROOT / "studies" / "dinov2" / "train.toml"
PLAN = "plan.json"
PAGE = ROOT / "docs" / "studies" / "quantization.md"


class Model(NamedTuple):
    """A float graph to quantize in each way, its calibration images, and where what is made of it is kept."""

    name: str
    graph: Path
    info: GraphInfo
    calibration: CalibrationSet
    work: Path


class Built(Frozen):
    """A plan and the builder that made it."""

    builder: str
    plan: Plan


def measure(model: Model) -> tuple[str, Plan, dict[str, Plan]]:
    """Return the builder's name, the plan of a model's FP16 graph, and that of each candidate.

    Raises:
        GraphError: NNCF or a pass refuses the graph.
        TargetUnavailable: TensorRT-RTX is not here, or died.
    """
    feeds = feeds_of(model.info, model.calibration.first(2))
    model.work.mkdir(parents=True, exist_ok=True)
    ranges = write_ranges(model.graph, model.work, feeds, threads=0)
    reference = run_graph(model.graph, model.info, feeds, exact=True, threads=0)
    found = dict[str, Plan]()
    for name, choice in CANDIDATES.items():
        path = quantized(model, name, choice)

        def worst(path: Path = path) -> float:
            return worst_db(run_graph(path, model.info, feeds, exact=True, threads=0), reference)

        found[name] = plan_of(model.name, name, path, model.work, ranges, worst).plan
    path = model.work / f"{PLAN_ONLY}.qdq.onnx"
    ir.save(quantize_second(ir.load(model.work / "as_calibrated.qdq.onnx")), path)
    found[PLAN_ONLY] = plan_of(model.name, PLAN_ONLY, path, model.work, ranges, None).plan
    fp16 = plan_of(model.name, "f16", model.graph, model.work, ranges, None)
    return fp16.builder, fp16.plan, found


def quantized(model: Model, name: str, choice: Choice) -> Path:
    """Quantize a model's graph as a candidate says; return the file."""
    path = model.work / f"{name}.qdq.onnx"
    chosen = scheme(JETSON.capabilities(RunConfig(device=EMULATION))).model_copy(update={"heads": choice.heads})
    calibrated = calibrate(
        CalibrationRequest(model.graph, model.info, model.calibration, chosen, ONNX), model.work / CACHE
    )
    apply_passes((*BEFORE_ATTENTION, *choice.passes, *AFTER_ATTENTION), calibrated, path)
    return path


def plan_of(
    model: str, name: str, path: Path, work: Path, ranges: Sequence[Range], worst: Callable[[], float] | None
) -> Built:
    """Return the plan of a model's graph, kept in ``work`` or measured now; ``worst`` measures its outputs.

    Raises:
        TargetUnavailable: TensorRT-RTX is not here, or died.
    """
    key = StageKey(
        stage="plan",
        inputs=(hash_file(path),),
        settings={"model": model, "name": name},
        code=code_hash("compile.tensorrt_checks.rtx_build", "compile.graphs.fp16"),
        tools=tool_versions(DISTRIBUTION, "onnxruntime"),
    )

    def write(folder: Path) -> None:
        found = _measured(model, name, path, work, ranges, worst)
        write_text(folder / PLAN, found.model_dump_json())

    found = Built.model_validate_json(keep(work, key, write, say).file(PLAN).read_bytes())
    one = found.plan
    say(f"{model}, {name}: {one.fused} of {one.attentions} fused, {one.kernels} kernels, {one.moved_mb:.1f} MB")
    return found


def _measured(
    model: str, name: str, path: Path, work: Path, ranges: Sequence[Range], worst: Callable[[], float] | None
) -> Built:
    files, _ = write_fp16(path, work, name, ranges)
    proof = prove([work / files[0]])
    if proof.status != "accepted":
        raise TargetUnavailable(
            "no plan can be measured",
            expected="a graph that TensorRT-RTX builds",
            got=f"{proof.status}: {proof.reason}",
            where="this machine",
            fix="pip install -e '.[proof]' on Linux, x86-64",
        )
    [one] = proof.graphs
    plan = Plan(
        model=model,
        kernels=one.kernels,
        attentions=one.attentions,
        fused=one.fused,
        moved_mb=round(one.moved_bytes / 1e6, 2),
        weight_mb=round(one.weight_bytes / 1e6, 2),
        int8_share=round(one.int8_share, 4),
        sqnr_db=None if worst is None else worst(),
    )
    return Built(builder=proof.builder, plan=plan)


def worst_db(outputs: Sequence[Outputs], reference: Sequence[Outputs]) -> float:
    """Return the lowest signal-to-noise ratio of an output over all images, in dB."""
    pairs = list(zip(reference, outputs, strict=True))
    found = [
        sqnr_db(np.sum([signal_energy(one[name], other[name]) for one, other in pairs], axis=0))
        for name in reference[0]
    ]
    return round(min(found), 2)


def quantize_second(model: ir.Model) -> ir.Model:
    """Put Q/DQ pairs before both operands of every attention's second product; V gets the step of the softmax."""
    for attention in list(attentions(model.graph)):
        for index in (0, 1):
            value = attention.second.inputs[index]
            if value is None or dequantizers_behind(value):
                continue
            name = f"{attention.second.name}/{index}"
            scale = add_constant(model, f"{name}/scale", np.asarray(SOFTMAX_STEP, np.float32))
            zero = add_constant(model, f"{name}/zero", np.zeros((), np.int8))
            q = ir.Node("", QUANTIZE, [value, scale, zero], name=f"{name}/q")
            d = ir.Node("", DEQUANTIZE, [q.outputs[0], scale, zero], name=f"{name}/dq")
            q.outputs[0].name, d.outputs[0].name = f"{name}/q", f"{name}/dq"
            model.graph.insert_before(attention.second, [q, d])
            attention.second.replace_input_with(index, d.outputs[0])
    return model


def decide(plans: dict[str, tuple[Plan, ...]]) -> tuple[Candidate, ...]:
    """Switch one candidate on; ``plans`` holds for each, the simplest first, its plan of every model."""
    worst = {name: _worst(name, plans) for name in CANDIDATES}
    best = min(worst.values())
    on = next(name for name in CANDIDATES if worst[name] <= (best[0], best[1] * CLOSE))
    rows = []
    for name, mine in plans.items():
        reason = "its scales of V are not calibrated: only its plan is measured"
        if name in CANDIDATES:
            lost, ratio = worst[name]
            reason = f"{lost} attentions fewer in one kernel than the best, at most {ratio:.3f} times the best's bytes"
        choice = CANDIDATES.get(name, CANDIDATES["as_calibrated"])
        rows.append(Candidate(name=name, **choice._asdict(), on=name == on, reason=reason, plans=mine))
    return tuple(rows)


def _worst(name: str, plans: dict[str, tuple[Plan, ...]]) -> tuple[int, float]:
    """Return how many attentions a candidate loses against the best, and its bytes over the fewest, on its worst model."""
    lost, ratio = 0, 0.0
    for index, plan in enumerate(plans[name]):
        rivals = [plans[other][index] for other in CANDIDATES]
        lost = max(lost, max(rival.fused for rival in rivals) - plan.fused)
        ratio = max(ratio, plan.moved_mb / min(rival.moved_mb for rival in rivals))
    return lost, ratio


def prepare(name: str, checkpoint: Path, images: Path, work: Path, count: int) -> Model:
    """Export, simplify and fold a checkpoint, unless ``work`` has it from this code, and draw its calibration images."""
    files = folder_images(images, SPLIT)
    few, code = files.first(4), code_hash("studies.rewrites", "studies.folding.graphs")
    inputs = (checkpoint_digest(checkpoint), few.sha256)
    key = StageKey(stage=name, inputs=inputs, settings={}, code=code, tools={})
    kept = keep(work, key, lambda out: folded_graph(checkpoint, few, out, rates_of("jetson"), threads=0), say)
    graph = load(Folded, kept.folder / "folded")
    info = graph_info(graph)
    drawn = from_folder(images, SPLIT, count, seed=0, preprocess=info.preprocess)
    return Model(name, graph.file(GRAPH_FILE), info, drawn, work / f"{name}-plans")


def _seeded(name: str, config: "ModelConfig", work: Path, count: int) -> Model:
    """Return a model with seeded random weights: a plan does not depend on them."""
    from studies.folding.graphs import write_checkpoint, write_image

    folder = work / f"{name}-seeded"
    write_image(folder / "image", config)
    return prepare(name, write_checkpoint(folder / "checkpoint", config), folder / "image", work, count)


def _others(work: Path, count: int) -> list[Model]:
    """Return the Swin-T at 448 of studies/folding/run.py with dynamic gates, and the ViT of ``make hard-case``."""
    from studies.folding.graphs import config_of
    from tdss.training.config import read

    configs = {"swin-t-448": config_of("swin-t", "dynamic"), "vit-s-14": read(VIT).model}
    return [_seeded(name, config, work, count) for name, config in configs.items()]


def main(
    checkpoint: Annotated[Path, typer.Option(help="A checkpoint to measure on.")] = DEFAULT,
    images: Annotated[Path, typer.Option(help="A labelled folder, or images of the model's size.")] = Path(
        "data/scenes"
    ),
    count: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="Calibration images; a plan does not depend on them.")
    ] = 16,
    others: Annotated[bool, typer.Option(help="Measure on the Swin-T at 448 and the ViT-S/14 too.")] = True,
    work: Annotated[Path, typer.Option(help="Where graphs and calibrations are kept.")] = Path("build/placement"),
    write: Annotated[
        bool, typer.Option("--write", help="Store the rows beside the target and in the documents.")
    ] = False,
) -> None:
    """Measure the plan of each placement of quantizers for TensorRT.

    Example: python -m studies.placement --write
    """
    models = [prepare(checkpoint.name, checkpoint, images, work, count)]
    models += _others(work, count) if others else []
    measured = [measure(model) for model in models]
    plans = {name: tuple(found[name] for _, _, found in measured) for name in (*CANDIDATES, PLAN_ONLY)}
    answer = Placement(
        builder=measured[0][0],
        caveat=CAVEAT,
        command=COMMAND,
        f16=tuple(half for _, half, _ in measured),
        rows=decide(plans),
    )
    text = dumps(answer.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    if write:
        write_text(ROOT / "targets" / "jetson" / FILE, text)
        replace_section(PAGE, SECTION, table(answer), title="Quantization")
    print_answer(text)


if __name__ == "__main__":
    run_script(main)
