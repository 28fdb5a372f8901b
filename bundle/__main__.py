"""``python -m bundle``: verify, describe, pack, unpack and sign a bundle with NumPy and pydantic only.

Exit codes: 0 good; 2 bad input (an altered bundle, a hostile archive); 3 a library that a signature needs is missing;
4 a fault of this program.
"""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from bundle.base.arguments import Parser, within
from bundle.base.strict_json import dumps
from bundle.base.terminal import exit_status, print_answer
from bundle.base.version import version_text
from bundle.schema import SCHEMAS, schema_text
from bundle.transport import commands
from bundle.transport.archive import MAX_BYTES
from bundle.transport.commands import Answer

Rows: TypeAlias = "argparse._SubParsersAction[Parser]"
EXAMPLES = """\
examples:
  python -m bundle verify build/default/jetson --key release.pub
  python -m bundle pack build/default/jetson --out default-jetson.zip
  python -m bundle unpack default-jetson.zip --out default-jetson --key release.pub
"""


SUMMARIES = {
    "verify": "hash every file of a bundle and refuse, by name, one that was altered",
    "info": "say what a bundle holds: tasks, variants, the engine, budgets",
    "pack": "write a bundle as one archive, the same bytes each time",
    "unpack": "unpack an archive, complete and verified, or not at all",
    "sign": "sign a bundle with a private key",
    "keygen": "make a pair of keys: KEY signs, KEY.pub checks",
    "schema": "print the JSON Schema of a format",
}


@exit_status()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    parser = Parser(
        prog="python -m bundle",
        description="What one does with a bundle on any machine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=version_text())
    add_commands(parser.add_subparsers(dest="command", required=True, metavar="COMMAND"), tuple(SUMMARIES))
    run(parser.parse_args(arguments))


def add_commands(rows: Rows, names: Iterable[str]) -> None:
    """Add the commands with these names to a command line; ``run`` runs them."""
    for name in names:
        row = rows.add_parser(
            name, help=SUMMARIES[name], description=f"{SUMMARIES[name][0].upper()}{SUMMARIES[name][1:]}."
        )
        row.add_argument("--json", action="store_true", help="print the answer as JSON")
        _add_arguments(name, row)


def run(given: argparse.Namespace) -> None:
    """Run a command that ``add_commands`` added, and print its answer."""
    answer = _answer(given)
    print_answer(dumps(answer.value) if given.json else answer.text)


def _add_arguments(name: str, row: argparse.ArgumentParser) -> None:
    if name in ("verify", "info", "pack", "sign"):
        row.add_argument("bundle", type=Path, help="a bundle: build/<model>/<target>")
    if name == "unpack":
        row.add_argument("archive", type=Path, help="a file that pack wrote")
        row.add_argument(
            "--max-bytes",
            type=within(1, "bundle_bytes", int),
            default=MAX_BYTES,
            help="refuse more than this (default: 2 GiB)",
        )
    if name in ("pack", "unpack"):
        text = "the archive to write (default: beside the bundle)" if name == "pack" else "the folder to write"
        row.add_argument("--out", type=Path, required=name == "unpack", help=text)
    if name in ("verify", "unpack"):
        row.add_argument("--key", type=Path, help="refuse a bundle that is not signed with this public key")
    if name == "sign":
        row.add_argument("--key", type=Path, required=True, help="the private key to sign with")
    if name == "keygen":
        row.add_argument("path", type=Path, metavar="KEY", help="the private key to write; KEY.pub is written too")
    if name == "schema":
        row.add_argument("format", choices=sorted(SCHEMAS), help="which file of a bundle")


def _answer(given: argparse.Namespace) -> Answer:
    if given.command == "verify":
        return commands.verify(given.bundle, given.key)
    if given.command == "info":
        return commands.info(given.bundle)
    if given.command == "pack":
        return commands.pack(given.bundle, given.out)
    if given.command == "unpack":
        return commands.unpack(given.archive, given.out, given.key, given.max_bytes)
    if given.command == "sign":
        return commands.sign(given.bundle, given.key)
    if given.command == "keygen":
        return commands.make_keys(given.path)
    text = schema_text(given.format)
    return Answer(text, json.loads(text))


if __name__ == "__main__":
    main()
