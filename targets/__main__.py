"""``python -m targets BUNDLE``: decide on this machine which variant of a bundle to run, and judge it.

It verifies every file, builds what the device loads (once), judges every task of each variant and times every variant. Then
it chooses the fastest within its budgets, and writes the results into the bundle and one small file to send back. An archive
is unpacked first. Exit codes: 0 good; 1 a task is not shown to be within its budget; 2 bad input; 3 the device or a runtime
is missing or failed; 4 a fault of this program.
"""

import argparse
from pathlib import Path

from bundle.base.arguments import Parser, within
from bundle.base.errors import InputError
from bundle.base.terminal import exit_status, print_answer, say
from bundle.base.version import version_text
from bundle.formats.contents import ENGINES
from bundle.formats.engines import engine_files
from bundle.formats.manifest import Bundle
from bundle.formats.outputs import require_container
from bundle.judging.checks import disagreeing, require_agreement, require_passed, task_sentence
from bundle.judging.harness import Options
from bundle.judging.regression_report import verdicts_of
from bundle.judging.sentences import images_of, why_candidate, why_shipped
from bundle.judging.standing import standing, summary
from bundle.judging.timing import busy
from bundle.transport.archive import unpack_beside
from bundle.transport.commands import coverage_lines
from bundle.transport.signature import verify_trusted
from targets.base import RunConfig
from targets.decide import Decision, Plan, Protocol, decide, latency_line
from targets.judge_options import add_options
from targets.sendback import prepare_sendback, sendback_path, write_sendback

DESCRIPTION = "Choose, judge and time the variants of a bundle on this machine."
EXAMPLES = """\
examples:
  python -m targets default-jetson.zip                          on a Jetson; 'make target=jetson bundle=default-jetson.zip' is the same
  python -m targets build/default/jetson --execute emulation    on a host: accuracy, exact per operator; no time
  python -m targets build/default/intel --device GPU --tool-seconds 10 --send arc.zip
"""


@exit_status()
def main(arguments: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    parser = Parser(
        prog="python -m targets",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("-V", "--version", action="version", version=version_text())
    add_arguments(parser)
    judge(parser.parse_args(arguments))


def judge(given: argparse.Namespace) -> None:
    """Decide on this machine as the options of ``add_arguments`` say, and print the answer."""
    if given.bundle.is_file():
        given.bundle = unpack_beside(given.bundle, key=given.key)
    plan = _plan(given)
    prepare_sendback(given.send or sendback_path(plan.bundle, "device"), given.bundle)
    decision = decide(plan, say)
    sent = write_sendback(given.bundle, given.send or sendback_path(plan.bundle, decision.report.device.name))
    print_answer(_json(decision) if given.json else _text(decision, sent))
    require_passed(decision.report)
    require_agreement(decision.report)


def _plan(given: argparse.Namespace) -> Plan:
    run = RunConfig(
        device=given.device,
        threads=given.threads,
        model_cache=given.model_cache or "off",
        workspace_mib=given.workspace,
        builder=given.builder,
    )
    opened = verify_trusted(given.bundle, given.key)
    if given.target not in (None, opened.manifest.target):
        raise InputError(
            "the bundle was built for another target",
            expected=given.target,
            got=opened.manifest.target,
            where=str(given.bundle),
            fix=f"make target={opened.manifest.target} bundle={given.bundle}",
        )
    if given.model_cache is not None:
        require_container(given.model_cache)
    if given.key is not None:
        _say_unsigned(opened)
    return Plan(
        bundle=opened,
        run=run,
        execute=given.execute,
        options=Options(allow_inconclusive=given.allow_inconclusive),
        protocol=Protocol(runs=given.runs, warmup=given.warmup, tool_seconds=given.tool_seconds),
        only=tuple(given.variant),
    )


def _say_unsigned(bundle: Bundle) -> None:
    """Say which files the signature does not cover; engines among them, which are executable code."""
    for line in coverage_lines(bundle):
        say(line)
    if engine_files(bundle.folder):
        say(f"delete {bundle.folder / ENGINES} to build the engines anew")


def _text(decision: Decision, sent: Path) -> str:
    report, lines = decision.report, []
    lines += [latency_line(name, row) for name, row in decision.bench.variants.items()]
    lines += [
        f"{candidate.name:12} {why_candidate(decision.choice, candidate)}" for candidate in decision.choice.candidates
    ]
    lines += [f"warning: {busy(decision.bench.disturbed)}"] if decision.bench.disturbed else []
    lines += [f"chosen: {decision.choice.shipped}, {why_shipped(decision.choice)}"]
    lines += [task_sentence(report, name) for name in report.tasks]
    good = report.passed and not disagreeing(report)
    verdicts = verdicts_of(report)
    verdict = "FAIL" if not good else "PASS" if standing(verdicts) == "within" else "UNDECIDED, ALLOWED"
    where = f"{report.device.name}, {report.precision}, {report.executed_on}, {images_of(report)}"
    if report.executed_on == "device" and "clocks" in decision.bench.machine:
        where += f"; clocks: {decision.bench.machine['clocks']}"
    lines.append(summary(verdicts, accepted=report.passed))
    return "\n".join([*lines, f"{verdict}: {where}", f"send this file back: {sent}"]) + "\n"


def _json(decision: Decision) -> str:
    return decision.report.model_dump_json(by_alias=True, indent=2, exclude={"arrays"}) + "\n"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the bundle and the options of ``judge`` to a command line."""
    add = parser.add_argument
    add(
        "bundle",
        type=Path,
        help="a bundle, build/<model>/<target>, or its archive NAME.zip: unpacked as NAME beside it",
    )
    add("--target", metavar="NAME", help="refuse a bundle that was built for another one (default: any)")
    add_options(add, "execute", "device", "threads", "allow-inconclusive", "key")
    add("--variant", action="append", default=[], metavar="NAME", help="only this one; may be given again")
    add("--runs", type=within(1, "count", int), default=100, help="rounds that are timed (default: 100)")
    add("--warmup", type=within(0, "count", int), default=10, help="rounds before them (default: 10)")
    add(
        "--tool-seconds",
        type=within(0, "seconds", int),
        default=0,
        help="also run benchmark_app or trtexec that long (default: no)",
    )
    add("--model-cache", type=Path, metavar="DIR", help="keep what OpenVINO compiles here")
    add(
        "--workspace",
        type=within(1, "workspace_mib", int),
        default=2048,
        metavar="MIB",
        help="TensorRT's scratch memory (default: 2048)",
    )
    add("--builder", choices=("onnx", "torch-tensorrt"), default="onnx", help="who made the engine (default: onnx)")
    add("--send", type=Path, metavar="FILE", help="the file to send back (default: beside the bundle)")
    add("--json", action="store_true", help="print regression.json instead of text")


if __name__ == "__main__":
    main()
