"""Black box: what a session refuses, and what it promises about the arrays it returns."""

from collections.abc import Iterator

import numpy as np
import pytest

from bundle.base.errors import InputError
from targets.base import Session
from tests.contract.flows import FLOWS, Flow, open_case
from tests.contract.graphs import CASES

X = CASES["matmul_bias"].feed["x"]


@pytest.fixture(scope="module", params=FLOWS.values(), ids=list(FLOWS))
def session(request, tmp_path_factory) -> Iterator[Session]:
    with open_case(request.param, CASES["matmul_bias"], tmp_path_factory.mktemp("session")) as opened:
        yield opened


BAD_FEEDS = {
    "missing": ({}, "input 'x' is missing", "feed an array as 'x'"),
    "wrong name": ({"image": X}, "input 'x' is missing", "feed an array as 'x'"),
    "extra": ({"x": X, "y": X}, "there is no input 'y'", "leave 'y' out"),
    "float64": ({"x": X.astype(np.float64)}, "wrong dtype", "convert it with .astype('float32')"),
    "integers": ({"x": np.ones(X.shape, np.uint8)}, "wrong dtype", "convert it with .astype('float32')"),
    "no batch axis": ({"x": X[0]}, "wrong shape", "add the batch axis: array[None]"),
    "wrong size": ({"x": X[:, :3]}, "wrong shape", "shapes are static"),
    "batch of two": ({"x": np.concatenate([X, X])}, "wrong shape", "shapes are static"),
    "a list": ({"x": X.tolist()}, "no NumPy array", "numpy.asarray"),
}


@pytest.mark.parametrize(("feed", "message", "fix"), BAD_FEEDS.values(), ids=list(BAD_FEEDS))
def test_refuses_a_bad_feed_and_says_how_to_mend_it(session, feed, message: str, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        session.infer(feed)
    assert message in caught.value.message
    assert fix in caught.value.fix
    assert caught.value.exit_code == 2


def test_values_are_free(session) -> None:
    poisoned = X.copy()
    poisoned[0, 2] = np.nan
    rows = np.isnan(session.infer({"x": poisoned})["y"]).all(-1)[0]
    assert rows.tolist() == [row == 2 for row in range(X.shape[1])]


def test_it_tells_how_long_a_run_takes(session) -> None:
    latency = session.timed({"x": X})
    assert latency.total_ms > 0 and latency.compute_ms is None
    with pytest.raises(InputError, match="input 'x' is missing"):
        session.timed({})


def test_outputs_belong_to_the_caller(session) -> None:
    first = session.infer({"x": X})["y"]
    kept = first.copy()
    session.infer({"x": -X})
    np.testing.assert_array_equal(first, kept)
    first[:] = 0
    np.testing.assert_array_equal(session.infer({"x": X})["y"], kept)


def test_runs_that_are_started_give_to_the_bit_what_infer_gives_in_their_order(session) -> None:
    feeds = [{"x": X * np.float32(scale)} for scale in (1, -1, 0.5, 3)]
    plain = [session.infer(feed)["y"] for feed in feeds]
    kept = []
    for feed in feeds:
        ran = session.start(feed)()
        kept.append(ran.outputs["y"])
        assert ran.ms > 0
    for got, expected in zip(kept, plain, strict=True):
        assert np.array_equal(got, expected)
    assert not np.array_equal(plain[0], plain[1])


def test_a_run_is_refused_before_it_is_started(session) -> None:
    with pytest.raises(InputError, match="input 'x' is missing"):
        session.start({})


def test_the_feed_is_not_touched_and_need_not_be_contiguous(session) -> None:
    strided = np.asfortranarray(X)
    np.testing.assert_array_equal(session.infer({"x": strided})["y"], session.infer({"x": X})["y"])


@pytest.mark.parametrize("flow", FLOWS.values(), ids=list(FLOWS))
def test_a_closed_session_says_so(tmp_path, flow: Flow) -> None:
    opened = open_case(flow, CASES["matmul_bias"], tmp_path)
    opened.start({"x": X})  # closing waits for it
    opened.close()
    opened.close()
    for use in (opened.infer, opened.start):
        with pytest.raises(InputError, match="the session is closed"):
            use({"x": X})
