"""The runtime's own benchmark on a variant, beside our timing: benchmark_app for an Intel device, trtexec for a Jetson.

The tool is a witness, not a judge: where it is missing or fails, the row says so and the decision goes on without it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bundle.base.errors import TargetUnavailable
from bundle.formats.contents import ENGINES
from bundle.formats.manifest import Bundle
from bundle.judging.choice import VariantLatency
from targets.base import RunConfig, Variant
from targets.intel.benchmark import time_with_tool
from targets.jetson.target import engine_here
from targets.jetson.trtexec import time_with_trtexec
from targets.open import as_variant


class VendorTiming(NamedTuple):
    """What a tool measured: medians in milliseconds with copies and without (None: it does not say), and its settings."""

    median_ms: float
    compute_ms: float | None
    settings: dict[str, str]


Tool: TypeAlias = Callable[[Bundle, Variant, RunConfig, int], VendorTiming]


def _benchmark_app(bundle: Bundle, variant: Variant, run: RunConfig, seconds: int) -> VendorTiming:
    with bundle.copied(variant.files) as folder:
        median_ms, settings = time_with_tool(folder / variant.files[0], run, variant.recipe.hint, seconds=seconds)
    return VendorTiming(median_ms, None, _of_bundle(settings, folder, bundle.folder))


def _trtexec(bundle: Bundle, variant: Variant, run: RunConfig, seconds: int) -> VendorTiming:
    with bundle.copied(variant.files) as folder:
        engine = engine_here(folder, bundle.folder, variant, run)
        path = folder / engine.name
        path.write_bytes(engine.content)
        median_ms, compute_ms, settings = time_with_trtexec(path, seconds=seconds)
    return VendorTiming(median_ms, compute_ms, _of_bundle(settings, folder, bundle.folder / ENGINES))


def _of_bundle(settings: dict[str, str], private: Path, folder: Path) -> dict[str, str]:
    """Name the bundle's folder, not the private copy the tool was given."""
    return {name: value.replace(str(private.resolve()), str(folder)) for name, value in settings.items()}


TOOLS: dict[str, tuple[str, Tool]] = {"intel": ("benchmark_app", _benchmark_app), "jetson": ("trtexec", _trtexec)}


def with_vendor_timing(
    row: VariantLatency, bundle: Bundle, name: str, run: RunConfig, seconds: int, say: Callable[[str], None]
) -> VariantLatency:
    """Return a variant's latencies with what its runtime's own tool measured in ``seconds``, or with why it did not."""
    target = bundle.manifest.target
    if target not in TOOLS:
        say(f"{name}: the runtime of target {target} has no benchmark of its own")
        return row
    tool, measure = TOOLS[target]
    say(f"{name}: {tool}, {seconds} s")
    try:
        told = measure(bundle, as_variant(bundle.manifest.variant(name)), run, seconds)
    except TargetUnavailable as error:
        say(f"{name}: {error.message}: {error.got}")
        return row.model_copy(update={"tool": tool, "tool_settings": {"failed": f"{error.message}: {error.got}"}})
    found = {"tool_median_ms": told.median_ms, "tool_compute_ms": told.compute_ms, "tool_settings": told.settings}
    return row.model_copy(update={"tool": tool, **found})
