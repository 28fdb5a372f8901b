"""OpenVINO's own benchmark tool on a variant, beside our timing: ``benchmark_app``, synchronous, one request."""

import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from bundle.base.errors import TargetUnavailable
from bundle.base.isolated import program
from targets.base import RunConfig, Variant, VendorTiming

RUN = (
    "from bundle.base.telemetry import switch_off_telemetry; switch_off_telemetry();"
    " from openvino.tools.benchmark.main import main; sys.exit(main())"
)
STATISTICS = "benchmark_report.json"
GRACE_S = 300  # for reading and compiling the graph


def benchmark_app(folder: Path, keep: Path, variant: Variant, run: RunConfig, seconds: int) -> VendorTiming:
    """Time a variant in ``folder``.

    Raises:
        TargetUnavailable: the tool is not installed, or it failed.
    """
    median_ms, settings = time_with_tool(folder / variant.files[0], run, variant.recipe.hint, seconds=seconds)
    return VendorTiming(median_ms, None, settings)


def time_with_tool(graph: Path, run: RunConfig, hint: str, *, seconds: int) -> tuple[float, dict[str, str]]:
    """Return benchmark_app's median latency in milliseconds, and its arguments and execution results as text.

    Raises:
        TargetUnavailable: the tool is not installed, or it failed; its last words are in the text.
    """
    with TemporaryDirectory(prefix="benchmark.") as scratch:
        arguments = tool_arguments(graph, run, hint, seconds=seconds, report=Path(scratch))
        command = program(RUN, *arguments)
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=seconds + GRACE_S, check=False, cwd=scratch
            )
        except subprocess.TimeoutExpired as error:
            raise _failed(f"no end after {error.timeout:.0f} s", arguments) from error
        path = Path(scratch) / STATISTICS
        if done.returncode or not path.is_file():
            said = (done.stdout + done.stderr).strip().splitlines()[-3:] or ["nothing"]
            raise _failed(" ".join(said), arguments)
        return _read(path, arguments)


def _read(path: Path, arguments: list[str]) -> tuple[float, dict[str, str]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["execution_results"]
        settings = {"arguments": " ".join(arguments[2:])} | {name: str(value) for name, value in found.items()}
        return float(found["latency (ms)"]), settings
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _failed(f"{STATISTICS}: {type(error).__name__}: {error}", arguments) from error


def _failed(got: str, arguments: list[str]) -> TargetUnavailable:
    return TargetUnavailable(
        "OpenVINO's benchmark_app did not finish",
        expected="a report with a latency",
        got=got,
        where=f"benchmark_app {' '.join(arguments)}",
        fix="leave --tool-seconds out, or run the command by hand",
    )


def tool_arguments(graph: Path, run: RunConfig, hint: str, *, seconds: int, report: Path) -> list[str]:
    """Return the tool's arguments for the settings that a session of ours has: latency hint, one synchronous request."""
    tuned = ["-hint", "none", "-nthreads", str(run.threads)] if run.threads else ["-hint", "latency"]  # its own rule
    arguments = ["-m", str(graph.resolve()), "-d", run.device or "CPU", *tuned, "-api", "sync"]
    arguments += ["-t", str(seconds), "-infer_precision", hint, "-report_type", "no_counters", "-json_stats"]
    arguments += ["-report_folder", str(report)]
    if isinstance(run.model_cache, Path):
        arguments += ["-cdir", str(run.model_cache.resolve())]  # the tool runs in another folder
    return arguments
