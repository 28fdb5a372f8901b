"""How a stage becomes a command: options from a function's signature, its exit code from the error raised."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated, cast

import typer

from bundle.base.arguments import refused_words
from bundle.base.errors import InputError
from bundle.base.strict_json import dumps
from bundle.base.terminal import exit_status, print_answer, say
from bundle.base.version import version_text
from bundle.formats.artifacts import Artifact
from bundle.formats.outputs import artifact, require_folder

# The base of what typer raises for wrong words; it is click's, or that of the copy of click that newer versions carry.
USAGE_ERROR = cast("type[typer.BadParameter]", typer.BadParameter.__base__)


def _end_with_version(asked: bool) -> None:
    if asked:
        print_answer(version_text())
        raise typer.Exit


def _with_version(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            "-V",
            callback=_end_with_version,
            expose_value=False,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> bool:
    """Carry the option that ``command_of`` gives every command."""
    return version


def command_of(main: Callable[..., None]) -> typer.core.TyperCommand:
    """Return ``main`` as a command: its options, ``-h`` and ``-V``; it ends as ``bundle.base.terminal.exit_status`` does."""
    command, version = (_read(run) for run in (exit_status()(main), _with_version))
    command.params += version.params
    return command


def _read(main: Callable[..., object]) -> typer.core.TyperCommand:
    application = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
    )
    application.command()(main)
    return cast(typer.core.TyperCommand, typer.main.get_command(application))


def run_script(main: Callable[..., None], arguments: list[str] | None = None, *, name: str | None = None) -> None:
    """Run ``main`` as a command line and end the process with its exit code; an unknown option or a bad value ends with 2.

    ``arguments`` None are the process's own; ``name`` is the command's in the help.
    """
    with exit_status():
        try:
            ended = command_of(main)(args=arguments, prog_name=name, standalone_mode=False)
        except USAGE_ERROR as error:
            raise _refused(error, name or Path(sys.argv[0]).name) from None
    raise SystemExit(ended)


def _refused(error: typer.BadParameter, program: str) -> InputError:
    """Return our error for one of typer's; what an option expects is what its help says."""
    parameter, close = getattr(error, "param", None), getattr(error, "possibilities", None)
    usage = (
        f"{program} [OPTIONS]" if error.ctx is None else " ".join(error.ctx.get_usage().split()).removeprefix("Usage: ")
    )
    expected = getattr(parameter, "help", None) or ", ".join(close or ()) or usage
    return refused_words(program, expected=expected, got=error.format_message().replace("Value error, ", ""))


@contextmanager
def timed(stage: str, write: Callable[[str], None] = say) -> Iterator[None]:
    """Name a stage as it starts, and say how long it took when it is done."""
    start = perf_counter()
    write(f"{stage}: started")
    yield
    write(f"{stage}: done in {perf_counter() - start:.1f} s")


def claim(out: Path, kind: type[Artifact], *inputs: Path) -> None:
    """Do nothing if a stage that makes a ``kind`` from ``inputs`` may write the folder ``out``; it writes there much later.

    Raises:
        InputError: something is there that is no such artifact, or it is an input, inside one or around one.
    """
    require_folder(out, artifact(kind), inputs)


def announce(artifact: Artifact, *, as_json: bool) -> None:
    """Write an artifact's folder and hash to standard output as one line, or its record as JSON."""
    if as_json:
        record = artifact.record.model_dump(mode="json")
        print_answer(dumps({"folder": str(artifact.folder), "sha256": artifact.sha256, "record": record}))
    else:
        print_answer(f"{artifact.kind} {artifact.sha256[:12]} {artifact.folder}")
