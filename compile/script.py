"""How a stage becomes a command: options from a function's signature, its exit code from the error raised."""

import sys
from collections.abc import Callable

import typer

from bundle.arguments import refused_by_system
from bundle.artifacts import Artifact
from bundle.errors import InputError, ProjectError
from bundle.strict_json import dumps


def run_script(main: Callable[..., None], arguments: list[str] | None = None, *, name: str | None = None) -> None:
    """Run ``main`` as a command line and end the process: 0 good, else the ``exit_code`` of the ProjectError raised.

    A file that cannot be read or written where no stage asks about it ends with 2 and the system's reason, an unknown option
    or a bad value too, as typer does. ``arguments`` None are the process's own; ``name`` is the command's in the help.
    """
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.command()(main)
    try:
        application(args=arguments, prog_name=name)
    except ProjectError as error:
        say(f"error: {error}")
        raise SystemExit(error.exit_code) from None
    except OSError as error:
        say(f"error: {refused_by_system(error)}")
        raise SystemExit(InputError.exit_code) from None


def say(text: str) -> None:
    """Write one line of progress to standard error, so that standard output stays the answer."""
    sys.stderr.write(f"{text}\n")


def announce(artifact: Artifact, *, as_json: bool) -> None:
    """Write where an artifact lies and its hash to standard output, as one line or as its whole record."""
    if as_json:
        record = artifact.record.model_dump(mode="json")
        sys.stdout.write(dumps({"folder": str(artifact.folder), "sha256": artifact.sha256, "record": record}) + "\n")
    else:
        sys.stdout.write(f"{artifact.kind} {artifact.sha256[:12]} {artifact.folder}\n")
