"""The page of a bundle: report.html, one file that needs no network, no script and nothing beside it."""

from pathlib import Path

from bundle.formats.contents import LISTED, VECTORS
from bundle.formats.fold import read_fold, read_fold_settings
from bundle.formats.hash_files import write_hashed
from bundle.formats.manifest import Bundle
from bundle.judging.choice import read_bench, read_choice
from bundle.judging.run import RESULT, Infer, RegressionReport, read_report
from report import wording
from report.bundle_page import build, verdict
from report.bundle_page.examples import examples_view
from report.bundle_page.measurements import measured_view
from report.bundle_page.sensitivity import sensitivity_view
from report.bundle_page.template import printed
from report.bundle_page.tensorrt_checks import legal_view
from report.bundle_page.views import Page

REPORT = "report.html"

TASK_COLUMNS = (
    ("Task", ""),
    ("Metric", ""),
    ("Reference", "number"),
    ("Compiled", "number"),
    ("Drop", "number"),
    ("95% interval", "number"),
    ("Images", "number"),
    ("Budget", "number"),
    ("SQNR", "number"),
    ("Verdict", ""),
)


def render(bundle: Bundle, infer: Infer | None = None) -> Path:
    """Write ``report.html`` of a bundle from the files in it, and return its path.

    ``infer`` runs the shipped model, as for ``bundle.judging.run.run``; it is called once for each image shown. Without
    it the page says so and shows the reference only. A bundle without regression.json or bench.json gets a page that
    says what is missing.

    Raises:
        ArtifactError: the bundle or one of its results is missing, altered or of another schema.
        TargetUnavailable: Jinja2 or Pillow is not installed, as on a device.
    """
    with bundle.copied([*bundle.results, *(set(bundle.manifest.files) & set(LISTED) - {VECTORS})]) as folder:
        page = describe(bundle, folder, infer)
    html = printed("page.html.j2", page, task_columns=TASK_COLUMNS, several=wording.SEVERAL, bundle=bundle.sha256)
    write_hashed(bundle.folder / REPORT, html.encode())
    return bundle.folder / REPORT


def describe(bundle: Bundle, folder: Path, infer: Infer | None) -> Page:
    """Return everything the page says about a bundle; ``folder`` holds a copy of its results and of what it lists to read."""
    manifest = bundle.manifest
    report, choice = _report(folder), read_choice(bundle)
    return Page(
        model=manifest.name,
        target=manifest.target,
        subtitle=_subtitle(bundle, report),
        verdict=verdict.headline(report),
        banner=verdict.banner(report, manifest),
        tasks=() if report is None else verdict.task_rows(report),
        measured=measured_view(report),
        no_tasks=verdict.UNJUDGED,
        delta_m=verdict.delta_m(report),
        ticks=() if report is None else verdict.ticks(report),
        images=examples_view(bundle, infer, report),
        bench=build.bench_view(read_bench(folder), choice),
        engine=build.engine_sentence(manifest, choice),
        variants=build.variant_rows(manifest, bundle.folder, choice),
        fold=build.fold_view(read_fold(folder), read_fold_settings(manifest)),
        sensitivity=sensitivity_view(folder),
        legal=legal_view(folder),
        provenance=build.provenance(bundle, report),
        attribution=manifest.dataset.attribution,
    )


def _report(folder: Path) -> RegressionReport | None:
    return read_report(folder) if (folder / RESULT).is_file() else None


def _subtitle(bundle: Bundle, report: RegressionReport | None) -> str:
    manifest = bundle.manifest
    where = (
        "not judged yet"
        if report is None
        else f"{report.precision}, {report.device.name}, executed on: {report.executed_on}"
    )
    tasks = wording.plural(len(manifest.tasks), "task")
    return f"{where} · {tasks} at {manifest.preprocess.height} × {manifest.preprocess.width} · io {manifest.io}"
