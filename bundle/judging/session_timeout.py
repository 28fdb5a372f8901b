"""A session is foreign code: it may raise anything, or never come back. Either ends the run with one clear error."""

import threading
from collections.abc import Mapping

from bundle.base.errors import ProjectError, SessionFailed
from bundle.judging.evaluate_image import Infer
from bundle.tasks.spec import Array

RESUME = "type the same command again: the images measured so far are kept, it goes on with this one"


class _Call(threading.Thread):
    """One inference in a thread of its own; a daemon, so that a hanging driver does not keep the process alive."""

    def __init__(self, infer: Infer, feed: dict[str, Array]) -> None:
        super().__init__(name="inference", daemon=True)
        self._infer = infer
        self._feed = feed
        self.outputs: Mapping[str, Array] | None = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Call the session and keep what it returns or raises."""
        try:
            self.outputs = self._infer(self._feed)
        except BaseException as error:
            self.error = error
            if not isinstance(error, Exception):
                raise


def guarded(infer: Infer, identifier: str, limit_s: float) -> Infer:
    """Return ``infer`` for one image, its own errors named after the image, and given ``limit_s`` seconds (0: no limit).

    Raises:
        SessionFailed: (the returned function) the session raised an error of its own, or took too long.
    """

    def named(feed: dict[str, Array]) -> Mapping[str, Array]:
        try:
            return infer(feed)
        except SessionFailed as error:
            raise _failed(identifier, error.got) from error
        except ProjectError:
            raise
        except Exception as error:
            raise _failed(identifier, f"{type(error).__name__}: {error}") from error

    return named if limit_s == 0 else lambda feed: _limited(named, feed, identifier, limit_s)


def _failed(identifier: str, got: str) -> SessionFailed:
    return SessionFailed(
        f"the session failed on image {identifier!r}",
        expected="outputs",
        got=got,
        where="the compiled model",
        fix=f"fix what the runtime names; then {RESUME}",
    )


def _limited(infer: Infer, feed: dict[str, Array], identifier: str, limit_s: float) -> Mapping[str, Array]:
    thread = _Call(infer, feed)
    thread.start()
    thread.join(limit_s)
    if thread.is_alive():
        raise SessionFailed(
            f"image {identifier!r} took longer than its time limit",
            expected=f"outputs within {limit_s:g} s",
            got="none yet; the session is left hanging",
            where="the compiled model",
            fix=f"free the device or raise --time-limit; then {RESUME}",
        )
    if thread.error is not None:
        raise thread.error
    if thread.outputs is None:
        raise RuntimeError("the session returned nothing")
    return thread.outputs
