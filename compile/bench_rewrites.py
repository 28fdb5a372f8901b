"""Measure each rewrite of the float graph on a target, and store what was found beside the target.

Greedy, in the order of the target's rows: a graph with the rewrites that are on so far, against the same graph with one more,
in one interleaved run on each model. A rewrite is switched on where it is faster on every model: the median of the rounds'
ratios is below ``GAIN`` and their upper quartile below 1.
"""

if not __package__:
    import _path  # noqa: F401

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from bundle.artifacts import Simplified, write_text
from bundle.errors import ConfigError
from bundle.limits import LIMITS
from bundle.preprocess import Preprocess
from bundle.strict_json import dumps
from bundle.terminal import print_answer, say
from compile.bench import Clock, ratio, sample
from compile.config import TimingConfig
from compile.graph import GRAPH_FILE, GraphInfo, graph_info
from compile.images import ImageFiles, folder_images
from compile.passes.table import apply_passes
from compile.script import run_script
from compile.sources import ROOT
from targets.base import Array, RunConfig, Session, Target, Variant
from targets.reference.target import F32
from targets.rewrites import FILE, RewriteRow, Rewrites, Sample
from targets.table import target as find_target

if TYPE_CHECKING:
    from torch import nn

    from tdss.config import ModelConfig

CANDIDATES = (
    "pool_in_two_steps", "pool_as_product", "resize_as_products", "gather_windows", "mix_before_resize", "merge_attention_mask",
)  # fmt: skip
GAIN = 0.99
DEFAULT = Path("models/default")


class Model(NamedTuple):
    """A float graph to measure on, and what to feed it."""

    name: str
    graph: Path
    feed: Mapping[str, Array]


class Bench(NamedTuple):
    """How to measure."""

    target: Target
    run: RunConfig
    timing: TimingConfig
    clock: Clock


def measure_rewrites(
    models: Sequence[Model], bench: Bench, names: Sequence[str] = CANDIDATES, *, first: bool = False
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
                samples.append(_compare(model, on, name, bench))
        rows.append(decide(name, tuple(samples)))
        say(f"{name}: {'on' if rows[-1].on else 'off'}, {rows[-1].reason}")
    return tuple(rows)


def decide(name: str, samples: tuple[Sample, ...]) -> RewriteRow:
    """Switch a rewrite on where it is faster on every model it applies to."""
    found = [one for one in samples if one.sites]
    if not found:
        return RewriteRow(name=name, on=False, reason="no model has a site for it", samples=samples)
    slow = [one for one in found if one.ratio >= GAIN or one.quartiles[1] >= 1.0]
    worst = max(found, key=lambda one: one.ratio)
    reason = f"{worst.ratio:.3f}× the latency without it, on {worst.model}"
    if slow:
        reason += f"; on from {GAIN}× down, with the upper quartile below 1"
    return RewriteRow(name=name, on=not slow, reason=reason, samples=samples)


def _compare(model: Model, on: tuple[str, ...], name: str, bench: Bench) -> Sample:
    with TemporaryDirectory() as scratch, ExitStack() as sessions:
        folder = Path(scratch)
        apply_passes(on, model.graph, folder / "without.onnx")
        sites = apply_passes((name,), folder / "without.onnx", folder / "with.onnx")[name]
        if not sites:
            return Sample(model=model.name, sites=0, ratio=1.0, quartiles=(1.0, 1.0))
        opened = {
            kind: sessions.enter_context(open_graph(folder / f"{kind}.onnx", bench)) for kind in ("without", "with")
        }
        subjects = {kind: (lambda session=session: session.infer(model.feed)) for kind, session in opened.items()}
        spent = sample(subjects, bench.timing, bench.clock)
    found = ratio(spent["with"], spent["without"])
    return Sample(
        model=model.name, sites=sites, ratio=round(found.median, 4), quartiles=(round(found.low, 4), round(found.high, 4))
    )  # fmt: skip


def open_graph(graph: Path, bench: Bench) -> Session:
    """Open an ONNX graph in float32 on the target's runtime."""
    variant = Variant(recipe=F32, files=convert_graph(graph, bench.target))
    return bench.target.open(graph.parent, variant, bench.run, "auto", keep=graph.parent)


def convert_graph(graph: Path, target: Target) -> tuple[str, ...]:
    """Write an ONNX graph as the target's runtime reads it, beside it; return the files' names, the graph's first."""
    suffix = {"onnx": ".float.onnx", "openvino": ".xml"}[target.graph_format]
    return target.convert(graph, graph.with_suffix(suffix))


def simplified_graph(checkpoint: Path, images: ImageFiles, out: Path, *, threads: int) -> Simplified:
    """Fold, export and simplify a checkpoint in ``out``."""
    from compile.folding import rewrite
    from tdss.checkpoint import load

    config, model = load(checkpoint)
    folded, _ = rewrite(model, (1, 3, config.image.height, config.image.width), mode="all")
    return simplified_module(folded.float(), config, images, out, threads=threads)


def simplified_module(
    model: "nn.Module", config: "ModelConfig", images: ImageFiles, out: Path, *, threads: int
) -> Simplified:
    """Export and simplify a model that answers as ``config`` says, in ``out``."""
    from compile.export import export_module
    from compile.simplify import simplify

    info = GraphInfo(io="raw", preprocess=Preprocess(**config.image.model_dump()), tasks=dict(config.tasks))
    exported = export_module(model, info, out / "exported", images, parent=None, threads=threads)
    return simplify(exported, out / "simplified", images, threads=threads)


def _benchmark(scratch: Path, threads: int) -> list[Model]:
    """Return the Swin-T of compile/bench_fold.py with dynamic gates, its adapters alone before the whole of it."""
    from compile.bench_graphs import adapter_part, config_of, write_checkpoint, write_image

    config = config_of("swin-t", "dynamic")
    part = adapter_part("swin-t", "dynamic", len(config.tasks), scratch)
    checkpoint, image = write_checkpoint(scratch / "swin-t", config), write_image(scratch / "image", config)
    return [Model("swin-t's adapters", part.path, part.feed), _model(checkpoint, image, scratch / "graph", threads)]


def _model(checkpoint: Path, images: ImageFiles, out: Path, threads: int) -> Model:
    graph = simplified_graph(checkpoint, images, out, threads=threads)
    [(name, image)] = images.read()
    return Model(checkpoint.name, graph.file(GRAPH_FILE), graph_info(graph).feed(image, name=name))


def main(
    target: Annotated[str, typer.Option(help="Whose runtime to measure on: intel, or reference.")] = "intel",
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="A checkpoint to measure on; may be repeated. Default: models/default.")
    ] = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Measure on the Swin-T of compile/bench_fold.py instead.")
    ] = False,
    images: Annotated[Path, typer.Option(help="Images of the models' size.")] = Path("data/scenes"),
    split: Annotated[str, typer.Option(help="The split of a labelled folder.")] = "calibration",
    rounds: Annotated[int, typer.Option(min=1, max=LIMITS["count"].most, help="Timed rounds of each comparison.")] = 25,
    threads: Annotated[
        int, typer.Option(min=0, max=LIMITS["threads"].most, help="Threads; 0: the runtime's choice.")
    ] = 2,
    clock: Annotated[Literal["wall", "cpu"], typer.Option(help="cpu where other work disturbs wall time.")] = "wall",
    write: Annotated[bool, typer.Option("--write", help="Store the rows beside the target.")] = False,
) -> None:
    """Measure which rewrites of the float graph pay on a target.

    Example: python compile/bench_rewrites.py --target intel --write
    """
    bench = Bench(find_target(target), RunConfig(threads=threads), TimingConfig(runs=rounds, warmup=2), clock)
    able = bench.target.capabilities(bench.run)
    if able.device == "emulation":
        raise ConfigError(
            "an emulation has no latency", expected="a device", got=able.device, where=f"--target {target}",
            fix="run this on the device; its rows stay off until then",
        )  # fmt: skip
    with TemporaryDirectory() as scratch:
        if benchmark:
            models = _benchmark(Path(scratch), threads)
        else:
            chosen = folder_images(images, split).first(1)
            folders = [(path, Path(scratch) / str(number)) for number, path in enumerate(checkpoint or [DEFAULT])]
            models = [_model(path, chosen, out, threads) for path, out in folders]
        rows = measure_rewrites(models, bench, first=benchmark)
    subject = " --benchmark" if benchmark else "".join(f" --checkpoint {path}" for path in checkpoint or [])
    command = f"python compile/bench_rewrites.py --target {target}{subject} --rounds {rounds} --threads {threads} --clock {clock} --write"
    answer = Rewrites(device=able.device.split(".")[0], measured_on=able.device_name, runtime=able.runtime, clock=clock,
                      command=command, rows=rows)  # fmt: skip
    text = dumps(answer.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"
    if write:
        write_text(ROOT / "targets" / target / FILE, text)
    print_answer(text)


if __name__ == "__main__":
    run_script(main)
