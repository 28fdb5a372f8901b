"""The decision on a device: several variants timed and judged, one chosen, the results written and sent back."""

import gc
import json
import weakref
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from bundle.base.errors import SessionFailed, TargetUnavailable
from bundle.formats.engines import write_engine_file
from bundle.formats.hash_files import with_hashes
from bundle.formats.manifest import BundleVariant, load_bundle, verify_bundle, write_manifest
from bundle.formats.results import read_result
from bundle.judging.choice import BENCH, CHOICE
from bundle.judging.harness import Options
from bundle.judging.regression_report import RESULT
from bundle.judging.resume import FOLDER
from bundle.judging.sentences import why_shipped
from bundle.tasks.kinds.depth import Depth
from bundle.transport.archive import pack
from bundle.transport.signature import make_keys, sign
from targets import __main__ as main_module
from targets import decide as decide_module
from targets.__main__ import main
from targets.base import Capabilities, ExecutedOn, Latency, RunConfig, Session, SessionInfo
from targets.decide import Decision, Plan, Protocol, decide
from tests.bundle.made import make_bundle
from tests.bundle.made import session as model_of

HELD: list["weakref.ref[np.ndarray]"] = []
SPEEDS = {"f32": 20.0, "f16": 10.0, "int8": 5.0}
ABLE = Capabilities(
    device="cuda:0", device_name="A Fake Orin", isa=("sm_87",), precisions=("f16",), runtime="fake 10.3"
)


class Fake(Session):
    """The made model with noise on depth, as slow as it says; a fake device."""

    inferred: ClassVar[list[str]] = []  # the precision of every session that was asked, in order
    script: ClassVar[dict[str, list[float]]] = {}  # by precision: the milliseconds of each call, over and over

    def __init__(self, folder: Path, name, noise: float, executed_on: ExecutedOn) -> None:
        manifest = load_bundle(folder).manifest
        info = SessionInfo(
            target="jetson", capabilities=ABLE, precision=name, executed_on=executed_on, settings={"x": "y"}
        )
        super().__init__(info, manifest.inputs, manifest.outputs)
        self.noise, self.calls = noise, 0

    def _infer(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.inferred.append(self.info.precision)
        if np.isinf(self.noise):
            raise RuntimeError("CUDA error 700")
        return model_of("raw", lambda name, raw: raw * (1 + self.noise) if name == "depth" else raw)(dict(feed))

    def timed(self, feed: Mapping[str, np.ndarray]) -> Latency:
        self.calls += 1
        first = 1000.0 if self.calls == 1 else 0.0  # what a warm-up is for
        steps = self.script.get(self.info.precision, [SPEEDS[self.info.precision]])
        total = steps[(self.calls - 2) % len(steps)]
        return Latency(total_ms=total + first, compute_ms=total - 1)

    def _close(self) -> None:
        self.noise = 0.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    opened = make_bundle(tmp_path / "made" / "jetson", count=12)
    variants = tuple(
        BundleVariant(name=name, precision=name, files=("f32.onnx",), recipe={"name": name}) for name in SPEEDS
    )
    changes = {"variants": variants, "target": "jetson", "name": "made"}
    write_manifest(opened.folder, opened.manifest.model_copy(update=changes))
    return opened.folder


def use(
    monkeypatch,
    folder: Path,
    noise: dict[str, float] | None = None,
    broken: tuple[str, ...] = (),
    executed_on: ExecutedOn = "device",
) -> None:
    """Let variants open as fakes; those in ``broken`` cannot be."""

    def open_session(bundle, *, execute, variant, run):
        if variant in broken:
            buffer = np.zeros(4)  # what a session had allocated when it failed
            HELD.append(weakref.ref(buffer))
            raise TargetUnavailable("the device ran out of memory", expected="a", got="killed", where="c", fix="d")
        return Fake(folder, variant, (noise or {}).get(variant, 0.0), executed_on), executed_on

    monkeypatch.setattr(decide_module, "open_session", open_session)


def run(folder: Path, only: tuple[str, ...] = ()) -> Decision:
    plan = Plan(
        bundle=verify_bundle(folder),
        run=RunConfig(),
        execute="auto",
        options=Options(resamples=200),
        protocol=Protocol(runs=5, warmup=1),
        only=only,
    )
    return decide(plan, lambda line: None)


def test_the_fastest_within_its_budgets_is_chosen_and_everything_is_written(monkeypatch, folder: Path) -> None:
    use(monkeypatch, folder, noise={"int8": 0.5})
    decision = run(folder)
    assert decision.choice.shipped == "f16"
    assert "int8 is faster (5.0 ms), but not shown to be within its budgets: depth regression" in why_shipped(
        decision.choice
    )
    rows = {row.name: row for row in decision.report.variants}
    assert [rows[name].passed for name in SPEEDS] == [True, True, False]
    assert rows["int8"].tasks["depth"].verdict == "regression" and decision.report.passed
    bench = json.loads(read_result(folder, BENCH))
    assert bench["variants"]["f16"]["with_copies"] == {
        "p10_ms": 10.0,
        "p50_ms": 10.0,
        "p90_ms": 10.0,
        "p99_ms": 10.0,
        "runs": 5,
    }
    assert bench["variants"]["f16"]["compute"]["p50_ms"] == 9.0 and bench["variants"]["f16"]["settings"] == {"x": "y"}
    assert (bench["shipped_ms"], bench["f32_compiled_ms"], bench["warmup"]) == (10.0, 20.0, 1)
    assert "nvpmodel" in bench["machine"]
    assert json.loads(read_result(folder, CHOICE))["shipped"] == "f16"
    verify_bundle(folder)


def test_a_variant_that_cannot_be_built_is_said_and_another_one_chosen(monkeypatch, folder: Path) -> None:
    use(monkeypatch, folder, broken=("int8",))
    decision = run(folder)
    assert decision.choice.shipped == "f16"
    [row] = [row for row in decision.report.variants if row.name == "int8"]
    assert not row.passed and "ran out of memory: killed" in row.reason and row.tasks == {}
    failed = decision.choice.candidates[-1]
    assert (failed.name, failed.skipped) == ("int8", "not_opened") and "ran out of memory: killed" in failed.error


@pytest.mark.slow
def test_what_a_failed_session_had_allocated_is_free_before_the_next_one_opens(monkeypatch, folder: Path) -> None:
    use(monkeypatch, folder, broken=("f32",))
    opens = decide_module.open_session
    alive: list[bool] = []

    def watch(bundle, **options):
        gc.collect()
        alive.append(any(held() is not None for held in HELD))
        return opens(bundle, **options)

    HELD.clear()
    monkeypatch.setattr(decide_module, "open_session", watch)
    run(folder)
    assert len(HELD) == 1 and alive == [False, False, False]


def test_if_none_can_be_built_its_error_ends_the_run(monkeypatch, folder: Path) -> None:
    use(monkeypatch, folder, broken=tuple(SPEEDS))
    with pytest.raises(TargetUnavailable, match="ran out of memory"):
        run(folder)


def test_an_emulation_is_judged_and_not_timed(monkeypatch, folder: Path) -> None:
    use(monkeypatch, folder, executed_on="emulation")
    decision = run(folder, only=("f16", "int8"))
    assert (decision.choice.shipped, decision.choice.rule) == ("int8", "narrowest")
    assert decision.choice.only == ("f16", "int8") and run(folder).choice.only == ()
    assert decision.report.chosen == why_shipped(decision.choice)
    assert decision.report.chosen.startswith("of f16, int8, the others not tried: ")
    assert decision.bench.variants == {} and decision.bench.shipped_ms is None and decision.bench.runs == 0


def test_one_command_ends_with_a_verdict_per_task_and_a_file_to_send(monkeypatch, folder: Path, capsys) -> None:
    use(monkeypatch, folder)
    main([str(folder), "--runs", "3", "--warmup", "1"])
    said = capsys.readouterr().out
    assert "chosen: int8" in said and "semseg: mIoU" in said and "PASS: A Fake Orin, int8, device, 12 images" in said
    sent = folder.parent / "made-jetson-a-fake-orin-results.zip"
    assert str(sent) in said
    with zipfile.ZipFile(sent) as archive:
        sent_files = ("regression.json", "bench.json", "choice.json", "manifest.json")
        assert sorted(archive.namelist()) == sorted(with_hashes(*sent_files))
        assert json.loads(archive.read("regression.json"))["bundle"]


@pytest.mark.slow
def test_an_archive_is_judged_in_the_folder_it_is_unpacked_as(
    monkeypatch, folder: Path, tmp_path: Path, capsys
) -> None:
    use(monkeypatch, folder)
    sent = pack(folder, tmp_path / "sent" / "arrived.zip")
    for _ in range(2):  # a second call finds the bundle there
        main([str(sent), "--runs", "1", "--warmup", "0"])
        assert (tmp_path / "sent" / "arrived" / "choice.json").is_file()
    assert "PASS" in capsys.readouterr().out and not (folder / "choice.json").exists()


@pytest.mark.slow
def test_a_regression_of_every_variant_is_exit_code_1_by_name(monkeypatch, folder: Path, capsys) -> None:
    use(monkeypatch, folder, noise=dict.fromkeys(SPEEDS, 0.5))
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--runs", "2", "--json"])
    assert ended.value.code == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["passed"] is False and "depth" in captured.err


@pytest.mark.slow
def test_an_unsigned_bundle_is_refused_where_a_key_is_given(monkeypatch, folder: Path, tmp_path: Path, capsys) -> None:
    use(monkeypatch, folder)
    private, public = make_keys(tmp_path / "key")
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--key", str(public)])
    assert ended.value.code == 2 and "not signed" in capsys.readouterr().err
    assert not (folder / "regression.json").exists()
    sign(folder, private)
    main([str(folder), "--key", str(public), "--runs", "1", "--warmup", "0"])
    captured = capsys.readouterr()
    assert "PASS" in captured.out and "engines" not in captured.err
    write_engine_file(folder, "f16.engine", b"code of somebody")
    main([str(folder), "--key", str(public), "--runs", "1", "--warmup", "0"])
    said = capsys.readouterr().err
    assert "does not cover: engines/f16.engine, built on a device" in said and "engines anew" in said
    assert "does not cover: choice.json, written after it was signed" in said


def test_an_altered_bundle_is_refused_before_anything_runs(monkeypatch, folder: Path) -> None:
    use(monkeypatch, folder)
    (folder / "f32.onnx").write_bytes(b"other bytes")
    with pytest.raises(SystemExit) as ended:
        main([str(folder)])
    assert ended.value.code == 2


@pytest.mark.parametrize(
    "option", [("--runs", "0"), ("--warmup", "-1"), ("--threads", "-1"), ("--workspace", "0"), ("--tool-seconds", "-1")]
)
def test_a_number_out_of_bounds_is_bad_input(folder: Path, option: tuple[str, str], capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(folder), *option])
    assert ended.value.code == 2 and f"{option[0]}: {option[1]} is not between" in capsys.readouterr().err


def test_what_the_system_refuses_is_bad_input(monkeypatch, folder: Path, capsys) -> None:
    def refuse(plan, say):
        raise PermissionError(13, "Permission denied", str(folder / BENCH))

    monkeypatch.setattr(main_module, "decide", refuse)
    with pytest.raises(SystemExit) as ended:
        main([str(folder)])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "Permission denied" in said and BENCH in said


@pytest.mark.slow
def test_answers_that_are_not_the_references_are_exit_code_1(monkeypatch, folder: Path, capsys) -> None:
    """Every metric passes, and yet no variant answers as the reference does."""
    use(monkeypatch, folder)
    monkeypatch.setattr(Depth, "agreement_floor", 1.1)
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--runs", "1", "--warmup", "0"])
    captured = capsys.readouterr()
    assert ended.value.code == 1 and "does not answer as its reference does" in captured.err
    assert "FAIL: A Fake Orin, f32" in captured.out


def test_a_run_that_ends_at_the_last_variant_goes_on_there(monkeypatch, folder: Path) -> None:
    use(monkeypatch, folder, noise={"int8": np.inf})
    with pytest.raises(SessionFailed):
        run(folder)
    assert not (folder / RESULT).exists(), "nothing is written before the decision"
    use(monkeypatch, folder)
    Fake.inferred.clear()
    assert run(folder).choice.shipped == "int8"
    judged = Fake.inferred[: Fake.inferred.index("f32")] if "f32" in Fake.inferred else Fake.inferred
    assert judged == ["int8"] * 12, "the others' images were measured before"
    assert not (folder / FOLDER).exists()


NOISY = [8.0, 12.0, 9.0, 11.0, 10.0]


@pytest.mark.slow
def test_what_noise_cannot_tell_apart_is_measured_again_up_to_a_limit_and_the_more_precise_one_is_chosen(
    monkeypatch, folder: Path, capsys
) -> None:
    use(monkeypatch, folder)
    monkeypatch.setattr(Fake, "script", {"f16": NOISY, "int8": [0.9 * value for value in NOISY[::-1]]})
    decision = run(folder)
    assert decision.choice.shipped == "f16" and set(decision.choice.equal) == {"f16", "int8"}
    assert "equal within noise to int8 (9.0 ms) and more precise" in why_shipped(decision.choice)
    assert decision.bench.runs == 20 == decision.bench.variants["f32"].with_copies.runs, (
        "5 rounds, and three times 5 more"
    )
    main([str(folder), "--runs", "5", "--warmup", "1"])
    said = capsys.readouterr().out
    assert "equal within noise to f16" in said and "warning: the machine was busy while it timed" in said
    bench = json.loads(read_result(folder, BENCH))
    assert any(text.startswith("f16: p90 is ") for text in decision.bench.disturbed) and bench["load"]["cpus"] >= 1


def test_what_the_rounds_tell_apart_is_not_measured_again(monkeypatch, folder: Path) -> None:
    use(monkeypatch, folder)
    monkeypatch.setattr(Fake, "script", {"f16": NOISY, "int8": [0.4 * value for value in NOISY[::-1]]})
    decision = run(folder)
    assert (decision.choice.shipped, decision.choice.equal, decision.bench.runs) == ("int8", (), 5)


def test_an_undecided_decision_is_no_pass_and_names_its_tasks(monkeypatch, tmp_path: Path, capsys) -> None:
    few = make_bundle(tmp_path / "few" / "jetson", count=9)
    variants = (BundleVariant(name="f32", precision="f32", files=("f32.onnx",), recipe={"name": "f32"}),)
    write_manifest(few.folder, few.manifest.model_copy(update={"variants": variants, "target": "jetson"}))
    use(monkeypatch, few.folder)
    main([str(few.folder), "--runs", "2", "--warmup", "1", "--allow-inconclusive"])
    said = capsys.readouterr().out
    assert "6 tasks undecided, allowed by --allow-inconclusive: semseg, human_parts, " in said
    assert "UNDECIDED, ALLOWED: A Fake Orin" in said and "PASS" not in said and "9 of 9 images have a label" in said
    with pytest.raises(SystemExit) as ended:
        main([str(few.folder), "--runs", "2", "--warmup", "1"])
    assert ended.value.code == 1


def test_a_bundle_for_another_target_than_the_one_asked_for_is_refused(folder: Path, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(folder), "--target", "intel"])
    err = capsys.readouterr().err
    assert ended.value.code == 2 and "built for another target" in err
    assert "expected: intel" in err and "got:      jetson" in err
