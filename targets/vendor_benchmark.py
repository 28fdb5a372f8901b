"""The runtime's own benchmark on a variant, beside our timing, where its target names one.

The tool is a witness, not a judge: where it is missing or fails, the row says so and the decision goes on without it.
"""

from collections.abc import Callable
from pathlib import Path

from bundle.base.errors import TargetUnavailable
from bundle.formats.manifest import Bundle
from bundle.judging.choice import VariantLatency
from targets.base import RunConfig, VendorBenchmark, VendorTiming
from targets.open import as_variant
from targets.table import target


def with_vendor_timing(
    row: VariantLatency, bundle: Bundle, name: str, run: RunConfig, seconds: int, say: Callable[[str], None]
) -> VariantLatency:
    """Return a variant's latencies with what its runtime's own tool measured in ``seconds``, or with why it did not."""
    tool = target(bundle.manifest.target).vendor_benchmark
    if tool is None:
        say(f"{name}: the runtime of target {bundle.manifest.target} has no benchmark of its own")
        return row
    say(f"{name}: {tool.name}, {seconds} s")
    try:
        timing = _measure(tool, bundle, name, run, seconds)
    except TargetUnavailable as error:
        say(f"{name}: {error.message}: {error.got}")
        return row.model_copy(update={"tool": tool.name, "tool_settings": {"failed": f"{error.message}: {error.got}"}})
    medians = {"tool_median_ms": timing.median_ms, "tool_compute_ms": timing.compute_ms}
    return row.model_copy(update={"tool": tool.name, "tool_settings": timing.settings, **medians})


def _measure(tool: VendorBenchmark, bundle: Bundle, name: str, run: RunConfig, seconds: int) -> VendorTiming:
    variant = as_variant(bundle.manifest.variant(name))
    with bundle.copied(variant.files) as folder:
        timing = tool.measure(folder, bundle.folder, variant, run, seconds)
    return timing._replace(settings=_of_bundle(timing.settings, folder, bundle.folder))


def _of_bundle(settings: dict[str, str], private: Path, folder: Path) -> dict[str, str]:
    """Name the bundle's folder, not the private copy the tool was given."""
    return {name: value.replace(str(private.resolve()), str(folder)) for name, value in settings.items()}
