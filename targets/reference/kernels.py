"""What each kernel of a graph takes, by ONNX Runtime's profiler."""

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from targets.base import Array
from targets.kernels import KernelTime, least
from targets.reference.session import import_onnxruntime

KERNEL = "_kernel_time"


def kernel_times(path: Path, feed: Mapping[str, Array], *, runs: int, threads: int) -> list[KernelTime]:
    """Run a graph on the CPU under the profiler, as ONNX Runtime optimizes it.

    Raises:
        TargetUnavailable: ONNX Runtime is not installed.
    """
    runtime = import_onnxruntime()
    with TemporaryDirectory() as scratch:
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        options.enable_profiling, options.profile_file_prefix = True, str(Path(scratch) / "kernels")
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, dict(feed))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return least(
        KernelTime(event["name"].removesuffix(KERNEL), event["args"]["op_name"], event["dur"] / 1e3)
        for event in events
        if event["cat"] == "Node" and event["name"].endswith(KERNEL)
    )
