"""What each kernel of a float IR takes, by OpenVINO's performance counters."""

from collections.abc import Mapping
from pathlib import Path

from targets.base import Array
from targets.intel.graph import read
from targets.intel.runtime import shared_core
from targets.intel.session import HINT
from targets.kernels import KernelTime, least

REFERENCE = "ref"  # in an execution type: a plain loop, the kernel of last resort


def kernel_times(path: Path, feed: Mapping[str, Array], *, runs: int, threads: int) -> list[KernelTime]:
    """Run an IR in float32 on the CPU with its counters on; a reference kernel's operator says so.

    Raises:
        ArtifactError: a file is missing or cannot be read.
        TargetUnavailable: OpenVINO is not installed.
    """
    properties = {HINT: "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "PERF_COUNT": True}
    request = shared_core().compile_model(read(path), "CPU", properties).create_infer_request()
    found: list[KernelTime] = []
    for _ in range(runs):
        request.start_async(dict(feed))
        request.wait()  # InferRequest.infer drops the errors of a graph that runs
        for one in request.profiling_info:
            op = f"{one.node_type} (reference)" if one.exec_type.startswith(REFERENCE) else one.node_type
            found.append(KernelTime(one.node_name, op, one.real_time.total_seconds() * 1e3))
    return [one for one in least(found) if one.ms]
