"""The table of docs/studies/quantization.md on quantizer placements, made from what ``studies.placement`` stored."""

from collections.abc import Sequence

from targets.jetson.placement import Placement, Plan

SECTION = "placement"
TITLES = {
    "f16": "FP16",
    "as_calibrated": "as NNCF leaves it",
    "float_attention": "attention in float",
    "float_query": "query in float, key rounded",
    "float_attention_and_heads": "attention and heads in float",
    "float_query_and_heads": "query and heads in float, key rounded",
    "int8_attention": "attention in INT8 (plan only)",
}


def table(placement: Placement) -> str:
    """Return the plans of FP16 and of every candidate, a row each; the candidate that is on is bold."""
    head, rule = ["candidate"], ["--"]
    for plan in placement.f16:
        head += [f"{plan.model}: fused", "kernels", "MB", "with weights", "INT8", "SQNR"]
        rule += ["--"] * 6
    rows = [_row(TITLES["f16"], placement.f16)]
    for candidate in placement.rows:
        title = TITLES[candidate.name]
        rows.append(_row(f"**{title}**" if candidate.on else title, candidate.plans))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows)) + f"\n\n{_built(placement)}\n"


def _row(title: str, plans: Sequence[Plan]) -> list[str]:
    cells = [title]
    for plan in plans:
        without = plan.moved_mb - plan.weight_mb
        cells += [f"{plan.fused} of {plan.attentions}", str(plan.kernels), f"{without:.1f}", f"{plan.moved_mb:.1f}"]
        cells += [f"{100 * plan.int8_share:.1f} %", "" if plan.sqnr_db is None else f"{plan.sqnr_db:.1f} dB"]
    return cells


def _built(placement: Placement) -> str:
    return f"Made by `{placement.command}`.\nBuilder: {placement.builder}."
