"""``tdss lint``: what TensorRT would reject, get wrong or run slowly in an ONNX file of any origin."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import typer

from bundle.base.errors import ConfigError
from bundle.base.terminal import print_answer
from bundle.formats.tensorrt_checks import Finding, LintReport
from compile.tensorrt_checks.findings import Accepted
from targets.table import TARGETS
from targets.table import target as find_target

SHOWN = 3


def main(
    model: Annotated[Path, typer.Argument(help="An ONNX file; its external data is beside it.")],
    target: Annotated[str, typer.Option(help="Whose rules: jetson is TensorRT.")] = "jetson",
    tensorrt: Annotated[
        Literal["10.3", "10.13", "10.16", "11"],
        typer.Option(help="Whose rules: TensorRT 10.3 is JetPack 6's, 10.16 and 11 are JetPack 7.2's."),
    ] = "10.3",
    accept: Annotated[
        str,
        typer.Option(
            help=r"Accepted warnings: a TOML file (\[\[accept]] rule, node, reason, measured), or the target's name for ours."
        ),
    ] = "",
    every: Annotated[bool, typer.Option("--all", help="Print every finding, not the first ones of each rule.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 on a warning that was not accepted, too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Say what TensorRT would reject, get wrong or run slowly in an ONNX file, and how to fix it.

    Exit codes: 0 no error, 1 errors were found, 2 the file cannot be read.

    Example: tdss lint model.onnx --json
    """
    from compile.tensorrt_checks.run import lint_file

    _require_rules(target)
    report = lint_file(model, _accepted(accept), tensorrt)
    if as_json:
        print_answer(report.model_dump_json())
    else:
        print_answer("\n".join(lines(report, sys.maxsize if every else SHOWN)))
    if report.errors or (strict and report.warnings):
        raise SystemExit(1)


def _accepted(name: str) -> tuple[Accepted, ...]:
    from compile.tensorrt_checks.check_build import ACCEPTED
    from compile.tensorrt_checks.rules.accepted import read_accepted

    return () if not name else read_accepted(TARGETS[name].folder / ACCEPTED if name in TARGETS else Path(name))


def _require_rules(name: str) -> None:
    if find_target(name).profile.rules == "none":
        raise ConfigError(
            f"there are no rules for the target {name}",
            expected=f"one of {', '.join(row for row in TARGETS if TARGETS[row].profile.rules != 'none')}",
            got=name,
            where="--target",
            fix="leave --target out",
        )


def lines(report: LintReport, shown: int) -> Iterator[str]:
    """Yield the report as text, at most ``shown`` findings of a rule."""
    from compile.tensorrt_checks.rules.table import RULES

    yield (
        f"{report.graph}: opset {report.opset}, {report.nodes} nodes, {report.quantizers} of them QuantizeLinear; "
        f"rules of TensorRT {report.tensorrt}"
    )
    for rule in RULES:
        findings = [finding for finding in report.findings if finding.rule == rule.name]
        if findings:
            number = f" (rule {rule.number})" if rule.number else ""
            yield f"\n{rule.severity} {rule.name}{number}: {rule.says}; {len(findings)} found"
            yield from _group(findings, shown)
    for name in report.unused:
        yield f"\naccepted but not found: {name}"
    counts = (len(report.errors), len(report.warnings), len(report.accepted))
    yield "\n{} errors, {} warnings, {} more accepted by name".format(*counts)


def _group(findings: list[Finding], shown: int) -> Iterator[str]:
    """Yield a rule's findings; an effect that several nodes share is printed once."""
    groups: dict[tuple[str, str, str | None], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((_first(finding.effect), finding.fix, finding.accepted), []).append(finding)
    for (_, fix, accepted), same in list(groups.items())[:shown]:
        for finding in same[:shown]:
            yield f"  {finding.node}" + (f"  [{finding.tensor}]" if finding.tensor else "")
        if len(same) > shown:
            yield f"  ... and {len(same) - shown} more (--all)"
        yield f"    TensorRT: {same[0].effect}"
        yield f"    accepted: {accepted}" if accepted else f"    fix: {fix}"
    if len(groups) > shown:
        yield f"  ... and {len(groups) - shown} more kinds (--all)"


def _first(effect: str) -> str:
    """Return what two findings of one kind share of their effect: its words without names and numbers."""
    return " ".join(word for word in effect.split() if word.isalpha())
