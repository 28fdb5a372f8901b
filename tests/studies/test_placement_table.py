"""The table of quantizer placements in the documents is the one that the stored plans give."""

from pathlib import Path

from studies.generated_section import opening_mark
from studies.placement_table import SECTION, table
from targets.jetson import placement
from targets.jetson.placement import FILE, Placement

ROOT = Path(__file__).parents[2]
STORED = Placement.model_validate_json((Path(placement.__file__).parent / FILE).read_bytes())


def test_the_documents_show_the_stored_plans() -> None:
    page = (ROOT / "docs" / "studies" / "quantization.md").read_text(encoding="utf-8")
    section = page.partition(opening_mark(SECTION))[2].partition(f"<!-- /{SECTION} -->")[0]
    assert section.split() == table(STORED).split()


def test_what_is_on_fuses_as_many_attentions_as_fp16_with_fewer_kernels_and_bytes() -> None:
    [on] = [row for row in STORED.rows if row.on]
    for half, plan in zip(STORED.f16, on.plans, strict=True):
        assert plan.model == half.model and plan.fused == half.fused == half.attentions
        assert plan.kernels < half.kernels and plan.moved_mb < half.moved_mb
