"""Lint: read an ONNX file of any origin and say where TensorRT would reject it, get it wrong, or be slow."""

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding, LintReport
from compile.graphs.quantizers import QUANTIZE
from compile.graphs.read_onnx import flatten, read_model
from compile.tensorrt_checks.findings import Accepted
from compile.tensorrt_checks.operators import OLDEST, Table, table_of
from compile.tensorrt_checks.rules.table import RULES
from compile.tensorrt_checks.rules.view import View


def lint_file(path: Path, accepted: Sequence[Accepted] = (), version: str = OLDEST) -> LintReport:
    """Read an ONNX file, with external data where it has some, and check every rule of a version of TensorRT.

    Weights are mapped, not read, unless a rule needs their values: a file of many gigabytes is no trouble.

    Raises:
        GraphError: the file cannot be read as ONNX.
    """
    return lint_model(read_model(path), path.name, accepted, version)


def lint_model(model: ir.Model, name: str, accepted: Sequence[Accepted] = (), version: str = OLDEST) -> LintReport:
    """Check every rule on a model, whose functions are inlined and shapes inferred in place."""
    view = view_of(model, name, version)
    findings = [_accept(finding, accepted) for rule in RULES for finding in rule.check(view)]
    used = {one for one in accepted if any(one.covers(finding) for finding in findings)}
    return LintReport(
        graph=name,
        tensorrt=version,
        opset=view.opset,
        nodes=len(view.nodes),
        quantizers=sum(1 for _ in view.each(QUANTIZE)),
        findings=tuple(findings),
        unused=tuple(f"{one.rule}: {one.node}" for one in accepted if one not in used),
    )


def view_of(model: ir.Model, name: str = "the model", version: str = OLDEST) -> View:
    """Inline a model's functions, infer its shapes as far as they can be, and list the nodes of all its graphs.

    Raises:
        GraphError: a function calls itself, or takes a graph.
    """
    table, functions = table_of(version), tuple(function.name for function in model.functions.values())
    untyped = tuple(str(value.name) for value in model.graph.outputs if value.type is None)
    _forget_domains(model, table)
    model = flatten(model, name)
    imports = model.graph.opset_imports
    opset = imports.get("", imports.get("ai.onnx", 0))
    return View(model, tuple(model.graph.all_nodes()), opset, table, functions, untyped)


def _forget_domains(model: ir.Model, table: Table) -> None:
    """Read a node of any domain as ONNX's own of that name, as the parser does, unless it calls a function."""
    called = {(function.domain, function.name) for function in model.functions.values()}
    parts: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    for part in parts:
        for node in part.all_nodes():
            if node.op_type in table.operators and (node.domain, node.op_type) not in called:
                node.domain = ""


def _accept(finding: Finding, accepted: Sequence[Accepted]) -> Finding:
    one = next((one for one in accepted if one.covers(finding)), None)
    return finding if one is None else finding.model_copy(update={"accepted": one.reason})
