"""The bundle given on the command line, opened and judged once for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundle.errors import ArtifactError
from bundle.manifest import Bundle, load_bundle, read_manifest
from bundle.regression import RegressionReport, run, write_report
from bundle.tasks import TASKS
from targets.base import RunConfig, Session
from targets.open import execution, open_session

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A bundle after its run: the report, and the session that made it."""

    bundle: Bundle
    session: Session
    report: RegressionReport


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give each test that asks for ``task_name`` the bundle's tasks; without a bundle, those of the task table."""
    if "task_name" in metafunc.fixturenames:
        metafunc.parametrize("task_name", _task_names(metafunc.config.getoption("bundle")))


def _task_names(folder: Path | None) -> list[str]:
    if folder is None:
        return [row.name for row in TASKS]
    try:
        return list(read_manifest(folder).tasks)
    except ArtifactError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip this folder's tests if there is no bundle to judge."""
    if config.getoption("bundle") is None:
        for item in items:
            if HERE in item.path.parents:
                item.add_marker(pytest.mark.skip(reason="no --bundle given"))


@pytest.fixture(scope="session")
def bundle(request: pytest.FixtureRequest) -> Bundle:
    """The bundle, every file of it verified."""
    return load_bundle(request.config.getoption("bundle"))


@pytest.fixture(scope="session")
def judged(bundle: Bundle, request: pytest.FixtureRequest) -> Iterator[Judged]:
    """Run the harness once; the shipped variant's result is written beside the bundle as regression.json."""
    option = request.config.getoption
    device = RunConfig(device=option("device"))
    opened = open_session(bundle, execute=option("execute"), variant=option("variant"), run=device)
    with opened[0] as session:
        report = run(bundle, session.infer, execution(session), allow_inconclusive=option("allow_inconclusive"))
        if option("variant") in ("", bundle.manifest.shipped):
            write_report(bundle.folder, report)
        yield Judged(bundle=bundle, session=session, report=report)
