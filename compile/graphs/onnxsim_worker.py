"""The process in which onnxsim runs: ``python -m compile.graphs.onnxsim_worker IN OUT``. It has crashed whole interpreters.

``perform_optimization=False``: onnxsim's optimizer turns some MatMul + Add into Reshape, Gemm, Reshape. It ends with
``NO_FILE`` where it cannot read IN or write OUT: that says nothing about the graph.
"""

import sys
from pathlib import Path

from bundle.base.telemetry import switch_off_telemetry

NO_FILE = 74


def simplify_file(source: Path, target: Path) -> None:
    """Write the simplified graph of ``source`` to ``target``.

    Raises:
        RuntimeError: onnxsim's own check of the result failed.
    """
    import onnx

    switch_off_telemetry()  # onnxsim imports onnxruntime
    from onnxsim import simplify

    model, passed = simplify(onnx.load(source), perform_optimization=False)
    if not passed:
        raise RuntimeError("onnxsim's own comparison of outputs failed")
    del model.metadata_props[:]
    onnx.save(model, target)


if __name__ == "__main__":
    try:
        simplify_file(Path(sys.argv[1]), Path(sys.argv[2]))
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(NO_FILE)
