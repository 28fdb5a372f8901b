"""A session that raises or hangs ends in one clear error; ours pass through as they are."""

import threading

import numpy as np
import pytest

from bundle.base.errors import ArtifactError, SessionFailed
from bundle.judging.session_timeout import guarded
from bundle.tasks.spec import Array

FEED: dict[str, Array] = {"image": np.zeros(1)}


class Fail(Exception):
    """What a runtime's own exception is: no subclass of anything we know."""


@pytest.mark.parametrize("limit", [0.0, 5.0])
@pytest.mark.parametrize(
    "error", [RuntimeError("out of memory"), Fail("bad node"), MemoryError("64 GB"), KeyError("x")]
)
def test_an_error_of_the_runtime_is_named_after_the_image(limit: float, error: Exception) -> None:
    def infer(feed: dict[str, Array]) -> dict[str, Array]:
        raise error

    with pytest.raises(SessionFailed, match="image 'a'") as caught:
        guarded(infer, "a", limit)(FEED)
    assert caught.value.__cause__ is error and caught.value.exit_code == 3
    assert type(error).__name__ in str(caught.value) and "same command again" in str(caught.value)


@pytest.mark.parametrize("limit", [0.0, 5.0])
def test_our_own_errors_and_the_outputs_pass_through(limit: float) -> None:
    ours = ArtifactError("x", expected="a", got="b", where="c", fix="d")

    def refuse(feed: dict[str, Array]) -> dict[str, Array]:
        raise ours

    with pytest.raises(ArtifactError) as caught:
        guarded(refuse, "a", limit)(FEED)
    assert caught.value is ours
    assert guarded(lambda feed: feed, "a", limit)(FEED) is FEED


def test_a_session_that_hangs_is_left_behind() -> None:
    release = threading.Event()

    def hang(feed: dict[str, Array]) -> dict[str, Array]:
        release.wait(30)
        return feed

    with pytest.raises(SessionFailed, match="took longer than its time limit") as caught:
        guarded(hang, "slow-one", 0.05)(FEED)
    release.set()
    assert "slow-one" in str(caught.value) and "0.05 s" in str(caught.value) and "--time-limit" in str(caught.value)
