"""The bundle given on the command line, opened and judged once for all tests of this folder."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError, ProjectError
from bundle.formats.manifest import Bundle, read_manifest
from bundle.judging.choice import pick
from bundle.judging.harness import Options, judge_bundle
from bundle.judging.regression_report import RegressionReport, verdicts_of
from bundle.judging.run import Progress
from bundle.judging.sentences import why_picked
from bundle.judging.standing import standing, summary
from bundle.tasks.table import TASKS
from bundle.transport.signature import load_trusted
from targets.base import RunConfig, Session
from targets.open import execution, open_session

HERE = Path(__file__).parent
PROGRESS_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """A bundle after its run: the report, its path, and the session that made it."""

    bundle: Bundle
    session: Session
    report: RegressionReport
    path: Path | None


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
    with said():
        return load_trusted(request.config.getoption("bundle"), request.config.getoption("key"))


@pytest.fixture(scope="session")
def options(request: pytest.FixtureRequest) -> Options:
    """How to judge, from the command line."""
    given = request.config.getoption
    return Options(
        allow_inconclusive=given("allow_inconclusive"),
        gate="two-sided" if given("two_sided") else "one-sided",
        data=given("data"),
        split=given("split"),
        reference=given("reference"),
        baseline=given("baseline"),
        time_limit_s=given("time_limit"),
    )


@pytest.fixture(scope="session")
def judged(bundle: Bundle, options: Options, request: pytest.FixtureRequest) -> Iterator[Run]:
    """Run the harness once; the result of the variant that choice.json names is written as the bundle's regression.json."""
    given = request.config.getoption
    variant, device = given("variant"), RunConfig(device=given("device"))
    with said():
        picked = pick(bundle, variant)
        _say(request.config, f"variant {picked.variant}: {why_picked(picked)}")
        session, _ = open_session(bundle, execute=given("execute"), variant=variant, run=device)
    with session:
        with said():
            result = judge_bundle(
                bundle,
                session.infer,
                execution(session),
                options,
                variant=variant,
                out=given("out"),
                progress=_progress(request.config),
            )
        verdicts = verdicts_of(result.report)
        if standing(verdicts) == "undecided":
            _say(request.config, summary(verdicts, accepted=result.report.passed))
        yield Run(bundle=bundle, session=session, report=result.report, path=result.path)


@contextmanager
def said() -> Iterator[None]:
    """Fail every test that needs this with the error's own text, without a traceback; JUnit lists them all."""
    try:
        yield
    except ProjectError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


def _say(config: pytest.Config, line: str) -> None:
    """Write a line where pytest reports, at once: what a test prints is captured, and this is for whoever waits."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is not None:
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(line)


def _progress(config: pytest.Config) -> Progress:
    """Say every few seconds how far the run is, where pytest reports."""
    last = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last > PROGRESS_S:
            last = time.monotonic()
            _say(config, f"{done} of {total} images")

    return tell
