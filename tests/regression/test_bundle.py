"""One test per task and check: what runs on this machine is what the manifest says, and no task is worse.

The checks of a task: ``budget``, the gate of docs/decisions/0103; ``finite``, no NaN or infinity on any image;
``shapes``, the session's own record of the output; ``agreement``, predictions resemble the reference's pixel by pixel,
which two errors that cancel in a metric cannot feign.
"""

import numpy as np
import pytest

from bundle.dataset import FolderDataset
from bundle.errors import RegressionFailed
from bundle.manifest import Bundle
from bundle.regression import feed, read_report, require_passed, sentence
from bundle.tasks import task
from bundle.vectors import Vectors
from tests.regression.conftest import Judged

# A session that swaps outputs, flips the image or forgets an activation falls below; INT8 that passes its budget does not.
AGREEMENT_FLOOR = {"argmax": 0.8, "sigmoid": 0.9, "unit": 0.9, "relu": 0.8}


def test_budget(judged: Judged, task_name: str, request: pytest.FixtureRequest) -> None:
    result, check = judged.report.tasks[task_name], judged.report.checks[task_name]
    accepted = {"pass"} | ({"inconclusive"} if request.config.getoption("allow_inconclusive") else set())
    assert result.verdict in accepted, sentence(task_name, result, check.reason)


def test_finite(judged: Judged, task_name: str) -> None:
    bad = judged.report.checks[task_name].nonfinite_images
    assert bad == 0, f"{task_name} holds NaN or infinity on {bad} of {judged.report.images} images"


def test_shapes(judged: Judged, task_name: str) -> None:
    promised = {spec.name: (spec.dtype, spec.shape) for spec in judged.bundle.manifest.outputs}
    with Vectors(judged.bundle.vectors) as vectors:
        output = judged.session.infer(feed(judged.bundle.manifest, next(vectors.images())))[task_name]
    assert (str(output.dtype), output.shape) == promised[task_name]


def test_agreement(judged: Judged, task_name: str) -> None:
    floor = AGREEMENT_FLOOR[task(task_name).activation]
    assert judged.report.checks[task_name].agreement >= floor


def test_the_whole_report_passes(judged: Judged) -> None:
    try:
        require_passed(judged.report)
    except RegressionFailed as error:
        pytest.fail(str(error), pytrace=False)


def test_the_report_was_written(judged: Judged, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("variant") not in ("", judged.bundle.manifest.shipped):
        pytest.skip("regression.json is the shipped variant's; another one was judged")
    assert read_report(judged.bundle.folder).tasks == judged.report.tasks


def test_two_runs_of_one_image_are_equal(judged: Judged) -> None:
    with Vectors(judged.bundle.vectors) as vectors:
        fed = feed(judged.bundle.manifest, next(vectors.images()))
    one, other = judged.session.infer(fed), judged.session.infer(fed)
    for name in judged.bundle.manifest.tasks:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_the_images_and_labels_are_those_of_the_data(bundle: Bundle, request: pytest.FixtureRequest) -> None:
    root = request.config.getoption("data")
    if root is None:
        pytest.skip("no --data given")
    data = FolderDataset(root=root, spec=bundle.manifest.dataset)
    with Vectors(bundle.vectors) as vectors:
        for stored in vectors.images():
            np.testing.assert_array_equal(stored.image, data.image(stored.id), err_msg=f"image {stored.id}")
            for name in vectors.tasks:
                label = data.encoded_label(name, stored.id)
                np.testing.assert_array_equal(stored.labels[name], label, err_msg=f"{name} label of {stored.id}")
