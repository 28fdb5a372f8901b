"""How a stage becomes a command: options from a function's signature, its exit code from the error raised."""

from collections.abc import Callable
from pathlib import Path

import typer

from bundle.base.strict_json import dumps
from bundle.base.terminal import exit_status, print_answer
from bundle.formats.artifacts import Artifact
from bundle.formats.outputs import artifact, require_folder


def run_script(main: Callable[..., None], arguments: list[str] | None = None, *, name: str | None = None) -> None:
    """Run ``main`` as a command line and end the process as ``bundle.base.terminal.exit_status`` does.

    An unknown option or a bad value ends with 2. ``arguments`` None are the process's own; ``name`` is the command's in the help.
    """
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.command()(exit_status()(main))  # inside, for typer ends a closed pipe with 1
    application(args=arguments, prog_name=name)


def claim(out: Path, kind: type[Artifact], *inputs: Path) -> None:
    """Do nothing if a stage that makes a ``kind`` from ``inputs`` may write the folder ``out``; it writes there much later.

    Raises:
        InputError: something is there that is no such artifact, or it is an input, inside one or around one.
    """
    require_folder(out, artifact(kind), inputs)


def announce(artifact: Artifact, *, as_json: bool) -> None:
    """Write where an artifact lies and its hash to standard output, as one line or as its whole record."""
    if as_json:
        record = artifact.record.model_dump(mode="json")
        print_answer(dumps({"folder": str(artifact.folder), "sha256": artifact.sha256, "record": record}))
    else:
        print_answer(f"{artifact.kind} {artifact.sha256[:12]} {artifact.folder}")
