"""Sensitivity: how much each layer's quantization costs each task, measured one layer at a time.

For each layer, every other one is dequantized to float; what is left at a task's output is that layer's own noise: its SQNR
against the float graph, and the drop of the metric. Noise of different layers is nearly uncorrelated, so energies add:
Σ_layers 10^(−SQNR/10) ≈ 10^(−SQNR_int8/10), and a layer's part of the sum is what its return to float takes away.

Measured in emulation, exact per operator (ONNX Runtime, no optimizations), on a few calibration images, whatever the target. A few
layers are one part (compile/stage/parts.py), so a killed run goes on where it was.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir

from bundle.base.terminal import say
from bundle.formats.artifacts import hash_file, write_text
from bundle.judging.sensitivity import NOTHING_DB, LayerSensitivity
from bundle.judging.verdict import relative_drop
from bundle.tasks.agreement import ENERGIES, energy, sqnr_db
from bundle.tasks.table import Task
from compile.graphs.passes.table import apply_passes
from compile.quantization.accuracy import AccuracyEvaluator, LabelledImages
from compile.quantization.dequantize import dequantize_layers
from compile.stage.compare import open_graph
from compile.stage.graph_info import GRAPH_FILE, Array
from compile.stage.parts import Measure, Spread, Work, of_part, span, spans
from compile.stage.store import Root, StageKey, folder_of, keep, stage_key

LAYERS = 4  # of a part
PROGRESS = 3  # parts between two lines
ROWS = "layers.jsonl"


class Subject:
    """The graphs a measurement compares, the images it uses, and what the float graph answers on them."""

    def __init__(self, quantized: Path, original: Path, evaluator: AccuracyEvaluator, *, threads: int) -> None:
        self.quantized = quantized
        self.original = ir.load(original)
        self.evaluator = evaluator
        self.threads = threads
        if evaluator.agreement:
            with open_graph(original, exact=False, threads=threads) as session:
                evaluator.set_reference(session.infer)
        self.reference, self.metrics = self._run(original, exact=False)

    def measure(self, dequantized: Sequence[str]) -> tuple[dict[str, float], dict[str, float]]:
        """Return each task's SQNR in dB and its relative drop with the named operators in float.

        Raises:
            GraphError: a name is not one of the graph's weighted operators.
        """
        model = ir.load(self.quantized)
        dequantize_layers(model, self.original, dequantized)
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / self.quantized.name
            ir.save(model, path)
            outputs, metrics = self._run(path, exact=True)
        noise = {name: task_sqnr_db(self.reference[name], outputs[name]) for name in outputs}
        return noise, {
            name: _drop(self.evaluator.rows[name], self.metrics[name], value) for name, value in metrics.items()
        }

    def _run(self, graph: Path, *, exact: bool) -> tuple[dict[str, list[Array]], dict[str, float]]:
        answers: dict[str, list[Array]] = {name: [] for name in self.evaluator.info.tasks}
        with open_graph(graph, exact=exact, threads=self.threads) as session:

            def infer(feed: Mapping[str, Array]) -> Mapping[str, Array]:
                outputs = session.infer(feed)
                for name in answers:
                    answers[name].append(outputs[name])
                return outputs

            measured = self.evaluator.measure(infer)
        return answers, {name: self.evaluator.metric(name, arrays) for name, arrays in measured.items()}


class LayerNoise(Work):
    """Every layer of a quantized graph, by name, with its share of the graph's MACs."""

    images: LabelledImages
    quantized: Path
    original: Path
    shares: dict[str, float]
    threads: int

    @property
    def parts(self) -> tuple[str, ...]:
        """All of its parts."""
        return spans(len(self.shares), LAYERS)

    def keys(self, parts: Sequence[str]) -> dict[str, StageKey]:
        """Return the keys of some layers each."""
        settings = self.model_dump(mode="json", include={"shares", "threads"})
        whole = stage_key("layers", inputs=(*self.files.values(), self.images.sha256), settings=settings)
        return {part: of_part(whole, part) for part in parts}

    @contextmanager
    def open(self) -> Iterator[Measure]:
        """Read the images and run the float graph."""
        subject = Subject(self.quantized, self.original, self.images.read({}, 0), threads=self.threads)
        names = list(self.shares)

        def measure(part: str, out: Path) -> None:
            rows = []
            for name in (names[index] for index in span(part)):
                noise, drop = subject.measure([other for other in names if other != name])
                rows.append(LayerSensitivity(name=name, macs_share=self.shares[name], sqnr_db=noise, drop=drop))
            write_text(out / ROWS, "".join(f"{row.model_dump_json()}\n" for row in rows))

        yield measure


def legalised(calibrated: Path, passes: Sequence[str], store: Root) -> Path:
    """Return a calibrated graph as a target's passes leave it, from the store or, if it is not there, made and kept."""
    key = stage_key("layers", inputs=(hash_file(calibrated),), settings={"passes": list(passes)})
    kept = keep(folder_of(store), key, lambda out: apply_passes(passes, calibrated, out / GRAPH_FILE), say)
    return kept.file(GRAPH_FILE)


def measure_layers(work: LayerNoise, spread: Spread, progress: Callable[[str], None]) -> tuple[LayerSensitivity, ...]:
    """Measure every layer, one quantized at a time.

    Raises:
        SessionFailed: a worker was killed again and again.
    """
    count = len(work.shares)

    def done(parts: int) -> None:
        if parts % PROGRESS == 0 or parts * LAYERS >= count:
            progress(f"sensitivity: {min(parts * LAYERS, count)} of {count} layers")

    parts = spread.run(work, work.parts, done=done)
    lines = [line for part in parts for line in part.file(ROWS).read_text().splitlines()]
    return tuple(map(LayerSensitivity.model_validate_json, lines))


def task_sqnr_db(references: Sequence[Array], outputs: Sequence[Array]) -> float:
    """Return a task's SQNR in dB over images, within ± ``NOTHING_DB``; whole numbers are classes, compared as one-hot maps."""
    energies = np.zeros(ENERGIES)
    for one, other in zip(references, outputs, strict=True):
        energies += energy(one, other)
    if energies[1] == 0:
        return NOTHING_DB
    found = sqnr_db(energies)
    return -NOTHING_DB if np.isnan(found) else float(np.clip(found, -NOTHING_DB, NOTHING_DB))


def _drop(row: Task, reference: float, compiled: float) -> float:
    drop = float(relative_drop(np.asarray(reference), np.asarray(compiled), row.direction))
    return drop if np.isfinite(drop) else 0.0 if np.isnan(drop) else float(np.copysign(NOTHING_DB, drop))
