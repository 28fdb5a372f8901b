"""The answer of a fleet: devices × variants as Markdown for the terminal, as JSON, and as one HTML page."""

from collections.abc import Sequence
from pathlib import Path

from bundle.base.errors import ProjectError, RegressionFailed, TargetUnavailable
from bundle.base.frozen import Frozen
from bundle.formats.outputs import overwrite
from bundle.judging import wording
from bundle.judging.verdict import Verdict
from fleet.parcel import Parcel, read_received
from fleet.rows import Row, cell_text, outcome, ran_on
from report.bundle_page.template import printed
from report.bundle_page.views import Headline
from report.results_page import PAGES, SweepPage, describe_sweep

PAGE = "fleet.html"


class DeviceLine(Frozen):
    """One line of the page's first table; ``variants`` are in the order of ``FleetPage.variants``."""

    device: str
    host: str
    kind: str
    mark: str
    outcome: str
    reason: str
    ran_on: str
    variants: tuple[str, ...]


class FleetPage(SweepPage):
    """The page over all results, and before it a line per device, those without a result too."""

    title: str
    variants: tuple[str, ...]
    devices: tuple[DeviceLine, ...]


def markdown(rows: Sequence[Row], variants: Sequence[str]) -> str:
    """Return the table devices × variants, and under it why a device gave no result or is not within its budgets."""
    head = ["device", "target", "outcome", "ran on", *variants]
    lines = [head, ["--"] * len(head)]
    lines += [
        [row.device, row.target, outcome(row), ran_on(row) or "–", *(cell_text(row, name) for name in variants)]
        for row in rows
    ]
    table = "".join(f"| {' | '.join(_cell(text) for text in line)} |\n" for line in lines)
    why = "".join(f"- {_cell(row.device)}: {_cell(_why(row))}\n" for row in rows)
    return f"{table}\n{why}"


def _why(row: Row) -> str:
    return f"{row.reason} (judged before)" if row.earlier else row.reason


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def write_page(rows: Sequence[Row], sent: Parcel, out: Path) -> Path:
    """Write the page into the folder ``out`` and return its path.

    Raises:
        InputError: another file is there.
        TargetUnavailable: Jinja2 is not installed.
    """
    results = [read_received(Path(row.results), sent.bundle) for row in rows if row.results]
    names = [variant.name for variant in sent.manifest.variants]
    page = FleetPage(
        **{**dict(describe_sweep(results)), "verdict": _headline(rows)},
        title=f"{sent.manifest.name} → {sent.manifest.target}",
        variants=tuple(names),
        devices=tuple(_line(row, names) for row in rows),
    )
    overwrite(out / PAGE, printed("fleet.html.j2", page), PAGES)
    return out / PAGE


def _headline(rows: Sequence[Row]) -> Headline:
    kind = max((_kind(row) for row in rows), key=("pass", "inconclusive", "regression").index)
    titles = {
        "pass": "Every device is within every budget",
        "inconclusive": "Not every device gave a result, or is decided",
        "regression": "Not every device is within every budget",
    }
    good, lacks = sum(row.good for row in rows), [row.device for row in rows if row.lack is not None]
    emulated = sum(row.executed_on == "emulation" for row in rows)
    sentences = [f"{good} of {wording.plural(len(rows), 'device')} within every budget."]
    sentences += [f"No result from: {', '.join(lacks)}."] if lacks else []
    sentences += [f"Not executed on the device, but emulated there: {emulated}."] if emulated else []
    return Headline(kind=kind, mark=wording.MARKS[kind], headline=titles[kind], sentences=tuple(sentences))


def _kind(row: Row) -> Verdict:
    if row.lack is not None or (row.good and row.standing != "within"):
        return "inconclusive"
    return "pass" if row.good else "inconclusive" if row.standing == "undecided" else "regression"


def _line(row: Row, variants: Sequence[str]) -> DeviceLine:
    kind = _kind(row)
    return DeviceLine(
        device=row.device,
        host=row.host,
        kind=kind,
        mark=wording.MARKS[kind],
        outcome=outcome(row),
        reason=_why(row),
        ran_on=ran_on(row),
        variants=tuple(cell_text(row, name) for name in variants),
    )


def require_good(rows: Sequence[Row]) -> None:
    """Do nothing if every device gave a result and is within its budgets.

    Raises:
        RegressionFailed: a device is not within them, whether or not others gave a result.
        TargetUnavailable: a device gave no result, and the others are within theirs.
    """
    beyond = [row for row in rows if row.lack is None and not row.good]
    lacks = [row for row in rows if row.lack is not None]
    if beyond:
        raise _failed(RegressionFailed, "not every device is within its budgets", beyond, "look at its row on the page")
    if lacks:
        fix = "repair it and type the same command again: the others are not judged again"
        raise _failed(TargetUnavailable, "not every device gave a result", lacks, fix)


def _failed(kind: type[ProjectError], message: str, rows: Sequence[Row], fix: str) -> ProjectError:
    got = "; ".join(f"{row.device}: {outcome(row)}, {row.reason}" for row in rows)
    return kind(message, expected="every device within every budget", got=got, where="tdss fleet", fix=fix)
