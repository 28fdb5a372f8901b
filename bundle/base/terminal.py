"""What every command line shares: what it prints, and the exit code it ends with.

0 good · 1 a task is not shown to be within its budget · 2 bad input · 3 target unavailable · 4 a fault of this program
"""

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from bundle.base.errors import InputError, ProjectError, not_installed, system_reason
from bundle.base.escaping import escaped
from bundle.base.isolated import OURS, isolate

INTERNAL = 4
CLOSED_PIPE, INTERRUPTED = 128 + 13, 128 + 2  # as a shell reports SIGPIPE and SIGINT
EXTRAS = {"asyncssh": "fleet", "av": "video", "lightning": "train", "tensorrt_rtx": "proof"}  # any other package: host
ON_HOSTS = "tdss (a device has python -m targets and python -m bundle instead)"
REPORT = "report it with the lines above, the command you gave and the output of 'tdss --version'"


def say(text: str) -> None:
    """Write a line of progress to standard error, so that standard output stays the answer."""
    sys.stderr.write(f"{escaped(text)}\n")
    sys.stderr.flush()


def print_answer(text: str) -> None:
    """Write a command's answer to standard output, with a newline at its end."""
    sys.stdout.write(escaped(text) if text.endswith("\n") else f"{escaped(text)}\n")


@contextmanager
def exit_status() -> Iterator[None]:
    """Turn an error that leaves the block into a message and the end of the process with the error's exit code.

    What the block imports is never found in the working directory (bundle/base/isolated.py).

    Raises:
        SystemExit: with the ``exit_code`` of a ProjectError; 2 where the system refused a file or memory; 3 where a package is
            not installed; 141 where the reader of our output went away; 130 for an interrupt; 4 for a fault of this program.
    """
    try:
        isolate()
        yield
        sys.stdout.flush()
    except ProjectError as error:
        raise _end(error) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes once more at its end
        raise SystemExit(CLOSED_PIPE) from None
    except OSError as error:
        raise _end(refused_by_system(error)) from None
    except MemoryError as error:
        raise _end(out_of_memory(error)) from None
    except KeyboardInterrupt:
        say("interrupted: run the same command again; finished stages are kept, and no file is half-written")
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:  # noqa: BLE001 - the last one to catch it, and it is shown whole
        raise _end_unexpected(error) from None


def _end(error: ProjectError) -> SystemExit:
    say(f"error: {error}")
    return SystemExit(error.exit_code)


def _end_unexpected(error: Exception) -> SystemExit:
    """Return the end for a package that is not installed, or for a fault of this program, which is shown whole."""
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if isinstance(error, ModuleNotFoundError) and package not in OURS:
        extra = EXTRAS.get(package, "host")
        what = ON_HOSTS if package == "typer" else "this command"
        return _end(not_installed(what, package, extra=extra, where=sys.executable, error=error))
    sys.stderr.write(escaped("".join(traceback.format_exception(error))))
    say(f"error: a fault of this program, not of what you gave it: {type(error).__name__}; {REPORT}")
    return SystemExit(INTERNAL)


def refused_by_system(error: OSError) -> InputError:
    """Return the error for a file or folder that the system would not read or write; the caller raises it."""
    return InputError(
        "the system refused a file",
        expected="a file that can be read or written",
        got=system_reason(error),
        where=str(error.filename or "unknown"),
        fix="look at the path, its permissions and the space that is left",
    )


def out_of_memory(error: MemoryError) -> InputError:
    """Return the error for memory that the system would not give; the caller raises it."""
    return InputError(
        "there is not enough memory",
        expected="as much as this model and these images need",
        got=str(error) or "no more memory",
        where="this machine",
        fix="end other programs, give a smaller model or fewer images, or take a larger machine",
    )
