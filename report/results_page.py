"""One page over many results: models × targets × devices, from the regression.json files that came back.

A result is a regression.json wherever it is and whatever its name, a bundle's folder, or the archive that a device
sends back. Where a manifest is beside it, the result must belong to that bundle. Nothing is run and no picture is drawn: the page holds nothing that the files do not.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bundle.base.errors import ArtifactError, InputError
from bundle.base.frozen import Frozen
from bundle.base.limits import LIMITS
from bundle.formats.contents import MANIFEST
from bundle.formats.hash_files import with_hashes
from bundle.formats.outputs import marked, overwrite, require_file
from bundle.judging import wording
from bundle.judging.choice import BENCH, read_bench
from bundle.judging.regression_report import RESULT, RegressionReport, open_report, read_report, verdicts_of
from bundle.judging.standing import ALLOWED, standing
from bundle.judging.verdict import Verdict
from bundle.transport.archive import check_entry, extract_entry, opened, reading
from report.bundle_page import verdict
from report.bundle_page.template import printed
from report.bundle_page.views import Headline, TaskCell, Tick
from report.drawing.charts import bar, budget_scale, drop_row

PAGES = marked(b'<meta name="generator" content="tdss report">')  # what the page may be written over
HEADLINES: dict[Verdict, str] = {
    "pass": "Every result passes",
    "inconclusive": "Not every result is decided",
    "regression": "Not every result passes",
}
LARGEST = LIMITS["result_bytes"].most  # of one member of an archive


class Result(Frozen):
    """One result: where it came from, the report, and the shipped variant's latency (None: not timed)."""

    source: str
    report: RegressionReport
    latency_ms: float | None


class ResultRow(Frozen):
    """One line of the page's table; ``tasks`` are in the order of ``SweepPage.tasks``."""

    number: int
    model: str
    target: str
    device: str
    how: str
    images: str
    delta_m: str
    delta_m_interval: str
    latency: str
    svg: str
    kind: str
    mark: str
    verdict: str
    tasks: tuple[TaskCell, ...]


class Strip(Frozen):
    """One result's interval in a task's chart; ``svg`` is "" where the drop is undefined."""

    label: str
    text: str
    kind: str
    svg: str


class TaskChart(Frozen):
    """One task over all results, in units of its budget."""

    name: str
    metric: str
    ticks: tuple[Tick, ...]
    strips: tuple[Strip, ...]


class SweepPage(Frozen):
    """Everything the template prints."""

    verdict: Headline
    tasks: tuple[str, ...]
    rows: tuple[ResultRow, ...]
    charts: tuple[TaskChart, ...]
    sources: tuple[tuple[str, str], ...]


def read_result(path: Path) -> Result:
    """Read one result: a file, a bundle's folder or an archive.

    Raises:
        InputError: there is no such file or folder.
        ArtifactError: it holds no regression.json, or one that was altered or is of another schema.
    """
    if path.is_dir():
        return from_folder(path, str(path))
    if not path.exists():
        expected = f"a bundle's folder, a {RESULT}, or an archive that a device sent back"
        raise InputError(
            "there is no such result",
            expected=expected,
            got="no such file or folder",
            where=str(path),
            fix="correct the path",
        )
    if _begins_as_archive(path):
        with tempfile.TemporaryDirectory() as folder:
            take_out(path, Path(folder))
            return from_folder(Path(folder), str(path))
    report = open_report(path)
    return Result(source=str(path), report=report, latency_ms=_own_latency(report))


def _begins_as_archive(path: Path) -> bool:
    """Say whether a file begins as a zip archive does; one that was cut has lost what ``zipfile.is_zipfile`` looks for."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(2) == b"PK"


def take_out(path: Path, folder: Path) -> None:
    """Write an archive's two results, its manifest and their hashes into a folder, under their own names and no other.

    Raises:
        ArtifactError: it cannot be read, holds no result, or one of these is too large or there twice.
    """
    with opened(path) as archive, reading(path):
        for name in with_hashes(MANIFEST, RESULT, BENCH):
            members = [one for one in archive.infolist() if one.filename == name]
            size = sum(one.file_size for one in members)
            if len(members) > 1 or size > LARGEST:
                raise _no_result(path, f"one {name} of at most {LARGEST} bytes", f"{len(members)} of {size} bytes")
            for one in members:
                check_entry(one, path)
                extract_entry(archive, one, folder)
    if not (folder / RESULT).is_file():
        raise _no_result(path, f"one {RESULT}", "none")


def _no_result(path: Path, expected: str, got: str) -> ArtifactError:
    return ArtifactError(
        f"{path.name} holds no result",
        expected=expected,
        got=got,
        where=str(path),
        fix="give the archive that python -m targets wrote on the device",
    )


def from_folder(folder: Path, source: str) -> Result:
    """Read a folder's results; beside a manifest each must have its hash and name that manifest.

    Raises:
        ArtifactError: there is no regression.json, or one was altered, is of another schema or of another bundle.
    """
    report = read_report(folder) if (folder / MANIFEST).is_file() else open_report(folder / RESULT)
    bench = read_bench(folder)
    shipped = None if bench is None or bench.shipped_precision != report.precision else bench.shipped_ms
    return Result(source=source, report=report, latency_ms=_own_latency(report) if shipped is None else shipped)


def _own_latency(report: RegressionReport) -> float | None:
    """Return the latency that the table of variants gives the judged one."""
    return next((row.median_ms for row in report.variants if row.name == report.precision), None)


def render_sweep(paths: Sequence[Path], out: Path) -> Path:
    """Write the page over all results to ``out`` and return its path.

    Raises:
        InputError: there is no result; something else than such a page is at ``out``, or ``out`` is a result or inside one.
        ArtifactError: a file is no result.
        TargetUnavailable: Jinja2 is not installed.
    """
    if not paths:
        raise InputError(
            "there is nothing to report",
            expected="at least one result",
            got="none",
            where="tdss report",
            fix="name bundles, regression.json files, or archives that devices sent back",
        )
    require_file(out, PAGES, paths)
    page = describe_sweep([read_result(path) for path in paths])
    overwrite(out, printed("sweep.html.j2", page), PAGES)
    return out


def describe_sweep(results: Sequence[Result]) -> SweepPage:
    """Return everything the page shows, the results ordered by model, target, device and precision."""
    ordered = sorted(results, key=_order)
    tasks = tuple(dict.fromkeys(name for one in ordered for name in one.report.tasks))
    slowest = max((one.latency_ms for one in ordered if one.latency_ms is not None), default=0.0)
    failed = [number for number, one in enumerate(ordered, 1) if not one.report.passed]
    undecided = [number for number, one in enumerate(ordered, 1) if one.report.passed and not _within(one.report)]
    kind: Verdict = "regression" if failed else "inconclusive" if undecided else "pass"
    emulated = sum(one.report.executed_on == "emulation" for one in ordered)
    sentences = [
        f"{len(ordered) - len(failed) - len(undecided)} of {wording.plural(len(ordered), 'result')} within every budget"
        + (f"; not: {_numbers(failed)}" if failed else "")
        + (f"; undecided on a task, {ALLOWED}: {_numbers(undecided)}." if undecided else "."),
        f"Not executed on a device: {emulated} of them. An emulation says how the numbers round, exactly per operator, not how a device sums or runs."
        if emulated
        else "All of them were executed on the device they name.",
    ]
    return SweepPage(
        verdict=Headline(kind=kind, mark=wording.MARKS[kind], headline=HEADLINES[kind], sentences=tuple(sentences)),
        tasks=tasks,
        rows=tuple(_row(number, one, tasks, slowest) for number, one in enumerate(ordered, 1)),
        charts=tuple(_chart(name, ordered) for name in tasks),
        sources=tuple((f"no. {number}", one.source) for number, one in enumerate(ordered, 1)),
    )


def _within(report: RegressionReport) -> bool:
    return standing(verdicts_of(report)) == "within"


def _numbers(results: Sequence[int]) -> str:
    return ", ".join(f"no. {number}" for number in results)


def _order(one: Result) -> tuple[str, str, str, str]:
    return one.report.model, one.report.target, one.report.device.name, one.report.precision


def _row(number: int, one: Result, tasks: tuple[str, ...], slowest: float) -> ResultRow:
    report = one.report
    head = verdict.headline(report)
    latency = "not timed" if one.latency_ms is None else f"{one.latency_ms:.1f} ms"
    timed = one.latency_ms is not None and slowest > 0
    ends = "" if None in report.delta_m_interval else wording.interval_of_points(report.delta_m_interval)
    return ResultRow(
        number=number,
        model=report.model,
        target=report.target,
        device=report.device.name,
        how=f"{report.precision}, {'on the device' if report.executed_on == 'device' else 'emulation'}",
        images=f"{report.images:,}",
        delta_m=wording.points(report.delta_m),
        delta_m_interval=ends,
        latency=latency,
        svg=bar((one.latency_ms or 0.0) / slowest, "shipped", f"{report.model}: {latency}", height=10) if timed else "",
        kind=head.kind,
        mark=head.mark,
        verdict=head.headline,
        tasks=tuple(_standing(report, name) for name in tasks),
    )


def _standing(report: RegressionReport, name: str) -> TaskCell:
    if name not in report.tasks:
        return TaskCell(text="–", kind="none", mark="")
    result = report.tasks[name]
    return TaskCell(text=wording.percent(result.drop_relative), kind=result.verdict, mark=wording.MARKS[result.verdict])


def _chart(name: str, results: Sequence[Result]) -> TaskChart:
    """Draw one task of every result on one scale."""
    rows = [(number, one.report.tasks[name]) for number, one in enumerate(results, 1) if name in one.report.tasks]
    drawn = {number: verdict.drop(f"no. {number}", result) for number, result in rows}
    scale = budget_scale(tuple(one for one in drawn.values() if one is not None))
    strips = tuple(
        Strip(
            label=f"no. {number}",
            text=f"{wording.percent(result.drop_relative)} of {wording.budget(result.budget)}",
            kind=result.verdict,
            svg=""
            if (one := drawn[number]) is None
            else drop_row(one, scale, f"{name}, no. {number}: drop {wording.percent(result.drop_relative)}"),
        )
        for number, result in rows
    )
    return TaskChart(
        name=name, metric=wording.metric_name(rows[0][1].metric), ticks=verdict.scale_ticks(scale), strips=strips
    )
