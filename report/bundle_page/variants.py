"""Every variant once: how it fared, how fast it is, what its files are; and how the latencies were measured."""

from pathlib import Path
from typing import NamedTuple

from bundle.formats.manifest import Manifest
from bundle.judging import wording
from bundle.judging.choice import Bench, Candidate, Choice, VariantLatency
from bundle.judging.regression_report import RegressionReport, VariantTask
from bundle.judging.regression_report import VariantRow as Judged
from bundle.judging.sentences import remark
from bundle.judging.standing import Standing as Stands
from bundle.judging.standing import label, standing
from bundle.judging.timing import Percentiles, busy
from bundle.judging.verdict import Verdict
from report.bundle_page.views import BenchView, TaskCell, VariantRow
from report.drawing.charts import bar

NO_BENCH = "This bundle has no bench.json: its latency was not measured yet."
NO_TIMING = "Nothing was timed where this bundle was judged: only the device can say how fast it is there."
NOT_SHIPPED = "not in the bundle"
KINDS: dict[Stands, Verdict] = {"within": "pass", "undecided": "inconclusive", "beyond": "regression"}


class Known(NamedTuple):
    """What the files of a bundle say about its variants; None: there is no such file."""

    manifest: Manifest
    report: RegressionReport | None
    bench: Bench | None
    choice: Choice | None

    @property
    def shipped(self) -> str:
        """The variant that is run."""
        return self.manifest.shipped if self.choice is None else self.choice.shipped

    @property
    def names(self) -> tuple[str, ...]:
        """Every variant that is in the bundle, was tried or was timed."""
        listed = [variant.name for variant in self.manifest.variants]
        tried = [] if self.report is None else [row.name for row in self.report.variants]
        candidates = [] if self.choice is None else [one.name for one in self.choice.candidates]
        return tuple(dict.fromkeys([*listed, *tried, *candidates]))

    def candidate(self, name: str) -> Candidate | None:
        """The variant in choice.json."""
        rows = () if self.choice is None else self.choice.candidates
        return next((one for one in rows if one.name == name), None)

    def judged(self, name: str) -> Judged | None:
        """The variant's row in regression.json."""
        rows = () if self.report is None else self.report.variants
        return next((row for row in rows if row.name == name), None)

    def latency_ms(self, name: str) -> float | None:
        """The variant's median latency; None: it was not timed."""
        one, row, bench = self.candidate(name), self.judged(name), self.bench
        if bench is not None and name in bench.variants:
            return bench.variants[name].with_copies.p50_ms
        totals = {} if bench is None else {"f32": bench.f32_compiled_ms, bench.shipped_precision: bench.shipped_ms}
        known = (totals.get(name), None if one is None else one.latency_ms, None if row is None else row.median_ms)
        return next((value for value in known if value is not None), None)


def bench_view(bench: Bench | None) -> BenchView:
    """Say how the latencies were measured, or why there are none."""
    if bench is None:
        return BenchView(note=NO_BENCH)
    if bench.runs == 0:
        return BenchView(note=NO_TIMING)
    note = f"Median latency over {wording.plural(bench.runs, 'run')} after {bench.warmup} to warm up, batch 1, all in one interleaved run."
    eager = "" if bench.eager_ms is None else wording.eager(bench.eager_ms)
    return BenchView(
        note=f"{note} {eager[:1].upper()}{eager[1:]}." if eager else note,
        load=_load(bench),
        warning=busy(bench.disturbed) if bench.disturbed else "",
    )


def _load(bench: Bench) -> str:
    """Return how busy the machine was, "" where it was not recorded."""
    load = bench.load
    if load is None or load.before is None or load.after is None:
        return ""
    steal = "" if load.steal is None else f"; {load.steal:.1%} of the CPU time went to other guests"
    return f"Load average over a minute {load.before[0]:.1f} before, {load.after[0]:.1f} after, on {wording.plural(load.cpus, 'CPU')}{steal}."


def numbers(known: Known, folder: Path) -> tuple[tuple[str, str], ...]:
    """Return the three numbers of the shipped variant with their names: latency, speed-up over compiled float32, size."""
    name = known.shipped
    return (
        (_ms(known.latency_ms(name)), "latency"),
        (_ratio(known, name), "over compiled float32"),
        (wording.file_size(_bytes(known, name, folder)), "graph and weights"),
    )


def variant_rows(known: Known, folder: Path) -> tuple[VariantRow, ...]:
    """Return one row per variant, the latencies on one scale; ``folder`` is the bundle's."""
    slowest = max((known.latency_ms(name) or 0.0 for name in known.names), default=0.0)
    return tuple(_row(known, name, folder, slowest) for name in known.names)


def _row(known: Known, name: str, folder: Path, slowest: float) -> VariantRow:
    variant = next((one for one in known.manifest.variants if one.name == name), None)
    latency, ships = known.latency_ms(name), name == known.shipped
    outcome, kind = _outcome(known, name)
    files = () if variant is None else variant.files
    recipe = {} if variant is None else variant.recipe
    kinds = "shipped" if ships else "other"
    return VariantRow(
        name=name,
        shipped=ships,
        outcome=outcome,
        kind=kind,
        reason=_reason(known, name),
        latency=_ms(latency),
        svg=bar(latency / slowest, kinds, f"{name}: {_ms(latency)}") if latency is not None and slowest > 0 else "",
        ratio=_ratio(known, name),
        size=wording.file_size(_bytes(known, name, folder)),
        timings=_timings(known.bench, name),
        files=tuple((file, wording.file_size((folder / file).stat().st_size)) for file in files),
        recipe=tuple((key, value) for key, value in recipe.items() if (key, value) != ("name", name)),
        tasks=tuple(_standing(known, name, task) for task in known.manifest.tasks),
        isa=", ".join(row.isa) if (row := known.judged(name)) is not None else "",
    )


def _outcome(known: Known, name: str) -> tuple[str, str]:
    """Return how a variant fared in two or three words, and the class that colours them."""
    row, one = known.judged(name), known.candidate(name)
    if one is not None and one.skipped == "not_opened":
        return "not opened", "none"
    verdicts: dict[str, Verdict] = {} if one is None else one.verdicts
    accepted = one is not None and one.accepted
    if row is not None:
        verdicts, accepted = {task: result.verdict for task, result in row.tasks.items()}, row.passed
    return (label(verdicts, accepted=accepted), KINDS[standing(verdicts)]) if verdicts else ("not judged", "none")


def _reason(known: Known, name: str) -> str:
    row, one = known.judged(name), known.candidate(name)
    if known.choice is not None and one is not None:
        return remark(known.choice, one)
    return "" if row is None else row.reason


def _bytes(known: Known, name: str, folder: Path) -> int:
    row = known.judged(name)
    if row is not None:
        return row.bytes
    files = [file for variant in known.manifest.variants if variant.name == name for file in variant.files]
    return sum((folder / file).stat().st_size for file in files)


def _ms(latency: float | None) -> str:
    return "not timed" if latency is None else f"{latency:.1f} ms"


def _ratio(known: Known, name: str) -> str:
    base, own = known.latency_ms("f32"), known.latency_ms(name)
    return "–" if base is None or not own else f"{base / own:.2f}×"


def _timings(bench: Bench | None, name: str) -> tuple[tuple[str, str], ...]:
    """Return the percentiles of a variant, each with its name; none where they were not kept."""
    one = None if bench is None else bench.variants.get(name)
    if one is None:
        return ()
    alone = () if one.compute is None else (("compute alone", _four(one.compute)),)
    return (
        ("p10 / p50 / p90 / p99", _four(one.with_copies)),
        *alone,
        *((("runtime's own tool", _tool(one)),) if one.tool else ()),
        ("rounds", str(one.with_copies.runs)),
    )


def _tool(one: VariantLatency) -> str:
    """Return the medians of the runtime's own benchmark with copies and without, and its name."""
    if one.tool_median_ms is None:
        return f"{one.tool} failed"
    alone = "" if one.tool_compute_ms is None else f" / {one.tool_compute_ms:.2f}"
    return f"{one.tool_median_ms:.2f}{alone} ms ({one.tool})"


def _four(values: Percentiles) -> str:
    low = "–" if values.p10_ms is None else f"{values.p10_ms:.2f}"
    return f"{low} / {values.p50_ms:.2f} / {values.p90_ms:.2f} / {values.p99_ms:.2f} ms"


def _standing(known: Known, name: str, task: str) -> TaskCell:
    row = known.judged(name)
    result: VariantTask | None = None if row is None else row.tasks.get(task)
    if result is None:
        return TaskCell(text="–", kind="none", mark="")
    return TaskCell(text=wording.percent(result.drop_relative), kind=result.verdict, mark=wording.MARKS[result.verdict])
