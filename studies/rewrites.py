"""Measure each rewrite of the float graph on a target, and store what was found beside the target.

Greedy, in the order of the target's rows: a graph with the rewrites that are on so far, against the same graph with one more.
There is one interleaved run for each model and each variant of it that runs a float or a quantized graph. All variants are
made of the one rewritten graph, and a gain may show in INT8 alone. So a rewrite is switched on where on every model it makes
a variant faster and none slower. Faster: the median of the rounds' ratios is below ``GAIN``, their upper quartile below 1.
Slower: the median is above ``LOSS``, the lower quartile above 1.
"""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal, NamedTuple

import typer

from bundle.base.errors import ConfigError
from bundle.base.limits import LIMITS
from bundle.base.strict_json import dumps
from bundle.base.terminal import print_answer, say
from bundle.formats.artifacts import write_text
from bundle.tasks.dataset import read_image
from calibration.image_files import folder_images
from calibration.sampling import CalibrationSet, from_folder
from compile.evaluation.timing import Ratio, ratio, sample
from compile.graphs.passes.table import apply_passes
from compile.quantization.variants import CACHE, QuantizationJob, scheme_of, write_quantized
from compile.stage.code_hash import ROOT
from compile.stage.command import run_script
from compile.stage.config import TimingConfig
from compile.stage.graph_info import GRAPH_FILE, GraphInfo, graph_info
from studies.folding.graphs import adapter_part, config_of, write_checkpoint, write_image
from studies.runs import TimingSetup, convert_graph
from studies.stages import folded_graph
from targets.base import Array, Capabilities, RunConfig, Variant, VariantRecipe
from targets.folding import Rates, rates_of
from targets.rewrites import FILE, RewriteRow, Rewrites, Sample
from targets.table import target as find_target

CANDIDATES = (
    "pool_in_two_steps",
    "pool_as_product",
    "resize_as_products",
    "mix_before_resize",
    "merge_attention_mask",
    "flatten_tokens",
    "split_projections",
    "gather_windows",
    "gather_rows",
)
GAIN, LOSS = 0.99, 1.01
# Sessions of each graph. Where a runtime puts weights and buffers shifts a latency by a percent, and no round of one session shows it.
SESSIONS = 3
BURST = 3  # timed calls of a turn, after one that is not: then the caches are the graph's own, as on a device that runs it alone
CALIBRATION = 8  # images: the ranges of the quantizers do not change what a graph costs
DEFAULT = Path("models/default")


class Contract(NamedTuple):
    """What a graph's quantization needs besides it."""

    info: GraphInfo
    calibration: CalibrationSet


class Model(NamedTuple):
    """A float graph to measure on, and what to feed it. A graph without a contract is a part of one, and measured in float alone."""

    name: str
    graph: Path
    feed: Mapping[str, Array]
    contract: Contract | None = None


def measure_rewrites(
    models: Sequence[Model], bench: TimingSetup, names: Sequence[str] = CANDIDATES, *, first: bool = False
) -> tuple[RewriteRow, ...]:
    """Measure the named rewrites one after the other, each over those that are on before it.

    With ``first`` only the first model that has a site for a rewrite decides: a small graph shows a small gain.
    """
    rows: list[RewriteRow] = []
    for name in names:
        on = tuple(row.name for row in rows if row.on)
        samples: list[Sample] = []
        for model in models:
            if not (first and any(one.sites for one in samples)):
                samples += _compare(model, on, name, bench)
        rows.append(decide(name, tuple(samples)))
        say(f"{name}: {'on' if rows[-1].on else 'off'}, {rows[-1].reason}")
    return tuple(rows)


def decide(name: str, samples: tuple[Sample, ...]) -> RewriteRow:
    """Switch a rewrite on where it makes a variant of every model it applies to faster, and none slower."""
    found = [one for one in samples if one.sites]
    if not found:
        return RewriteRow(name=name, on=False, reason="no model has a site for it", samples=samples)
    fast = {one.model for one in found if one.ratio < GAIN and one.quartiles[1] < 1.0}
    worst, best = max(found, key=lambda one: one.ratio), min(found, key=lambda one: one.ratio)
    slow = [one for one in found if one.ratio > LOSS and one.quartiles[0] > 1.0]
    on = fast == {one.model for one in found} and not slow
    reason = f"{best.ratio:.3f}× the latency without it, on {best.model} in {best.variant}"
    if len(found) > 1:
        reason += f"; at worst {worst.ratio:.3f}×, on {worst.model} in {worst.variant}"
    if not on:
        reason += f"; on from {GAIN}× down in a variant of every model, with the upper quartile below 1, and with none above {LOSS}×"
    return RewriteRow(name=name, on=on, reason=reason, samples=samples)


def _compare(model: Model, on: tuple[str, ...], name: str, bench: TimingSetup) -> list[Sample]:
    """Time a graph with the rewrites that are on, and with one more, as each variant."""
    with TemporaryDirectory() as scratch:
        without, rewritten = (Path(scratch) / kind / GRAPH_FILE for kind in ("without", "with"))
        for graph in (without, rewritten):
            graph.parent.mkdir()
        apply_passes(on, model.graph, without)
        sites = apply_passes((name,), without, rewritten)[name]
        if not sites:
            return [Sample(model=model.name, sites=0, ratio=1.0, quartiles=(1.0, 1.0))]
        return [
            Sample(
                model=model.name,
                variant=recipe.name,
                sites=sites,
                ratio=round(found.median, 4),
                quartiles=(round(found.low, 4), round(found.high, 4)),
            )
            for recipe in recipes_of(model, bench)
            for found in latency_ratios(model, recipe, (rewritten, without), bench)
        ]


def recipes_of(model: Model, bench: TimingSetup) -> list[VariantRecipe]:
    """Return the target's variants that compute with a float graph or, where it can be made, with a quantized one."""
    offered = bench.target.variants(bench.target.capabilities(bench.run))
    return [one for one in offered if one.graph == "float" or (one.graph == "quantized" and model.contract is not None)]


def latency_ratios(model: Model, recipe: VariantRecipe, graphs: Sequence[Path], bench: TimingSetup) -> list[Ratio]:
    """Compare the latencies of graphs as one variant, in the rounds of ``SESSIONS`` runs of new sessions: each one's over the last's."""
    spent: list[list[float]] = [[] for _ in graphs]
    variants = [_variant(model, recipe, graph, bench) for graph in graphs]
    for _ in range(SESSIONS):
        with ExitStack() as sessions:
            opened = [
                sessions.enter_context(bench.target.open(graph.parent, one, bench.run, "auto", keep=graph.parent))
                for graph, one in zip(graphs, variants, strict=True)
            ]
            subjects = {str(index): partial(session.infer, model.feed) for index, session in enumerate(opened)}
            for all_of_it, values in zip(spent, sample(subjects, bench.timing, bench.clock).values(), strict=True):
                all_of_it += values
    return [ratio(one, spent[-1]) for one in spent[:-1]]


def _variant(model: Model, recipe: VariantRecipe, graph: Path, bench: TimingSetup) -> Variant:
    """Write a graph as one of the target's variants, beside it."""
    if recipe.graph == "quantized" and model.contract is not None:
        info, calibration = model.contract
        job = QuantizationJob(graph, info, calibration, graph.parent, bench.target, bench.run, graph.parent / CACHE)
        return write_quantized(recipe, job, (), scheme_of(job))[0]
    return Variant(recipe=recipe, files=convert_graph(graph, bench.target))


def _benchmark(scratch: Path, rates: Rates, threads: int) -> list[Model]:
    """Return the Swin-T of studies/folding/run.py with dynamic gates, its adapters alone before the whole of it."""
    config = config_of("swin-t", "dynamic")
    part = adapter_part("swin-t", "dynamic", len(config.tasks), scratch)
    checkpoint, _ = write_checkpoint(scratch / "swin-t", config), write_image(scratch / "image", config)
    whole = _model(checkpoint, scratch / "image", "", scratch / "graph", rates, threads)
    return [Model("swin-t's adapters", part.path, part.feed), whole]


def _model(checkpoint: Path, images: Path, split: str, out: Path, rates: Rates, threads: int) -> Model:
    graph = folded_graph(checkpoint, folder_images(images, split).first(1), out, rates, threads=threads)
    info = graph_info(graph)
    calibration = from_folder(images, split, CALIBRATION, seed=0, preprocess=info.preprocess)
    path = calibration.paths[0]
    feed = info.feed(read_image(path), name=str(path))
    return Model(checkpoint.name, graph.file(GRAPH_FILE), feed, Contract(info, calibration))


def _require_device(bench: TimingSetup) -> Capabilities:
    able = bench.target.capabilities(bench.run)
    if able.device == "emulation":
        raise ConfigError(
            "an emulation has no latency",
            expected="a device",
            got=able.device,
            where=f"--target {bench.target.name}",
            fix="run this on the device; its rows stay off until then",
        )
    return able


def main(
    target: Annotated[str, typer.Option(help="Whose runtime to measure on: intel, or reference.")] = "intel",
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint to measure on; may be repeated. Default: models/default.")
    ] = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Measure on the Swin-T of studies/folding/run.py instead.")
    ] = False,
    images: Annotated[Path, typer.Option(help="Images of the models' size.")] = Path("data/scenes"),
    split: Annotated[str, typer.Option(help="The split of a labelled folder.")] = "calibration",
    rounds: Annotated[
        int, typer.Option(min=1, max=LIMITS["count"].most, help="Timed rounds of each pair of sessions.")
    ] = 7,
    threads: Annotated[
        int, typer.Option(min=0, max=LIMITS["threads"].most, help="Threads; 0: the runtime's choice.")
    ] = 2,
    clock: Annotated[Literal["wall", "cpu"], typer.Option(help="cpu where other work disturbs wall time.")] = "wall",
    write: Annotated[bool, typer.Option("--write", help="Store the rows beside the target.")] = False,
) -> None:
    """Measure which rewrites of the float graph pay on a target.

    Example: python -m studies.rewrites --target intel --write
    """
    bench = TimingSetup(
        find_target(target), RunConfig(threads=threads), TimingConfig(runs=rounds, warmup=1, burst=BURST), clock
    )
    able = _require_device(bench)
    with TemporaryDirectory() as scratch:
        if benchmark:
            models = _benchmark(Path(scratch), rates_of(target), threads)
        else:
            folders = [(path, Path(scratch) / str(number)) for number, path in enumerate(checkpoint or [DEFAULT])]
            models = [_model(path, images, split, out, rates_of(target), threads) for path, out in folders]
        rows = measure_rewrites(models, bench, first=benchmark)
    subject = " --benchmark" if benchmark else "".join(f" --checkpoint {path}" for path in checkpoint or [])
    command = f"python -m studies.rewrites --target {target}{subject} --rounds {rounds} --threads {threads} --clock {clock} --write"
    answer = Rewrites(
        device=able.device.split(".")[0],
        measured_on=able.device_name,
        runtime=able.runtime,
        clock=clock,
        command=command,
        rows=rows,
    )
    text = dumps(answer.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    if write:
        write_text(ROOT / "targets" / target / FILE, text)
    print_answer(text)


if __name__ == "__main__":
    run_script(main)
