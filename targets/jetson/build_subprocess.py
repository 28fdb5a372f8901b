"""Build one engine in a process of its own: ``python -m targets.jetson.build_subprocess GRAPH FOLDER PRECISION CONFIG``.

A device with shared memory may kill a builder that takes too much of it. This way the killed process is not the one
that judges, and what the builder held is free again before the engine runs.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from bundle.base.errors import TargetUnavailable
from bundle.base.isolated import module
from bundle.base.terminal import exit_status
from bundle.formats.artifacts import hash_file
from bundle.judging.choice_rule import Precision
from targets.jetson.builder import BuilderConfig, EngineFile, cached_engine, engine_key, ensure_engine
from targets.jetson.device import Device, find_device
from targets.jetson.log import no_memory

TIMEOUT_S = 4 * 3600
STDERR = 2  # this process's, as the system numbers it


def engine_of(onnx_path: Path, folder: Path, device: Device, precision: Precision, config: BuilderConfig) -> EngineFile:
    """Return a graph's engine from the cache, built in a process of its own if it is not there.

    Raises:
        ArtifactError: the cached engine was altered.
        TargetUnavailable: the builder failed, hung, was killed, or left no engine; its own words are in the text.
    """
    key = engine_key(hash_file(onnx_path), device, precision, config)
    cached = cached_engine(folder, key)
    if cached is not None:
        return cached
    command = [str(onnx_path.resolve()), str(folder.resolve()), precision, config.model_dump_json()]
    try:
        done = _run(module("targets.jetson.build_subprocess", *command))
    except subprocess.TimeoutExpired as error:
        raise _not_built(precision, f"no end after {error.timeout:.0f} s", onnx_path) from error
    if done.returncode == -signal.SIGKILL:
        killed = "the system killed the builder"
        raise no_memory("TensorRT built an engine", killed, str(onnx_path), config.workspace_mib)
    built = cached_engine(folder, key) if done.returncode == 0 else None
    if built is None:
        raise _not_built(precision, done.stderr.strip() or f"exit code {done.returncode}", onnx_path)
    return built


def _not_built(precision: Precision, got: str, onnx_path: Path) -> TargetUnavailable:
    return TargetUnavailable(
        f"the {precision} engine was not built",
        expected="an engine",
        got=got,
        where=str(onnx_path),
        fix="follow the text above; the other variants do not need this one: --variant NAME",
    )


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    """Run the builder; what it prints goes to our error stream, so that our standard output stays the answer."""
    return subprocess.run(command, stdout=STDERR, stderr=subprocess.PIPE, text=True, timeout=TIMEOUT_S, check=False)


@exit_status()
def main(arguments: Sequence[str]) -> None:
    """Build the engine that the arguments name."""
    graph, folder, name, config = arguments
    [precision] = [known for known in get_args(Precision) if known == name]
    ensure_engine(Path(graph), Path(folder), find_device(), precision, BuilderConfig.model_validate_json(config))


if __name__ == "__main__":
    main(sys.argv[1:])
