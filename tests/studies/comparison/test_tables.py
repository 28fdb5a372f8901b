"""The tables of the benchmark: made from its JSON, and honest about what was not run or not in the same run."""

from pathlib import Path

import pytest

from bundle.base.errors import ArtifactError
from bundle.judging.timing import Load, Percentiles
from studies.comparison.plot import draw
from studies.comparison.tables import Comparison, Row, markdown, read_comparison

LOAD = Load(cpus=2, before=(0.5, 0.4, 0.3), after=(2.5, 1.0, 0.5), steal=0.0)


def timed(ms: float) -> Percentiles:
    return Percentiles(p10_ms=ms * 0.9, p50_ms=ms, p90_ms=ms * 1.1, p99_ms=ms * 1.2, runs=5)


def row(name: str, ms: float, group: str = "default", model: str = "default", **more: object) -> Row:
    base = Row(group=group, model=model, name=name, label=name.replace("-", " "), key="k", load=LOAD, computes="bf16")
    return base.model_copy(update={"latency": timed(ms), "sittings": ("s",), **more})


ROWS = (
    row("plain", 30.0, drops={"depth": 0.012, "edge": float("nan")}, bytes=17_600_000, peak_mib=512.4),
    row("ours-int8", 15.0, drops={"depth": -0.001, "edge": -1e-6}, bytes=9_000_000, peak_mib=300.0),
    Row(group="default", model="default", name="torch-compile", label="torch.compile", key="", reason="no compiler"),
    row("plain", 200.0, "swin-t", "swin-t", sqnr_db={"depth": 31.26, "edge": float("nan")}),
    row("ours-int8", 10.0, "scaling", "224, 1 task"),
    row("ours-int8", 12.0, "scaling", "224, 6 tasks"),
    row("ours-int8", 50.0, "scaling", "448, 1 task"),
    row("ours-int8", 75.0, "scaling", "448, 6 tasks"),
)
FOUND = Comparison(
    command="tdss bench",
    machine="a CPU",
    isa=("avx2", "avx512_vnni"),
    cpus=2,
    threads=2,
    rounds=(25, 9, 15),
    warmup=3,
    burst=3,
    images=148,
    tools={"openvino": "1"},
    rows=ROWS,
)


def lines(found: Comparison) -> list[str]:
    return markdown(found).splitlines()


def test_a_row_says_latency_ratio_size_memory_and_drops() -> None:
    assert "|  | floats in | ms | p10 … p90 | ÷ ours int8 | MB | peak MiB | depth | edge |" in lines(FOUND)
    assert "| plain | bf16 | 30.00 | 27.00 … 33.00 | 2.00 | 17.6 | 512 | 1.20 | – |" in lines(FOUND)
    assert "| ours int8 | bf16 | 15.00 | 13.50 … 16.50 | 1.00 | 9.0 | 300 | -0.10 | 0.00 |" in lines(FOUND)
    assert "| torch.compile | not run: no compiler |  |  |  |  |  |  |  |" in lines(FOUND)


def test_machine_isa_load_and_command_stand_there() -> None:
    text = markdown(FOUND)
    assert "`tdss bench`: a CPU, 2 CPUs, avx2, avx512_vnni; openvino 1. 2 threads" in text
    assert "Load average 0.5 before and 2.5 after." in text and "148 labelled images" in text


def test_without_labels_the_ratio_stands_in_the_drops_place() -> None:
    assert any(line.startswith("| plain | bf16 | 200.00 |") and line.endswith("| 31.3 | = |") for line in lines(FOUND))
    assert "signal-to-noise ratio in dB" in markdown(FOUND)


def test_scaling_is_over_the_first_model_of_the_same_size() -> None:
    assert "| ms (÷ first) | 224, 1 task | 224, 6 tasks | 448, 1 task | 448, 6 tasks |" in lines(FOUND)
    assert "| ours int8 | 10.00 (1.00) | 12.00 (1.20) | 50.00 (1.00) | 75.00 (1.50) |" in lines(FOUND)


def test_a_row_of_another_sitting_and_a_busy_machine_are_marked() -> None:
    late = ROWS[0].model_copy(update={"sittings": ("later",), "disturbed": ("load 6.0 on 2 CPUs",)})
    text = markdown(FOUND.model_copy(update={"rows": (late, ROWS[1], row("nncf", 20.0))}))
    assert "| plain † | bf16 |" in text and "| nncf | bf16 |" in text
    assert "† timed in another run of the command than most rows" in text and "load 6.0 on 2 CPUs" in text
    assert "†" not in markdown(FOUND)


def test_what_is_written_is_read_and_what_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(FOUND.model_dump_json(indent=1))
    assert markdown(read_comparison(path)) == markdown(FOUND)
    path.write_text(path.read_text()[:-20])
    for broken in (path, tmp_path / "none.json"):
        with pytest.raises(ArtifactError, match="no result of the benchmark"):
            read_comparison(broken)


def test_the_picture_has_a_panel_for_each_group(tmp_path: Path) -> None:
    from PIL import Image

    draw(FOUND, tmp_path / "bench.png")
    with Image.open(tmp_path / "bench.png") as picture:
        assert picture.width > 2 * picture.height
    draw(FOUND.model_copy(update={"rows": ROWS[2:3]}), tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()
