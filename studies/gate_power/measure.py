"""Plant regressions of known size in a model and see how often the gate finds them.

    python -m studies.gate_power.measure --bundle build/default/jetson --graph build/.store/simplify/<key>/model.onnx

Every task gets Gaussian noise on the weights of its last layer with weights, which is its own, so that one sweep serves all tasks: the
body of the float graph runs once per image, the six heads once per level. The levels, and which of two opposite
directions, are chosen on a few images so that the drops are around the budget. The drop over *all* images is then the
truth. Each trial judges a random draw of N of them, as if only those had been at hand.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import numpy as np
import onnx
import typer
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from rich.progress import track

from bundle.base.errors import GraphError, InputError
from bundle.base.limits import LIMITS
from bundle.formats.manifest import Bundle, Manifest, load_bundle
from bundle.formats.outputs import json_object, overwrite, require_file
from bundle.formats.vectors import EvaluationSample
from bundle.judging.evaluate_image import feed
from bundle.judging.image_sources import Source, bundled, figures_of
from bundle.judging.verdict import Rule, judge, relative_drop
from bundle.tasks.dataset import decode_label
from bundle.tasks.metrics import Floats, Metric
from bundle.tasks.postprocess import predict
from bundle.tasks.spec import Array
from bundle.tasks.table import task
from compile.stage.command import run_script
from compile.stage.console import EscapingConsole
from report.drawing.image_encoding import PICTURES
from studies.gate_power.page import Planted, Power, Trials, publish
from targets.base import RunConfig, Session, Variant
from targets.reference.target import F32, REFERENCE

SEED = 0
LADDER = tuple(float(level) for level in np.geomspace(0.03, 6.0, 10))
SIZES = (0.25, 0.5, 0.75, 1.25, 1.75, 2.5, 4.0, 7.0, 16.0)  # the drops aimed at, in budgets
PILOT = 32  # images the levels are chosen on, spread over all
SHARES = (1 / 3, 1.0, 3.0)  # images judged on, as shares of the bundle's

POWERS = json_object("model", "resamples", "points")  # what a measurement may be written over
TRIALS = 400  # draws of as many images as the bundle has; of another number a quarter of that
TRIAL_RESAMPLES = 500


class Layer(NamedTuple):
    """A task's last layer with weights: the node's weight and the activation that enters it."""

    weight: str
    activation: str


def last_layer(graph: onnx.GraphProto, output: str) -> Layer:
    """Walk back from an output to the first node with a weight of two axes or more.

    Raises:
        GraphError: there is none.
    """
    constants = {one.name: one for one in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    name = output
    while name in makers:
        inputs = list(makers[name].input)
        weights = [one for one in inputs if one in constants and len(constants[one].dims) >= 2]
        name = next((one for one in inputs if one not in constants), "")
        if weights:
            return Layer(weights[0], name)
    raise GraphError(
        f"output {output!r} has no layer with weights",
        expected="a Conv, Gemm or MatMul with a constant",
        got="none",
        where="the float graph",
        fix="give the bundle of a trained model",
    )


class Cut(NamedTuple):
    """The graph in two: a body that ends in the activations, heads that take them and the weights; both opened."""

    body: Session
    heads: Session
    layers: dict[str, Layer]
    weights: dict[str, Array]


def cut(path: Path, tasks: Iterable[str], folder: Path) -> tuple[dict[str, Layer], dict[str, Array]]:
    """Write ``body.onnx`` and ``heads.onnx`` into ``folder``; return each task's layer, and the weights by name."""
    model = onnx.load(path)
    layers = {name: last_layer(model.graph, name) for name in tasks}
    activations = list(dict.fromkeys(layer.activation for layer in layers.values()))
    inputs = [one.name for one in model.graph.input]
    onnx.utils.extract_model(str(path), str(folder / "body.onnx"), inputs, activations)
    onnx.utils.extract_model(str(path), str(folder / "heads.onnx"), activations, list(layers))
    heads = onnx.load(folder / "heads.onnx")
    taken = {layer.weight for layer in layers.values()}
    weights = {one.name: numpy_helper.to_array(one) for one in heads.graph.initializer if one.name in taken}
    kept = [one for one in heads.graph.initializer if one.name not in taken]
    del heads.graph.initializer[:]
    heads.graph.initializer.extend(kept)
    heads.graph.input.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in weights.items()
    )
    onnx.save(heads, folder / "heads.onnx")
    return layers, weights


def opened(folder: Path, name: str, threads: int) -> Session:
    """Open one of the two graphs in ONNX Runtime."""
    return REFERENCE.open(folder, Variant(recipe=F32, files=(name,)), RunConfig(threads=threads), "auto", keep=folder)


def planted(weights: dict[str, Array], levels: dict[str, float], direction: int = SEED) -> dict[str, Array]:
    """Return the weights with noise: its deviation is ``level`` times their root mean square, ``direction`` is its seed.

    A negative level is the opposite direction.
    """
    found: dict[str, Array] = {}
    for number, (name, array) in enumerate(weights.items()):
        noise = np.random.default_rng([direction, number]).normal(size=array.shape)
        scale = levels[name] * float(np.sqrt((array.astype(np.float64) ** 2).mean()))
        found[name] = (array.astype(np.float64) + scale * noise).astype(np.float32)
    return found


def sweep(
    parts: Cut, images: Iterable[EvaluationSample], manifest: Manifest, disturbed: Sequence[dict[str, Array]]
) -> dict[str, Floats]:
    """Return each task's gated per-image arrays, float64 ``[V, N, …]``, for V sets of the heads' weights."""
    figures = {name: rows[0] for name, rows in figures_of(manifest).items()}
    found: dict[str, list[list[Floats]]] = {name: [] for name in figures}
    for stored in images:
        activations = parts.body.infer(feed(manifest, stored))
        labels = {name: decode_label(name, stored.labels[name], manifest.dataset) for name in figures}
        rows: dict[str, list[Floats]] = {name: [] for name in figures}
        for weights in disturbed:
            outputs = parts.heads.infer({**activations, **weights})
            for name, figure in figures.items():
                rows[name].append(figure.per_image(predict(task(name), outputs[name][0]), labels[name]))
        for name, arrays in rows.items():
            found[name].append(arrays)
    return {name: np.swapaxes(np.array(arrays, dtype=np.float64), 0, 1) for name, arrays in found.items()}


def at_levels(parts: Cut, levels: dict[str, list[float]]) -> list[dict[str, Array]]:
    """Return the weights at each level; ``levels`` is by task, of one length."""
    steps = len(next(iter(levels.values())))
    return [
        planted(parts.weights, {parts.layers[name].weight: rows[step] for name, rows in levels.items()})
        for step in range(steps)
    ]


def drops(figure: Metric, reference: Floats, arrays: Floats) -> Floats:
    """Return the relative drop of each level, ``[levels]``, of ``arrays`` ``[levels, N, …]`` against ``reference`` ``[N, …]``."""
    ours = np.asarray(figure.reduce_many(arrays.sum(axis=1)))
    theirs = np.asarray(figure.reduce_many(reference.sum(axis=0)[None]))
    return relative_drop(np.broadcast_to(theirs, ours.shape), ours, figure.direction)


def choose_levels(pilot: Floats, budget: float) -> list[float]:
    """Return the signed level at which the pilot's drop first reaches each size.

    ``pilot`` holds the drops of ``LADDER`` and of its opposite. The direction that costs more on the way to the largest
    size is taken: a small step the other way may even help. The drop is linear in the log of the level between two steps.
    """
    there, back = np.split(np.nan_to_num(pilot), 2)
    ceiling = SIZES[-1] * budget
    sign, pilot = max(((1.0, there), (-1.0, back)), key=lambda one: float(np.minimum(one[1], ceiling).sum()))
    return [sign * level for level in _levels(pilot, budget)]


def _levels(pilot: Floats, budget: float) -> list[float]:
    chosen = []
    for size in SIZES:
        above = np.flatnonzero(pilot >= size * budget)
        step = int(above[0]) if above.size else len(LADDER) - 1
        if step == 0 or not above.size:
            chosen.append(LADDER[step])
            continue
        share = (size * budget - pilot[step - 1]) / (pilot[step] - pilot[step - 1])
        low, high = np.log(LADDER[step - 1]), np.log(LADDER[step])
        chosen.append(float(np.exp(low + share * (high - low))))
    return chosen


def try_often(figure: Metric, reference: Floats, arrays: Floats, budget: float, options: "Options") -> Iterator[Trials]:
    """Judge random draws of the images, with replacement, as if only those had been at hand."""
    for share in options.shares:
        count = max(2, round(share * len(reference)))
        random = np.random.default_rng([SEED, count])
        verdicts, draws = [], options.trials if share == 1 else max(1, options.trials // 4)
        for number in range(draws):
            picks = random.integers(0, len(reference), count)
            rule = Rule(figure.reduce_many, figure.direction, budget, seed=number, resamples=options.resamples)
            verdicts.append(judge(reference[picks], arrays[picks], rule).verdict)
        shares = {
            verdict: verdicts.count(verdict) / len(verdicts) for verdict in ("regression", "inconclusive", "pass")
        }
        yield Trials(
            images=count,
            draws=draws,
            regression=shares["regression"],
            inconclusive=shares["inconclusive"],
            passed=shares["pass"],
        )


class Options(NamedTuple):
    """What the measurement costs: images of the pilot, draws per row (see ``TRIALS``) and resamples per judgement."""

    pilot: int = PILOT
    shares: tuple[float, ...] = SHARES
    trials: int = TRIALS
    resamples: int = TRIAL_RESAMPLES
    threads: int = 1


def float_graph(bundle: Bundle) -> str:
    """Return the name of the bundle's own float graph.

    Raises:
        InputError: it keeps none in ONNX; the build's store does.
    """
    names = [variant.files[0] for variant in bundle.manifest.variants if variant.name == "f32"]
    if names and names[0].endswith(".onnx"):
        return names[0]
    raise InputError(
        "the noise is planted in a float ONNX graph, and this bundle keeps none",
        expected="a variant f32 in ONNX, or --graph",
        got=", ".join(names) or "no variant f32",
        where=str(bundle.folder),
        fix="name the simplified graph that the build's store keeps: --graph build/.store/simplify/<key>/model.onnx",
    )


def measure_power(bundle: Bundle, graph: Path, options: Options) -> Power:
    """Measure the power of the gate on a float graph of the bundle's model and on the bundle's own images.

    Raises:
        GraphError: the graph has not the bundle's outputs, or one of them no layer with weights.
    """
    manifest = bundle.manifest
    figures = {name: rows[0] for name, rows in figures_of(manifest).items()}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        layers, weights = cut(graph, manifest.tasks, folder)
        body, heads = (
            stack.enter_context(opened(folder, name, options.threads)) for name in ("body.onnx", "heads.onnx")
        )
        parts = Cut(body, heads, layers, weights)
        with bundled(bundle) as source:
            references = {name: source.references[name][figure.name] for name, figure in figures.items()}
            total = len(source.ids)
            few = np.linspace(0, total - 1, min(options.pilot, total)).round().astype(int)
            both = [*LADDER, *(-level for level in LADDER)]
            steps = at_levels(parts, dict.fromkeys(figures, both))
            pilot = sweep(parts, shown(source, few, "choosing levels"), manifest, steps)
            levels = {
                name: choose_levels(drops(figure, references[name][few], pilot[name]), manifest.budgets[name])
                for name, figure in figures.items()
            }
            images = shown(source, np.arange(total), "planting noise")
            arrays = sweep(parts, images, manifest, at_levels(parts, levels))
    rows = [(name, step) for name in figures for step in range(len(SIZES))]
    points = [
        _point(
            manifest,
            figures[name],
            layers[name],
            levels[name][step],
            references[name],
            arrays[name][step],
            options,
            name,
        )
        for name, step in track(rows, "judging draws", console=EscapingConsole(stderr=True))
    ]
    return Power(model=manifest.name, images=total, resamples=options.resamples, points=tuple(points))


def shown(source: Source, indices: NDArray[np.int64], what: str) -> Iterable[EvaluationSample]:
    """Yield some of the images that count for the metrics, with progress."""
    wanted = {source.ids[index] for index in indices}
    images = (stored for stored in source.images() if stored.id in wanted)
    return track(images, what, total=len(wanted), console=EscapingConsole(stderr=True))


def _point(
    manifest: Manifest,
    figure: Metric,
    layer: Layer,
    noise: float,
    reference: Floats,
    arrays: Floats,
    options: Options,
    name: str,
) -> Planted:
    budget = manifest.budgets[name]
    rule = Rule(figure.reduce_many, figure.direction, budget, seed=manifest.seeds.bootstrap)
    judged = judge(reference, arrays, rule)
    return Planted(
        task=name,
        layer=layer.weight,
        noise=noise,
        drop=judged.drop,
        interval=judged.interval,
        budget=budget,
        verdict=judged.verdict,
        trials=tuple(try_often(figure, reference, arrays, budget, options)),
    )


def main(
    bundle: Annotated[Path, typer.Option(help="The bundle whose images judge: build/default/jetson.")],
    graph: Annotated[Path | None, typer.Option(help="The float graph, where the bundle keeps none as ONNX.")] = None,
    out: Annotated[Path, typer.Option(help="The measurement.")] = Path("docs/studies/regression-power.json"),
    doc: Annotated[Path, typer.Option(help="The Markdown file with the section.")] = Path(
        "docs/studies/regression-power.md"
    ),
    figure: Annotated[Path, typer.Option(help="The PNG.")] = Path("docs/studies/regression-power.png"),
    trials: Annotated[
        int,
        typer.Option(
            min=1, max=LIMITS["count"].most, help="Draws per planted regression of as many images as the bundle has."
        ),
    ] = TRIALS,
    threads: Annotated[
        int, typer.Option(min=0, max=LIMITS["threads"].most, help="Threads of ONNX Runtime; 0: all.")
    ] = 1,
) -> None:
    """Measure how often planted regressions are detected, and write docs/studies/regression-power.md again.

    Example: python -m studies.gate_power.measure --bundle build/default/jetson
    """
    inputs = [bundle, *([] if graph is None else [graph])]
    require_file(out, POWERS, inputs)
    require_file(figure, PICTURES, inputs)
    opened = load_bundle(bundle)
    names = [float_graph(opened)] if graph is None else []
    with opened.copied(names) as folder:
        power = measure_power(opened, graph or folder / names[0], Options(trials=trials, threads=threads))
    overwrite(out, power.model_dump_json(indent=1) + "\n", POWERS)
    publish(power, doc, figure)


if __name__ == "__main__":
    run_script(main)
