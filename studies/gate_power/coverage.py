"""Measure what the gate's 95 % is worth: the coverage of four intervals, and the mistakes of several verdicts together.

    python -m studies.gate_power.coverage --bundle build/default/jetson --graph build/.store/simplify/<key>/model.onnx

``studies.gate_power.measure`` plants noise in each task's last layer; so does this, in ``VARIANTS`` directions, at the level whose drop was
nearest to the budget (docs/studies/regression-power.json). The drop over all images is the truth, and the budget as well: every planted
variant is exactly at its budget. Each trial takes a draw of images, as if only those had been at hand.

Coverage is by the number of images that count for the task, so a trial draws from those. A gate that errs in 2.5 % of its
judgements on either side errs more often in one of several: in a build of six tasks, or in the best of four variants.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, NamedTuple

import numpy as np
import typer
from rich.progress import track

from bundle.base.limits import LIMITS
from bundle.formats.manifest import Bundle, load_bundle
from bundle.formats.outputs import json_object, overwrite, require_file
from bundle.judging.image_sources import bundled, figures_of
from bundle.judging.verdict import Verdict, decide, interval
from bundle.tasks.metrics import Floats, Metric
from compile.stage.command import run_script
from compile.stage.console import EscapingConsole
from studies.gate_power.coverage_page import Cover, Coverage, Together, publish
from studies.gate_power.intervals import METHODS, Sample, all_intervals
from studies.gate_power.measure import Cut, cut, drops, float_graph, opened, planted, shown, sweep
from studies.gate_power.page import Power, read_power

COVERAGES = json_object("model", "covers", "together")  # what a measurement may be written over
SEED = 0
VARIANTS = 4
IMAGES = (3, 5, 10, 15, 20, 30, 100)
TRIALS = 150  # draws per task, variant and number of images
RESAMPLES = 500


class Subject(NamedTuple):
    """One task: its figure, the reference's arrays ``[N, …]``, each variant's ``[V, N, …]``, and its true drops ``[V]``."""

    figure: Metric
    reference: Floats
    variants: Floats
    truth: Floats

    def sample(self, variant: int, picks: np.ndarray) -> Sample:
        """Return a variant's arrays on some images."""
        return Sample(self.figure, self.reference[picks], self.variants[variant][picks])


def plant(bundle: Bundle, graph: Path, power: Power, threads: int) -> dict[str, Subject]:
    """Return every task of a bundle's model with ``VARIANTS`` planted variants.

    Raises:
        GraphError: the graph has not the bundle's outputs, or one of them no layer with weights.
    """
    manifest = bundle.manifest
    figures = {name: rows[0] for name, rows in figures_of(manifest).items()}
    levels = {name: _nearest(power, name) for name in figures}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        layers, weights = cut(graph, manifest.tasks, folder)
        body, heads = (stack.enter_context(opened(folder, name, threads)) for name in ("body.onnx", "heads.onnx"))
        by_weight = {layers[name].weight: level for name, level in levels.items()}
        disturbed = [planted(weights, by_weight, direction) for direction in range(VARIANTS)]
        with bundled(bundle) as source:
            references = {name: source.references[name][figure.name] for name, figure in figures.items()}
            images = shown(source, np.arange(len(source.ids)), "planting noise")
            arrays = sweep(Cut(body, heads, layers, weights), images, manifest, disturbed)
    return {
        name: Subject(figure, references[name], arrays[name], drops(figure, references[name], arrays[name]))
        for name, figure in figures.items()
    }


def _nearest(power: Power, name: str) -> float:
    return min(power.of(name), key=lambda point: abs(point.drop / point.budget - 1)).noise


def cover(name: str, subject: Subject, images: int, trials: int, resamples: int) -> Cover:
    """Return how often each interval holds the truth on ``images`` images that count, and how often it ends below it."""
    counting = np.flatnonzero((subject.reference.reshape(len(subject.reference), -1) != 0).any(axis=1))
    random = np.random.default_rng([SEED, images])
    held, below = dict.fromkeys(METHODS, 0), dict.fromkeys(METHODS, 0)
    for number in range(trials):
        variant = number % VARIANTS
        sample = subject.sample(variant, random.choice(counting, images))
        for method, (low, high) in all_intervals(sample, resamples, random).items():
            held[method] += low <= subject.truth[variant] <= high
            below[method] += high < subject.truth[variant]
    return Cover(
        task=name,
        images=images,
        trials=trials,
        held={method: held[method] / trials for method in METHODS},
        below={method: below[method] / trials for method in METHODS},
    )


def together(
    subjects: Mapping[str, Subject], trials: int, resamples: int, progress: Callable[[range], Iterable[int]]
) -> Together:
    """Judge every variant of every task, each exactly at its budget, on the same draws of as many images as there are."""
    images = len(next(iter(subjects.values())).reference)
    random = np.random.default_rng(SEED)
    alarms, misses = 0, dict.fromkeys(subjects, 0)
    single: dict[Verdict, int] = {"regression": 0, "pass": 0}
    for _ in progress(range(trials)):
        picks = random.integers(0, images, images)
        counts = random.multinomial(images, np.full(images, 1 / images), size=resamples).astype(np.float64)
        verdicts = {
            name: [
                decide(*interval(subject.sample(one, picks).drops(counts), images), float(subject.truth[one]))
                for one in range(VARIANTS)
            ]
            for name, subject in subjects.items()
        }
        for verdict in single:
            single[verdict] += sum(row.count(verdict) for row in verdicts.values())
        alarms += sum(any(row[one] == "regression" for row in verdicts.values()) for one in range(VARIANTS))
        for name, row in verdicts.items():
            misses[name] += "pass" in row
    judged = trials * VARIANTS
    return Together(
        images=images,
        builds=judged,
        draws=trials,
        variants=VARIANTS,
        regression=single["regression"] / (judged * len(subjects)),
        passed=single["pass"] / (judged * len(subjects)),
        any_regression=alarms / judged,
        any_pass={name: count / trials for name, count in misses.items()},
    )


def measure_coverage(bundle: Bundle, graph: Path, power: Power, *, trials: int, threads: int) -> Coverage:
    """Measure everything; see the module."""
    subjects = plant(bundle, graph, power, threads)
    console = EscapingConsole(stderr=True)
    rows = [(name, images) for images in IMAGES for name in subjects]
    covers = tuple(
        cover(name, subjects[name], images, trials, RESAMPLES)
        for name, images in track(rows, "coverage", console=console)
    )
    several = together(subjects, trials, RESAMPLES, lambda each: track(each, "builds", console=console))
    return Coverage(model=bundle.manifest.name, resamples=RESAMPLES, covers=covers, together=several)


def main(
    bundle: Annotated[Path, typer.Option(help="The bundle whose images judge: build/default/jetson.")],
    graph: Annotated[Path | None, typer.Option(help="The float graph, where the bundle keeps none as ONNX.")] = None,
    power: Annotated[Path, typer.Option(help="What studies.gate_power.measure wrote: the levels of noise.")] = Path(
        "docs/studies/regression-power.json"
    ),
    out: Annotated[Path, typer.Option(help="The measurement.")] = Path("docs/studies/interval-coverage.json"),
    doc: Annotated[Path, typer.Option(help="The Markdown file with the section.")] = Path(
        "docs/studies/regression-power.md"
    ),
    trials: Annotated[
        int,
        typer.Option(
            min=1, max=LIMITS["count"].most, help="Draws per task and number of images, over the variants in turn."
        ),
    ] = 4 * TRIALS,
    threads: Annotated[
        int, typer.Option(min=0, max=LIMITS["threads"].most, help="Threads of ONNX Runtime; 0: all.")
    ] = 1,
) -> None:
    """Measure what the gate's 95 % is worth, and write its section of docs/studies/regression-power.md again.

    Example: python -m studies.gate_power.coverage --bundle build/default/jetson
    """
    require_file(out, COVERAGES, [bundle, power])
    opened = load_bundle(bundle)
    names = [float_graph(opened)] if graph is None else []
    with opened.copied(names) as folder:
        source = graph or folder / names[0]
        found = measure_coverage(opened, source, read_power(power), trials=trials, threads=threads)
    overwrite(out, found.model_dump_json(indent=1) + "\n", COVERAGES)
    publish(found, doc)


if __name__ == "__main__":
    run_script(main)
