"""Sensitivity: how much each layer's quantization costs each task, measured one layer at a time.

For each layer, every other one is dequantized to float; what is left at a task's output is that layer's own noise: its SQNR
against the float graph, and the drop of the metric. Noise of different layers is nearly uncorrelated, so energies add:
Σ_layers 10^(−SQNR/10) ≈ 10^(−SQNR_int8/10), and a layer's part of the sum is what its return to float takes away.

Measured in emulation, exact per operator (ONNX Runtime, no optimizations), on a few calibration images, whatever the target. Each result
is appended to a journal as it comes, so a killed run goes on where it was.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx_ir as ir

from bundle.base.append_log import AppendLog
from bundle.judging.sensitivity import NOTHING_DB, LayerSensitivity
from bundle.judging.verdict import relative_drop
from bundle.tasks.agreement import ENERGIES, energy, sqnr_db
from bundle.tasks.table import Task
from compile.quantization.accuracy import AccuracyEvaluator
from compile.quantization.dequantize import Layer, dequantize_layers
from compile.stage.compare import open_graph
from compile.stage.graph_info import Array


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


def measure_layers(
    subject: Subject, layers: Sequence[Layer], total_macs: int, journal: Path, progress: Callable[[str], None]
) -> tuple[LayerSensitivity, ...]:
    """Measure every layer, one quantized at a time; results in ``journal`` are not measured again."""
    log = AppendLog(journal)
    known = {row.name: row for row in map(LayerSensitivity.model_validate_json, log.entries)}
    names = [layer.name for layer in layers]
    for number, layer in enumerate(layers, start=1):
        if layer.name not in known:
            noise, drop = subject.measure([name for name in names if name != layer.name])
            row = LayerSensitivity(name=layer.name, macs_share=layer.macs / total_macs, sqnr_db=noise, drop=drop)
            known[layer.name] = row
            log.add(row.model_dump_json())
        if number % 10 == 0 or number == len(layers):
            progress(f"sensitivity: {number} of {len(layers)} layers")
    return tuple(known[name] for name in names)


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
