"""What a recipe of the Makefile starts: ``python -I -m bundle.makefile MODULE …``, with make's variables put in as they are.

``make`` hands its variables over in the environment, so no shell reads what was typed. A word ``@name`` is replaced
by the value of the variable ``name``, and ``--option=@name`` by the option with it. Without a value the word is left
out. ``@options`` becomes
as many words as a shell would make of it, quotes and all, but nothing in it is run.
"""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from bundle.base.errors import InputError
from bundle.base.isolated import module
from bundle.base.terminal import exit_status, say

OPTIONS = "options"
INTERRUPTED = 130
VARIABLES = ("model", "data", "tasks", "bundle", OPTIONS)
MEANS: MappingProxyType[object, str] = MappingProxyType(
    {
        1: "a task is not shown to be within its budget",
        2: "bad input",
        3: "a runtime or a device is missing, failed or hung",
        4: "a fault of this program",
    }
)


def words(recipe: Sequence[str], given: Mapping[str, str]) -> Iterator[str]:
    """Yield a recipe's words with make's variables replaced by their values.

    Raises:
        InputError: a quotation in ``options`` is not closed.
    """
    for word in recipe:
        before, at, name = word.partition("@")
        if not at or name not in VARIABLES:
            yield word
        elif name == OPTIONS:
            yield from _split(given.get(name, ""))
        elif given.get(name):
            yield f"{before}{given[name]}"


def _split(options: str) -> list[str]:
    try:
        return shlex.split(options)
    except ValueError as error:
        raise InputError(
            "make's options cannot be split into words",
            expected="words, with each quotation closed",
            got=f"{options!r}: {error}",
            where="options='…' on make's command line",
            fix="close the quotation, or leave it out",
        ) from error


def run(command: Sequence[str]) -> int:
    """Run a command to its end and return its exit code, as a shell does for a signal; one that we get is passed on."""
    with subprocess.Popen(command) as child:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda got, frame: None if got == signal.SIGINT else child.send_signal(got))
        code = child.wait()
    return code if code >= 0 else 128 - code


def main(recipe: Sequence[str]) -> None:
    """Run a recipe's module and end with its exit code; a last line names it, for make's own is 2 unless it was interrupted."""
    code: object = 0
    try:
        with exit_status():
            name, *rest = words(recipe, os.environ)
            code = run(module(name, *rest))
    except SystemExit as ended:
        code = ended.code
    if code:
        own = "" if code == INTERRUPTED else "; make itself answers 2"
        say(f"exit code {code}{f' ({MEANS[code]})' if code in MEANS else ''}{own}")
        raise SystemExit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
