import hashlib
from pathlib import Path

import pytest

from bundle.formats.fold import FoldPart, FoldProof, FoldRecord, FoldSettings
from bundle.formats.manifest import Bundle, load_bundle
from bundle.judging.choice import Candidate, Choice
from bundle.judging.regression_report import RegressionReport
from bundle.judging.sentences import why_shipped
from report.bundle_page import build as built
from report.bundle_page.page import render
from tests.report import made

LINES = tuple(FoldRecord.model_validate(line) for line in made.FOLD)


CANDIDATES = tuple(
    Candidate(name=name, latency_ms=100.0, verdicts={"depth": "pass"}, accepted=True, standing="within")
    for name in ("f32", "int8")
)
CHOICE = Choice(shipped="f32", rule="fastest", fastest="f32", eager_ms=128.0, candidates=CANDIDATES)


def test_a_deferred_engine_says_why() -> None:
    deferred = made.manifest({}, engine={"status": "deferred", "reason": "TensorRT is not here"})
    assert built.engine_sentence(deferred, None).endswith("deferred to the device: TensorRT is not here")
    assert "deferred" not in built.engine_sentence(made.manifest({}), None)


def test_the_choice_of_a_variant_has_its_reason() -> None:
    chosen = made.manifest({}, settings={"choice": CHOICE.model_dump(mode="json")})
    assert built.engine_sentence(chosen, CHOICE).startswith(f"Shipped: f32, {why_shipped(CHOICE)}.")


def test_an_earlier_bundle_with_a_sentence_for_its_choice_is_shown() -> None:
    earlier = made.manifest({}, settings={"choice": "the fastest variant within its budgets"})
    assert built.engine_sentence(earlier, None).startswith("Shipped: f32. ")


def test_what_a_device_chose_instead_is_said() -> None:
    choice = CHOICE.model_copy(update={"shipped": "int8", "rule": "none_within"})
    sentence = built.engine_sentence(made.manifest({}), choice)
    assert f"Chosen where it was judged: int8, {why_shipped(choice)}." in sentence


PROOF = FoldProof(images=2, float64={"depth": 2e-14, "edge": 3e-15}, float32={"depth": 1e-7, "edge": 0.0})


def test_the_fold_is_summed_up() -> None:
    view = built.fold_view(LINES, None)
    assert view.summary == "1 of 2 decisions folded, 1 of them exact. "
    [rule] = view.rules
    assert (rule.folded, rule.kept, rule.error) == ("1", "1", "1.4e−12")
    assert [line.exactness for line in view.lines] == ["exact, error 1.4e−12", ""]
    assert [line.params for line in view.lines] == ["12 k → 10 k", "12 k"]


def test_the_graph_s_own_costs_are_summed_over_its_parts() -> None:
    """A decision's costs are those of the nodes that compute one value: their sum is no cost of the graph."""
    parts = tuple(
        FoldPart(part=name, macs_before=9, macs_after=5, bytes_before=1, bytes_after=1, params_before=3, params_after=4)
        for name in ("backbone", "adapter")
    )
    view = built.fold_view(LINES, FoldSettings(mode="cost", proof=PROOF, parts=parts))
    assert view.summary.endswith("The graph: 18 → 10 MACs, 6 → 8 parameters.")


def test_an_approximate_fold_is_called_so() -> None:
    view = built.fold_view((LINES[0].model_copy(update={"exact": False}),), None)
    assert view.rules[0].folded == "1 (1 approximate)" and view.lines[0].exactness.startswith("approximate")


def test_the_proof_is_the_worst_output() -> None:
    view = built.fold_view(LINES, FoldSettings(mode="cost", proof=PROOF))
    assert "2 real images" in view.proof
    assert view.proof.endswith("is 2.0e−14 in float64 and 1.0e−07 in float32.")


def test_no_fold_says_so() -> None:
    assert built.fold_view(None, None).summary == built.NO_FOLD
    assert "nothing to decide" in built.fold_view((), None).summary


def opened(files: dict[str, str]) -> Bundle:
    return Bundle(folder=Path(), manifest=made.manifest(files), content=b"{}")


def test_the_provenance_names_hashes_device_and_tools() -> None:
    report = RegressionReport.model_validate(made.regression())
    groups = {group.title: dict(group.rows) for group in built.provenance(opened({"a.bin": "0" * 64}), report)}
    assert groups["Where it was judged"]["ISA"] == "avx2"
    assert groups["Where it was judged"]["executed on"] == "device"
    assert groups["What it is"]["checkpoint"] == "ab" * 32
    assert groups["What it is"]["manifest sha256"] == hashlib.sha256(b"{}").hexdigest()
    assert groups["What it is"]["inputs"] == "image: float32 [1, 3, 40, 56]"
    assert groups["Files (sha256)"] == {"a.bin": "0" * 64}
    assert groups["Settings"] == {"threads": "2"}
    assert groups["Parent artifacts (sha256)"] == {"quantized": "cd" * 32}
    session = report.model_copy(update={"session": {"device": "CPU", "HINT": "bf16"}})
    titles = [title for title, _ in built.provenance(opened({}), session)[0].rows]
    assert len(titles) == len(set(titles)) and "HINT" in titles
    unjudged = built.provenance(opened({}), None)
    assert "Where it was judged" not in [group.title for group in unjudged]


@pytest.mark.slow
def test_parts_are_drawn_on_one_scale_and_summed(tmp_path: Path) -> None:
    part = {"bytes_before": 10, "bytes_after": 8, "params_before": 5, "params_after": 4}
    parts = [
        {"part": "backbone", "macs_before": 3_000_000, "macs_after": 3_000_000, **part},
        {"part": "adapters", "macs_before": 1_000_000, "macs_after": 200_000, **part},
    ]
    backbone, adapters, whole = built.part_rows(tuple(FoldPart.model_validate(one) for one in parts))
    assert (backbone.macs, adapters.macs, whole.macs) == ("3 M", "1 M → 200 k", "4 M → 3.2 M")
    assert 'width="25.0%"' in adapters.svg and 'width="5.0%"' in adapters.svg and 'width="80.0%"' in whole.svg
    assert built.part_rows(()) == ()
    settings = {"fold": {"mode": "auto", "proof": {"images": 1, "float64": {}, "float32": {}}, "parts": parts}}
    page = render(load_bundle(made.make(tmp_path / "b", made.regression(), settings=settings))).read_text(
        encoding="utf-8"
    )
    assert "Cost by part" in page and "1 M → 200 k" in page
