"""The process of one subject: it opens it, and runs it on request. Its memory is its own, so is what it measures.

The parent writes a line to its standard input, the answer is a line of JSON on standard output:

    warm N       run the timed call N times                     {}
    turn N       one turn of a round, the median of N calls     {"ms": 12.3}
    answers F    answer the questions in the JSON file F        {}
    end          say what it took, and end                      {"peak_mib": 412.0}

Before the first line it says what it opened: {"computes": "bf16"}. What the libraries print goes to standard error.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TextIO

from pydantic import JsonValue

from bundle.base.strict_json import dumps
from bundle.base.terminal import exit_status
from compile.evaluation.timing import turn
from studies.comparison.subject import Opened, Subject, open_subject, pin_cpus

STATUS = Path("/proc/self/status")
PEAK = "VmHWM:"


def main(arguments: list[str]) -> None:
    """Serve the subject that the file ``arguments[0]`` describes."""
    with exit_status():
        channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        serve(Subject.model_validate_json(Path(arguments[0]).read_bytes()), sys.stdin, channel)


def serve(subject: Subject, orders: TextIO, channel: TextIO) -> None:
    """Open the subject and obey until ``end`` or the end of ``orders``."""
    pin_cpus(subject.threads)
    with ExitStack() as stack:
        opened = open_subject(subject, stack)
        for said in chain([{"computes": opened.computes}], _obey(opened, subject, orders)):
            channel.write(dumps(said) + "\n")
            channel.flush()


def _obey(opened: Opened, subject: Subject, orders: TextIO) -> Iterator[dict[str, JsonValue]]:
    for order in orders:
        verb, _, rest = order.strip().partition(" ")
        if verb == "turn":
            yield {"ms": turn(opened.elapsed_ms, int(rest))}
        elif verb == "warm":
            for _ in range(int(rest)):
                opened.elapsed_ms()
            yield {}
        elif verb == "answers":
            from studies.comparison.answers import Questions, write_answers

            write_answers(Questions.model_validate_json(Path(rest).read_bytes()), subject.info, opened.infer)
            yield {}
        else:
            yield {"peak_mib": peak_mib()}
            return


def peak_mib() -> float | None:
    """Return the largest resident memory of this process so far, MiB; None where the system does not say."""
    lines = STATUS.read_text(encoding="ascii").splitlines() if STATUS.is_file() else []
    found = [line.split()[1] for line in lines if line.startswith(PEAK)]
    return int(found[0]) / 1024 if found else None


if __name__ == "__main__":
    main(sys.argv[1:])
