"""Lint: read an ONNX file of any origin and say where TensorRT would reject it, get it wrong, or be slow."""

from collections.abc import Sequence
from pathlib import Path

import onnx_ir as ir

from bundle.formats.tensorrt_checks import Finding, LintReport
from compile.graphs.quantizers import QUANTIZE
from compile.graphs.read_onnx import flatten, read_model
from compile.tensorrt_checks.findings import Accepted
from compile.tensorrt_checks.operators_10_3 import VERSION
from compile.tensorrt_checks.rules.table import RULES
from compile.tensorrt_checks.rules.view import View


def lint_file(path: Path, accepted: Sequence[Accepted] = ()) -> LintReport:
    """Read an ONNX file, with external data where it has some, and check every rule.

    Weights are mapped, not read, unless a rule needs their values: a file of many gigabytes is no trouble.

    Raises:
        GraphError: the file cannot be read as ONNX.
    """
    return lint_model(read_model(path), path.name, accepted)


def lint_model(model: ir.Model, name: str, accepted: Sequence[Accepted] = ()) -> LintReport:
    """Check every rule on a model, whose functions are inlined and shapes inferred in place."""
    view = view_of(model, name)
    findings = [_accept(finding, accepted) for rule in RULES for finding in rule.check(view)]
    used = {one for one in accepted if any(one.covers(finding) for finding in findings)}
    return LintReport(
        graph=name,
        tensorrt=VERSION,
        opset=view.opset,
        nodes=len(view.nodes),
        quantizers=sum(1 for _ in view.each(QUANTIZE)),
        findings=tuple(findings),
        unused=tuple(f"{one.rule}: {one.node}" for one in accepted if one not in used),
    )


def view_of(model: ir.Model, name: str = "the model") -> View:
    """Inline a model's functions, infer its shapes as far as they can be, and list the nodes of all its graphs.

    Raises:
        GraphError: a function calls itself, or takes a graph.
    """
    model = flatten(model, name)
    imports = model.graph.opset_imports
    return View(model=model, nodes=tuple(model.graph.all_nodes()), opset=imports.get("", imports.get("ai.onnx", 0)))


def _accept(finding: Finding, accepted: Sequence[Accepted]) -> Finding:
    one = next((one for one in accepted if one.covers(finding)), None)
    return finding if one is None else finding.model_copy(update={"accepted": one.reason})
