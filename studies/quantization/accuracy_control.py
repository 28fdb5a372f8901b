"""NNCF's accuracy control, applied to several tasks: what the search of compile/quantization/mixed_precision.py is compared with.

It optimises one float, higher is better. The margin ``min_t (1 − drop_t / budget_t)`` is 1 for the float graph and not
negative while every task is within its budget; so ``max_drop=1.0`` with ``drop_type=ABSOLUTE`` is the question. It
validates on single images too, on which a task may have no label: such a task has no say there.
"""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx

from bundle.judging.verdict import relative_drop
from bundle.tasks.metrics import Floats
from bundle.tasks.table import task
from compile.quantization.accuracy import AccuracyEvaluator, Measured
from compile.quantization.ignored_nodes import ignored_nodes
from compile.quantization.nncf_calibration import CalibrationRequest, accuracy_control
from compile.stage.compare import open_graph


def control(
    request: CalibrationRequest, evaluator: AccuracyEvaluator, out: Path, *, threads: int, ranking_images: int
) -> Path:
    """Write the graph that NNCF's accuracy control makes of the request as ``out``; ``evaluator`` has its reference set.

    Raises:
        GraphError: NNCF refuses the graph.
        TargetUnavailable: NNCF is not installed.
    """

    def validate(model: onnx.ModelProto, indices: Iterable[int]) -> tuple[float, None]:
        chosen = [int(index) for index in indices]
        with TemporaryDirectory() as scratch:
            path = Path(scratch) / "tried.onnx"
            onnx.save(model, path)
            with open_graph(path, exact=True, threads=threads) as session:
                measured = evaluator.only(chosen).measure(session.infer)
        return margin(evaluator, measured, chosen), None

    kept = list(ignored_nodes(request.source, request.scheme))
    model = accuracy_control(
        onnx.load(request.source), request, kept, validate, len(evaluator.samples), ranking_images=ranking_images
    )
    onnx.save(model, out)
    return out


def margin(evaluator: AccuracyEvaluator, measured: Measured, indices: list[int]) -> float:
    """Return ``min_t (1 − drop_t / budget_t)`` over the tasks that have a label on these images; 1 if none has.

    It is −∞ where only the float graph has a metric, or an output is not finite: NNCF subtracts and compares, which it takes.
    """
    drops = {
        name: _drop(evaluator, name, evaluator.reference[name][indices], arrays) for name, arrays in measured.items()
    }
    return min(
        (1.0 - drop / evaluator.budgets[name] for name, drop in drops.items() if not np.isnan(drop)), default=1.0
    )


def _drop(evaluator: AccuracyEvaluator, name: str, reference: Floats, measured: Floats) -> float:
    """Return a task's relative drop, NaN where no image has a label for it."""
    if not np.isfinite(measured).all():
        return float("inf")
    ours, theirs = (np.asarray(evaluator.metric(name, one)) for one in (reference, measured))
    return float(relative_drop(ours, theirs, task(name).direction))
