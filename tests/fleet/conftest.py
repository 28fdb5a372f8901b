"""A shelf of devices, and what a device sends back for a tiny bundle. Without the extra ``fleet`` its tests are skipped."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from targets import __main__ as judging
from tests.bundle.made_onnx import make
from tests.exits import exit_code

if TYPE_CHECKING:
    from tests.fleet.servers import Shelf


class Sent(NamedTuple):
    """A bundle of the target ``reference``, and the results archive of it."""

    bundle: Path
    archive: Path


def judge(folder: Path, noise: float = 0.0) -> Sent:
    """Make a bundle, have it judged in a copy, and return the archive that would be sent back."""
    bundle, archive = make(folder / "made", "reference", noise), folder / "sent.zip"
    exit_code(judging.main, [str(bundle), "--runs", "1", "--warmup", "0", "--send", str(archive)])
    return Sent(bundle, archive)


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """A bundle within its budgets."""
    return judge(tmp_path_factory.mktemp("good"))


@pytest.fixture(scope="session")
def worse(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """A bundle whose depth is not within its budget."""
    return judge(tmp_path_factory.mktemp("worse"), 0.5)


@pytest.fixture
def shelf(tmp_path: Path) -> "Iterator[Shelf]":
    """No device yet; its servers run in a thread of their own."""
    pytest.importorskip("asyncssh", reason="the extra fleet is not installed")
    from tests.fleet.servers import Loop, Shelf

    folder, loop = tmp_path / "shelf", Loop()
    folder.mkdir()
    held = Shelf(folder, loop)
    yield held
    held.end()
    loop.end()
