"""``tdss regress``: judge a bundle on this machine, as ``pytest tests/regression`` does."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from bundle.base.terminal import print_answer
from bundle.formats.manifest import Bundle
from bundle.formats.outputs import overwrite, require_file
from bundle.judging.checks import answers, require_agreement, require_passed
from bundle.judging.harness import REPORTS, Judged, Options, inputs_of, judge_bundle
from bundle.judging.regression_report import RegressionReport
from bundle.transport.signature import load_trusted
from cli.option_table import asked
from compile.stage.console import EscapingConsole
from report.junit import JUNIT, junit
from report.terminal import notes, tasks_table
from targets.base import Execute, RunConfig, Session
from targets.judge_options import DEFAULTS, JUDGING, RUN
from targets.open import execution, open_session

TO_STDERR = EscapingConsole(stderr=True)


def main(
    bundle: Annotated[Path, typer.Argument(help="A bundle: build/<model>/<target>.")],
    execute: Annotated[Execute, asked(JUDGING, "execute")] = "auto",
    variant: Annotated[str, asked(JUDGING, "variant")] = "",
    device: Annotated[str, asked(JUDGING, "device")] = "",
    threads: Annotated[int, asked(JUDGING, "threads")] = RUN.threads,
    allow_inconclusive: Annotated[bool, asked(JUDGING, "allow-inconclusive")] = False,
    two_sided: Annotated[bool, asked(JUDGING, "two-sided")] = False,
    data: Annotated[Path | None, asked(JUDGING, "data")] = None,
    split: Annotated[str, asked(JUDGING, "split")] = DEFAULTS.split,
    reference: Annotated[Path | None, asked(JUDGING, "reference")] = None,
    baseline: Annotated[Path | None, asked(JUDGING, "baseline")] = None,
    time_limit: Annotated[float, asked(JUDGING, "time-limit")] = DEFAULTS.time_limit_s,
    out: Annotated[Path | None, asked(JUDGING, "out")] = None,
    key: Annotated[Path | None, asked(JUDGING, "key")] = None,
    junit_file: Annotated[Path | None, typer.Option("--junit", help="Write the checks as JUnit XML.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print regression.json, without its arrays.")] = False,
) -> None:
    """Judge every task of a bundle on this machine against the stored reference; exit 1 if one is beyond its budget.

    It runs the variant that the bundle's choice.json names: what a device chose (python -m targets), else what the build
    shipped. That one's result is written to the bundle's regression.json. A killed run resumes.

    Example: tdss regress build/default/intel --device CPU --baseline last-week/regression.json
    """
    options = Options(
        allow_inconclusive=allow_inconclusive,
        gate="two-sided" if two_sided else "one-sided",
        data=data,
        split=split,
        reference=reference,
        baseline=baseline,
        time_limit_s=time_limit,
    )
    _require_outputs(inputs_of(bundle, options), out, junit_file)
    opened = load_trusted(bundle, key)
    session, _ = open_session(opened, execute=execute, variant=variant, run=RunConfig(device=device, threads=threads))
    with session:
        judged = _judge(opened, session, options, variant, out)
    _write_junit(judged.report, junit_file, allow_inconclusive=allow_inconclusive)
    _show(judged, as_json=as_json)
    require_passed(judged.report)
    require_agreement(judged.report)


def _write_junit(report: RegressionReport, path: Path | None, *, allow_inconclusive: bool) -> None:
    if path is not None:
        overwrite(path, junit(report, answers(report, allow_inconclusive=allow_inconclusive)), JUNIT)


def _require_outputs(inputs: list[Path], out: Path | None, junit_file: Path | None) -> None:
    if out is not None:
        require_file(out, REPORTS, inputs)
    if junit_file is not None:
        require_file(junit_file, JUNIT, [*inputs, *([] if out is None else [out])])


def _judge(bundle: Bundle, session: Session, options: Options, variant: str, out: Path | None) -> Judged:
    """Judge with a progress bar, where the error stream is a terminal."""
    with Progress(console=TO_STDERR, transient=True, disable=not TO_STDERR.is_terminal) as bar:
        row = bar.add_task("images", total=None)
        return judge_bundle(
            bundle,
            session.infer,
            execution(session),
            options,
            variant=variant,
            out=out,
            progress=lambda done, total: bar.update(row, completed=done, total=total),
        )


def _show(judged: Judged, *, as_json: bool) -> None:
    report: RegressionReport = judged.report
    if as_json:
        print_answer(report.model_dump_json(by_alias=True, exclude={"arrays"}))
        return
    console = EscapingConsole()
    console.print(tasks_table(report))
    for line in notes(report):
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    if judged.resumed:
        console.print(f"{judged.resumed} of {report.images} images were measured before the last run was killed")
    if judged.path is not None:
        console.print(f"written: {judged.path}", soft_wrap=True)
