"""One test per task and check: what runs on this machine is what the manifest says, and no task is worse.

The checks of a task are those of bundle/judging/checks.py, and ``shapes``, the session's own record of the output. Each leaves
its figures in the JUnit file (``--junitxml FILE``) as properties of its test.
"""

from collections.abc import Callable

import numpy as np
import pytest

from bundle.base.errors import RegressionFailed
from bundle.formats.manifest import Bundle
from bundle.formats.vectors import Vectors
from bundle.judging.checks import Question, answer, require_passed
from bundle.judging.evaluate_image import feed
from bundle.judging.harness import Options
from bundle.judging.regression_report import open_report
from bundle.tasks.dataset import FolderDataset
from tests.regression.conftest import Run

Record = Callable[[str, object], None]


def ask(judged: Run, options: Options, name: str, question: Question) -> None:
    """Pass, fail with the check's own sentence, or skip with its reason."""
    check = answer(judged.report, name, question, allow_inconclusive=options.allow_inconclusive)
    if check.skipped:
        pytest.skip(check.skipped)
    if not check.passed:
        pytest.fail(check.text, pytrace=False)


def test_budget(judged: Run, options: Options, task_name: str, record_property: Record) -> None:
    result = judged.report.tasks[task_name]
    record_property("variant", judged.report.variant)
    for name, value in result.model_dump(mode="json", exclude={"figures"}).items():
        record_property(name, value)
    ask(judged, options, task_name, "budget")


def test_finite(judged: Run, options: Options, task_name: str) -> None:
    ask(judged, options, task_name, "finite")


def test_shapes(judged: Run, task_name: str) -> None:
    promised = {spec.name: (spec.dtype, spec.shape) for spec in judged.bundle.manifest.outputs}
    with Vectors(judged.bundle.vectors) as vectors:
        output = judged.session.infer(feed(judged.bundle.manifest, next(vectors.images())))[task_name]
    assert (str(output.dtype), output.shape) == promised[task_name]


def test_agreement(judged: Run, options: Options, task_name: str, record_property: Record) -> None:
    seen = judged.report.checks[task_name]
    for name, value in (("agreement", seen.agreement), ("cosine", seen.cosine), (seen.change_unit, seen.change)):
        record_property(name, value)
    record_property("worst images", ", ".join(one.id for one in seen.worst))
    ask(judged, options, task_name, "agreement")


def test_baseline(judged: Run, options: Options, task_name: str) -> None:
    ask(judged, options, task_name, "baseline")


def test_the_whole_report_passes(judged: Run) -> None:
    try:
        require_passed(judged.report)
    except RegressionFailed as error:
        pytest.fail(str(error), pytrace=False)


def test_the_report_was_written(judged: Run) -> None:
    if judged.path is None:
        pytest.skip(
            "another variant than the one choice.json names, or other images, and no --out given: nothing is written"
        )
    assert open_report(judged.path) == judged.report


def test_two_runs_of_one_image_are_equal(judged: Run) -> None:
    with Vectors(judged.bundle.vectors) as vectors:
        fed = feed(judged.bundle.manifest, next(vectors.images()))
    one, other = judged.session.infer(fed), judged.session.infer(fed)
    for name in judged.bundle.manifest.tasks:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_the_images_and_labels_are_those_of_the_data(bundle: Bundle, options: Options) -> None:
    if options.data is None:
        pytest.skip("no --data given")
    data = FolderDataset(root=options.data, spec=bundle.manifest.dataset)
    compared = 0
    with Vectors(bundle.vectors) as vectors:
        for stored in vectors.images():
            if not any((data.root / "image").glob(f"{stored.id}.*")):
                continue
            compared += 1
            np.testing.assert_array_equal(stored.image, data.image(stored.id), err_msg=f"image {stored.id}")
            for name in vectors.tasks:
                label = data.encoded_label(name, stored.id)
                np.testing.assert_array_equal(stored.labels[name], label, err_msg=f"{name} label of {stored.id}")
    if not compared:
        pytest.skip("the folder holds none of the bundle's images: it is other data")
