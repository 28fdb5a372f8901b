"""ONNX Runtime's own static quantization, as its documentation shows it: pre-processing, then QDQ with every default."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle.base.errors import GraphError
from bundle.base.telemetry import switch_off_telemetry
from targets.base import Array
from targets.reference.session import import_onnxruntime


class _Reader:
    """Hands out the calibration feeds one by one, then None."""

    def __init__(self, feeds: Sequence[Mapping[str, Array]]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> dict[str, Array] | None:
        """Return the next feed."""
        found = next(self._left, None)
        return None if found is None else dict(found)


def quantize_statically(source: Path, feeds: Sequence[Mapping[str, Array]], out: Path) -> None:
    """Write an ONNX graph as ``quant_pre_process`` and ``quantize_static`` leave it by default.

    Raises:
        GraphError: ONNX Runtime refuses the graph.
        TargetUnavailable: ONNX Runtime is not installed.
    """
    import_onnxruntime()
    switch_off_telemetry()
    from onnxruntime.quantization import CalibrationDataReader, quantize_static, shape_inference

    CalibrationDataReader.register(_Reader)
    with TemporaryDirectory() as scratch, _quiet():
        prepared = Path(scratch) / "prepared.onnx"
        try:
            shape_inference.quant_pre_process(str(source), str(prepared))
            quantize_static(str(prepared), str(out), _Reader(feeds))
        except (RuntimeError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise GraphError(
                "ONNX Runtime's static quantization refuses this graph",
                expected="a graph it can quantize",
                got=f"{type(error).__name__}: {error}",
                where=str(source),
                fix="see which node the text names",
            ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep ONNX Runtime's notes on the root logger below an error while it quantizes."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
