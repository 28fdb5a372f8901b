"""A judgement that is killed, and goes on; one that meets a broken session; what it writes, and where."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bundle.base.errors import ArtifactError, ProjectError, SessionFailed
from bundle.formats.manifest import Bundle
from bundle.judging.harness import Options, judge_bundle, measure_bundle
from bundle.judging.image_sources import Source, bundled
from bundle.judging.regression_report import open_report, read_report
from bundle.judging.resume import FOLDER
from bundle.judging.run import run
from bundle.judging.sentences import why_verdict
from bundle.tasks.spec import Array
from tests.bundle.made import HERE, make_bundle, session, write_result

COUNT = 12
OPTIONS = Options(resamples=200)
ROOT = Path(__file__).resolve().parents[3]
Infer = Callable[[dict[str, Array]], dict[str, Array]]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "bundle", io="raw", count=COUNT)


class Counting:
    """A session that counts its calls and does something else on one of them."""

    def __init__(self, at: int = 0, fault: Callable[[dict[str, Array]], dict[str, Array]] | None = None) -> None:
        self.calls, self.at, self.fault, self.good = 0, at, fault, session("raw")

    def __call__(self, feed: dict[str, Array]) -> dict[str, Array]:
        self.calls += 1
        outputs = self.good(feed)
        return self.fault(outputs) if self.fault is not None and self.calls == self.at else outputs


def raising(outputs: dict[str, Array]) -> dict[str, Array]:
    raise RuntimeError("CUDA error 700")


def test_a_run_that_ends_early_goes_on_where_it_stopped(bundle: Bundle) -> None:
    whole = judge_bundle(bundle, session("raw"), HERE, OPTIONS)
    first, second = Counting(4, raising), Counting()
    with pytest.raises(SessionFailed, match="image 'image-3'"):
        judge_bundle(bundle, first, HERE, OPTIONS)
    assert (bundle.folder / FOLDER).is_dir()
    resumed = judge_bundle(bundle, second, HERE, OPTIONS)
    assert (first.calls, second.calls, resumed.resumed) == (4, COUNT - 3, 3)
    assert resumed.report == whole.report and not (bundle.folder / FOLDER).exists()
    third = Counting()
    assert judge_bundle(bundle, third, HERE, OPTIONS).resumed == 0 and third.calls == COUNT


def test_another_session_does_not_go_on_with_the_images_of_this_one(bundle: Bundle) -> None:
    with pytest.raises(SessionFailed):
        judge_bundle(bundle, Counting(4, raising), HERE, OPTIONS)
    other = HERE.model_copy(update={"facts": {"threads": "1"}})
    again = Counting()
    assert judge_bundle(bundle, again, other, OPTIONS).resumed == 0 and again.calls == COUNT


def test_whether_a_cache_was_there_does_not_make_it_another_session(bundle: Bundle) -> None:
    cold, warm = (HERE.model_copy(update={"facts": {"LOADED_FROM_CACHE": said, "x": "y"}}) for said in ("NO", "YES"))
    with pytest.raises(SessionFailed):
        judge_bundle(bundle, Counting(4, raising), cold, OPTIONS)
    assert judge_bundle(bundle, Counting(), warm, OPTIONS).resumed == 3


def test_an_earlier_result_of_another_version_does_not_lose_the_new_one(bundle: Bundle) -> None:
    write_result(bundle.folder, "regression.json", '{"schema": 9}')
    judged = judge_bundle(bundle, session("raw"), HERE, OPTIONS)
    assert judged.report.passed and read_report(bundle.folder) == judged.report


def test_a_measurement_that_is_not_written_keeps_its_journal(bundle: Bundle) -> None:
    first, again = measure_bundle(bundle, session("raw"), HERE, OPTIONS), Counting()
    assert first.journal.path.is_file() and not (bundle.folder / "regression.json").exists()
    second = measure_bundle(bundle, again, HERE, OPTIONS)
    assert again.calls == 0 and second.report == first.report
    second.journal.remove()
    assert not (bundle.folder / FOLDER).exists()


def test_a_killed_process_loses_nothing_it_measured(bundle: Bundle) -> None:
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from bundle.judging.harness import Options, judge_bundle
        from bundle.formats.manifest import load_bundle
        from tests.bundle.made import HERE, session
        good = session("raw")
        def slow(feed):
            time.sleep(0.15)
            return good(feed)
        judge_bundle(load_bundle(Path({str(bundle.folder)!r})), slow, HERE, Options(resamples=200))
    """)
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    deadline = time.monotonic() + 60
    while not _lines(bundle.folder) >= 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (bundle.folder / "regression.json").exists()
    after = Counting()
    judged = judge_bundle(bundle, after, HERE, OPTIONS)
    assert judged.resumed >= 2 and after.calls == COUNT - judged.resumed and judged.report.passed


def _lines(folder: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (folder / FOLDER).glob("*.jsonl"))


def hanging(outputs: dict[str, Array]) -> dict[str, Array]:
    time.sleep(1.0)
    return outputs


def missing(outputs: dict[str, Array]) -> dict[str, Array]:
    return {name: array for name, array in outputs.items() if name != "edge"}


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (raising, SessionFailed, "RuntimeError: CUDA error 700"),
        (hanging, SessionFailed, "time limit"),
        (missing, ArtifactError, "other names"),
    ],
)
def test_a_session_that_breaks_in_the_middle_ends_in_an_error_that_names_the_image(
    bundle: Bundle, fault: Infer, error: type[ProjectError], text: str
) -> None:
    options = OPTIONS.model_copy(update={"time_limit_s": 0.5}) if fault is hanging else OPTIONS
    with pytest.raises(error) as caught:
        judge_bundle(bundle, Counting(3, fault), HERE, options)
    assert text in str(caught.value) and "'image-2'" in str(caught.value)
    assert not (bundle.folder / "regression.json").exists()


def test_a_hard_image_counts_for_no_metric_but_must_be_finite(bundle: Bundle) -> None:
    """The last image is one that was chosen because it is hard."""

    def spoil(outputs: dict[str, Array]) -> dict[str, Array]:
        outputs["depth"][0, 0, 2, 3] = np.inf
        return outputs

    with bundled(bundle) as own:
        counted = {name: {key: array[:-1] for key, array in rows.items()} for name, rows in own.references.items()}
        source = replace(own, ids=own.ids[:-1], references=counted)
        good, bad = (
            run(bundle, infer, HERE, resamples=200, source=source) for infer in (Counting(), Counting(COUNT, spoil))
        )
    assert good.passed and good.images == COUNT - 1 and not bad.passed
    assert bad.tasks["depth"].verdict == "regression" and bad.tasks["depth"].compiled == good.tasks["depth"].compiled
    assert (bad.tasks["depth"].cause, bad.checks["depth"].nonfinite) == ("hard_not_finite", ("image-11",))
    assert why_verdict(bad, "depth").endswith("not finite on 1 image, which count for no metric: image-11")
    assert bad.tasks["edge"].verdict == "pass"


def test_only_the_shipped_variants_judgement_on_the_bundles_images_is_written_into_it(
    bundle: Bundle, tmp_path: Path
) -> None:
    other = judge_bundle(bundle, session("raw"), HERE, OPTIONS, variant="int8")
    assert other.path is None and not (bundle.folder / "regression.json").exists()
    elsewhere = judge_bundle(bundle, session("raw"), HERE, OPTIONS, variant="int8", out=tmp_path / "new" / "int8.json")
    assert elsewhere.path == tmp_path / "new" / "int8.json" and json.loads(elsewhere.path.read_text())["bundle"]
    assert open_report(elsewhere.path) == elsewhere.report and (tmp_path / "new" / "int8.json.sha256").is_file()
    own = judge_bundle(bundle, session("raw"), HERE, OPTIONS)
    assert own.path == bundle.folder / "regression.json" and own.report.session == HERE.facts


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(bundle: Bundle) -> None:
    def peak(times: int) -> int:
        with bundled(bundle) as own:
            first = next(own.images())

            def images() -> "object":
                for number in range(times):  # each a fresh array, as if it were read
                    yield replace(first, id=f"n{number}", image=first.image.copy())

            source = Source(name="many", ids=tuple(f"n{n}" for n in range(times)), images=images)  # type: ignore[arg-type]
            tracemalloc.start()
            run(bundle, session("raw"), HERE, resamples=1, source=source)
            used = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return used

    few, many = peak(10), peak(60)
    kept_per_image = (many - few) / 50
    assert kept_per_image < 40_000, "an image's figures are kept, not its arrays of pixels"
