"""The command line of ``tdss-runtime.pyz``: what a device does with a bundle, or with its archive.

Exit codes: 0 good; 1 a task is not shown to be within its budget, or a test failed; 2 bad input; 3 the device, a runtime or a
package is missing or failed; 4 a fault of this program.
"""

import argparse
from pathlib import Path

import predict.command as predicting
import targets.__main__ as judging
from bundle import __main__ as bundles
from bundle.base.arguments import Parser
from bundle.base.terminal import exit_status
from bundle.base.version import version_text
from device_runtime.suite import run_suite

CHECKS = ("verify", "info", "unpack")  # commands of python -m bundle
EXAMPLES = """\
examples:
  python3 tdss-runtime.pyz judge default-jetson.zip --execute device   verify, unpack, build, time, judge, choose
  python3 tdss-runtime.pyz test default-jetson -q --junitxml out.xml   the regression suite; options of pytest go last
  python3 tdss-runtime.pyz predict default-jetson video.mp4 --out seen         what each task sees, as pictures and videos
  python3 tdss-runtime.pyz verify default-jetson --key release.pub
"""


@exit_status()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    given = _parser().parse_args(arguments)
    if given.command == "judge":
        judging.judge(given)
    elif given.command == "predict":
        predicting.predict(predicting.asked(given))
    elif given.command == "test":
        run_suite(given.bundle, given.options)
    else:
        bundles.run(given)


def _parser() -> Parser:
    parser = Parser(
        prog="tdss-runtime.pyz",
        description="Judge a compiled bundle on this device.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=version_text())
    rows = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    judging.add_arguments(
        rows.add_parser("judge", help="decide which variant this device runs", description=judging.DESCRIPTION)
    )
    text = "run the regression suite: one test per task and check"
    row = rows.add_parser("test", help=text, description=f"{text[0].upper()}{text[1:]}.")
    row.add_argument("bundle", type=Path, help="a bundle's folder, or its archive NAME.zip: unpacked as NAME beside it")
    row.add_argument("options", nargs=argparse.REMAINDER, help="--key PUB, --variant NAME, -q and others of pytest")
    predicting.add_arguments(
        rows.add_parser(
            "predict", help="write what each task sees in images or a video", description=predicting.DESCRIPTION
        )
    )
    bundles.add_commands(rows, CHECKS)
    return parser
