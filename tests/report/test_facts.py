import json
from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.formats.fold import read_fold, read_fold_settings
from bundle.judging.choice import read_bench
from report.bundle_page.build import rule_rows
from tests.report.made import BENCH, FOLD, manifest


def write(folder: Path, name: str, value: object) -> Path:
    (folder / name).write_text(json.dumps(value))
    return folder


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_bench(tmp_path) is None and read_fold(tmp_path) is None


def test_the_six_keys_of_bench(tmp_path: Path) -> None:
    bench = read_bench(write(tmp_path, "bench.json", BENCH))
    assert bench is not None and bench.model_dump(include=set(BENCH)) == BENCH


@pytest.mark.parametrize("spoil", [{"runs": -1}, {"eager_ms": "fast"}, {"surprise": 1}, {"schema_version": 1}])
def test_a_wrong_bench_is_refused_by_name(tmp_path: Path, spoil: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match=r"bench\.json cannot be read") as caught:
        read_bench(write(tmp_path, "bench.json", {**BENCH, **spoil}))
    assert next(iter(spoil)) in caught.value.got


def test_a_fold_that_is_no_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"fold\.json cannot be read"):
        read_fold(write(tmp_path, "fold.json", {"lines": FOLD}))


def test_decisions_are_summed_by_rule(tmp_path: Path) -> None:
    other = {**FOLD[0], "rule": "batch norm", "exact": False, "max_abs_error": 0.25}
    lines = read_fold(write(tmp_path, "fold.json", [*FOLD, other, {**other, "max_abs_error": None}]))
    assert lines is not None
    gates, norm = rule_rows(lines)
    assert (gates.name, gates.folded, gates.kept) == ("static gates", "1", "1")
    assert (norm.folded, norm.kept, norm.error) == ("2 (2 approximate)", "0", "2.5e−01")


def test_the_proof_is_read_from_the_settings() -> None:
    proof = {"images": 2, "float64": {"depth": 1e-14}, "float32": {"depth": 1e-7}}
    found = read_fold_settings(manifest({}, settings={"fold": {"mode": "cost", "proof": proof}}))
    assert found is not None and found.proof.float64 == {"depth": 1e-14}
    assert read_fold_settings(manifest({})) is None
    with pytest.raises(ArtifactError, match="fold's settings"):
        read_fold_settings(manifest({}, settings={"fold": {"mode": "all"}}))
