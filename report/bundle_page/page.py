"""The page of a bundle: report.html, one file that needs no network, no script and nothing beside it."""

from pathlib import Path

from bundle.formats.contents import LISTED, VECTORS
from bundle.formats.fold import read_fold, read_fold_settings
from bundle.formats.hash_files import write_hashed
from bundle.formats.manifest import Bundle
from bundle.judging import wording
from bundle.judging.choice import read_bench, read_choice
from bundle.judging.evaluate_image import Infer
from bundle.judging.regression_report import RESULT, RegressionReport, read_report
from report.bundle_page import build, verdict
from report.bundle_page.classes import class_views
from report.bundle_page.examples import examples_view
from report.bundle_page.measurements import measured_view
from report.bundle_page.origin import built_before
from report.bundle_page.sensitivity import sensitivity_view
from report.bundle_page.template import printed
from report.bundle_page.tensorrt_checks import legal_view
from report.bundle_page.variants import Known, bench_view, numbers, variant_rows
from report.bundle_page.views import Page

REPORT = "report.html"
CONTENTS = (
    ("tasks", "Per task"),
    ("variants", "Variants"),
    ("images", "Images"),
    ("fold", "Folds"),
    ("legal", "TensorRT"),
    ("sensitivity", "Layers"),
    ("provenance", "Provenance"),
)


def render(bundle: Bundle, infer: Infer | None = None, *, built: str = "") -> Path:
    """Write ``report.html`` of a bundle from the files in it, and return its path.

    ``infer`` runs the shipped model, as for ``bundle.judging.run.run``; it is called once for each image shown. Without
    it the page shows a note and the reference only. ``built`` says when, where and with which command the bundle was built
    (report/bundle_page/origin.py); "" keeps what the earlier page holds. A bundle without regression.json or bench.json gets a page that
    names what is missing.

    Raises:
        ArtifactError: the bundle or one of its results is missing, altered or of another schema.
        TargetUnavailable: Jinja2 or Pillow is not installed, as on a device.
    """
    with bundle.copied([*bundle.results, *(set(bundle.manifest.files) & set(LISTED) - {VECTORS})]) as folder:
        page = describe(bundle, folder, infer, built or built_before(bundle, REPORT))
    empty = {"sensitivity": not page.sensitivity.rows, "legal": not page.legal.graphs}
    contents = [(anchor, title) for anchor, title in CONTENTS if not empty.get(anchor)]
    html = printed("page.html.j2", page, contents=contents, several=wording.SEVERAL, bundle=bundle.sha256)
    write_hashed(bundle.folder / REPORT, html.encode())
    return bundle.folder / REPORT


def describe(bundle: Bundle, folder: Path, infer: Infer | None, built: str) -> Page:
    """Return everything the page shows of a bundle; ``folder`` holds a copy of its results and of what it lists to read."""
    manifest = bundle.manifest
    report, choice = _report(folder), read_choice(bundle)
    known = Known(manifest, report, read_bench(folder), choice)
    head = verdict.headline(report).model_copy(update={"numbers": numbers(known, bundle.folder)})
    return Page(
        model=manifest.name,
        target=manifest.target,
        subtitle=_subtitle(bundle, report),
        verdict=head,
        banner=verdict.banner(report, manifest),
        built=built,
        tasks=() if report is None else verdict.task_rows(report),
        task_names=tuple(manifest.tasks),
        classes=class_views(bundle, report),
        measured=measured_view(report),
        no_tasks=verdict.UNJUDGED,
        delta_m=verdict.delta_m(report),
        ticks=() if report is None else verdict.ticks(report),
        images=examples_view(bundle, infer, report),
        bench=bench_view(known.bench),
        engine=build.engine_sentence(manifest, choice),
        variants=variant_rows(known, bundle.folder),
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
