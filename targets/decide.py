"""Decide on the device: open every variant of a bundle, judge each, time them in one interleaved run, choose, write.

This is what a device is carried a bundle for. It needs NumPy, pydantic and the device's runtime, no torch.
"""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import NamedTuple, TypeAlias

from pydantic import Field

from bundle.base.errors import GraphError, ProjectError, TargetUnavailable
from bundle.base.frozen import Frozen
from bundle.formats.manifest import Bundle
from bundle.formats.vectors import Vectors
from bundle.judging.choice import BENCH, CHOICE, Bench, Candidate, Choice, VariantLatency
from bundle.judging.choice_rule import choose, unsettled, with_variants
from bundle.judging.evaluate_image import feed as feed_of
from bundle.judging.harness import Measured, Options, measure_bundle
from bundle.judging.regression_report import RESULT, RegressionReport
from bundle.judging.timing import AGAIN, Load, glance, load_between, measure, percentiles
from targets.base import Execute, Latency, RunConfig, Session
from targets.open import execution, open_session
from targets.table import target
from targets.vendor_benchmark import with_vendor_timing

Say: TypeAlias = Callable[[str], None]


class Protocol(Frozen):
    """How to time: ``runs`` interleaved rounds after ``warmup`` untimed ones. ``gain`` is the rule of bundle/judging/choice_rule.py.

    Where noise hides which variant deserves to be chosen, as many rounds again are measured, up to ``again`` times.
    ``tool_seconds`` is how long the runtime's own benchmark runs for each variant; 0: it does not.
    """

    runs: int = Field(default=100, gt=0)
    warmup: int = Field(default=10, ge=0)
    gain: float = Field(default=0.95, gt=0, le=1)
    again: int = Field(default=AGAIN, ge=0)
    tool_seconds: int = Field(default=0, ge=0)


class Plan(NamedTuple):
    """What is decided on, and how. ``only`` names variants; empty: all of the bundle's."""

    bundle: Bundle
    run: RunConfig
    execute: Execute
    options: Options
    protocol: Protocol
    only: tuple[str, ...] = ()


class Decision(NamedTuple):
    """The shipped variant's report with every variant's row, the choice, and the latencies."""

    report: RegressionReport
    choice: Choice
    bench: Bench


def decide(plan: Plan, say: Say) -> Decision:
    """Open, judge, time, choose; write regression.json, bench.json and choice.json into the bundle.

    What a killed run had judged, of every variant, is kept until these are written, and the next run goes on from there.

    A variant that cannot be built or opened is a candidate with the reason, as long as another one can.

    Raises:
        TargetUnavailable: no variant can be opened here.
        ProjectError: see ``bundle.judging.harness.measure_bundle``.
    """
    with ExitStack() as stack:
        sessions, failed = _open_all(plan, stack, say)
        emulated = any(session.info.executed_on == "emulation" for session in sessions.values())
        measured = {name: _judge(plan, name, session, say) for name, session in sessions.items()}
        reports = {name: one.report for name, one in measured.items()}
        before = glance()
        spent = {} if emulated else _time_all(plan, sessions, reports, say)
        load = None if emulated else load_between(before, glance())
        latencies = {name: _summary(rows, sessions[name]) for name, rows in spent.items()}
        if not emulated and plan.protocol.tool_seconds:
            seconds = plan.protocol.tool_seconds
            latencies = {
                name: with_vendor_timing(row, plan.bundle, name, plan.run, seconds, say)
                for name, row in latencies.items()
            }
    choice = _of_those_tried(plan, choose(reports, _totals(spent), None, plan.protocol.gain))
    decision = _decision(plan, reports, failed, latencies, choice, load)
    plan.bundle.write(RESULT, decision.report)
    plan.bundle.write(BENCH, decision.bench)
    plan.bundle.write(CHOICE, decision.choice)
    for value in measured.values():
        value.journal.remove()
    return decision


def _open_all(plan: Plan, stack: ExitStack, say: Say) -> tuple[dict[str, Session], dict[str, ProjectError]]:
    """Open each variant, the plainest first; return the sessions, and why the others could not be."""
    names = plan.only or tuple(variant.name for variant in plan.bundle.manifest.variants)
    sessions: dict[str, Session] = {}
    failed: dict[str, ProjectError] = {}
    for name in names:
        say(f"{name}: opening; what the device loads is built once")
        try:
            session, _ = open_session(plan.bundle, execute=plan.execute, variant=name, run=plan.run)
        except (GraphError, TargetUnavailable) as error:
            failed[name] = _bare(error)
            say(f"{name}: not opened: {error.message}: {error.got}")
        else:
            sessions[name] = stack.enter_context(session)
    if not sessions:
        raise next(iter(failed.values()))
    return sessions, failed


def _of_those_tried(plan: Plan, choice: Choice) -> Choice:
    """Name in the choice the variants that were asked for, if they are not all of the bundle."""
    others = {variant.name for variant in plan.bundle.manifest.variants} - set(plan.only)
    if not plan.only or not others:
        return choice
    return choice.model_copy(update={"only": plan.only})


def _bare(error: ProjectError) -> ProjectError:
    """Return the same error without its traceback, which holds what a session had allocated when it failed."""
    return type(error)(error.message, expected=error.expected, got=error.got, where=error.where, fix=error.fix)


def _time_all(
    plan: Plan, sessions: Mapping[str, Session], reports: Mapping[str, RegressionReport], say: Say
) -> dict[str, list[Latency]]:
    with Vectors(plan.bundle.vectors) as vectors:
        fed = feed_of(plan.bundle.manifest, next(vectors.images()))
    protocol = plan.protocol

    def take(warmup: int, runs: int) -> dict[str, list[Latency]]:
        say(f"timing {', '.join(sessions)}: {warmup} rounds of warm-up, then {runs}, interleaved")
        spent: dict[str, list[Latency]] = {name: [] for name in sessions}
        for number in range(warmup + runs):
            for name, session in sessions.items():
                latency = session.timed(fed)
                if number >= warmup:
                    spent[name].append(latency)
        return spent

    return measure(
        take,
        lambda spent: unsettled(reports, _totals(spent), protocol.gain),
        warmup=protocol.warmup,
        runs=protocol.runs,
        again=protocol.again,
    )


def _totals(spent: Mapping[str, list[Latency]]) -> dict[str, list[float]]:
    return {name: [row.total_ms for row in rows] for name, rows in spent.items()}


def _summary(rows: list[Latency], session: Session) -> VariantLatency:
    compute = [row.compute_ms for row in rows if row.compute_ms is not None]
    return VariantLatency(
        with_copies=percentiles([row.total_ms for row in rows]),
        compute=percentiles(compute) if compute else None,
        settings=session.info.settings,
    )


def _judge(plan: Plan, name: str, session: Session, say: Say) -> Measured:
    def progress(done: int, total: int) -> None:
        if done == total or done % 25 == 0:
            say(f"{name}: {done} of {total} images")

    return measure_bundle(plan.bundle, session.infer, execution(session), plan.options, variant=name, progress=progress)


def _decision(
    plan: Plan,
    reports: dict[str, RegressionReport],
    failed: Mapping[str, ProjectError],
    latencies: dict[str, VariantLatency],
    choice: Choice,
    load: Load | None,
) -> Decision:
    sizes = {name: _bytes(plan, name) for name in (*reports, *failed)}
    unopened = tuple(
        Candidate(name=name, latency_ms=None, verdicts={}, skipped="not_opened", error=f"{error.message}: {error.got}")
        for name, error in failed.items()
    )
    choice = choice.model_copy(update={"candidates": (*choice.candidates, *unopened)})
    shipped = latencies.get(choice.shipped)
    bench = Bench(
        eager_ms=None,
        f32_compiled_ms=latencies["f32"].with_copies.p50_ms if "f32" in latencies else None,
        shipped_ms=shipped.with_copies.p50_ms if shipped else None,
        shipped_precision=choice.shipped,
        runs=max((row.with_copies.runs for row in latencies.values()), default=0),
        warmup=plan.protocol.warmup if latencies else 0,
        variants=latencies,
        machine=target(plan.bundle.manifest.target).machine_facts(),
        load=load,
    )
    return Decision(report=with_variants(reports, choice, sizes), choice=choice, bench=bench)


def _bytes(plan: Plan, name: str) -> int:
    return sum((plan.bundle.folder / file).stat().st_size for file in plan.bundle.manifest.variant(name).files)


def tool_medians(row: VariantLatency) -> str:
    """Say what the runtime's own tool measured, or why it did not."""
    if row.tool_median_ms is None:
        return row.tool_settings.get("failed", "was not run")
    alone = "" if row.tool_compute_ms is None else f", {row.tool_compute_ms:.2f} ms without copies"
    return f"median {row.tool_median_ms:.2f} ms{alone}"


def latency_line(name: str, row: VariantLatency) -> str:
    """Say how fast a variant is, in one line for people."""
    both = {"with copies": row.with_copies, "without": row.compute}
    told = [
        f"{kind} p10 {p.p10_ms or 0:.2f}, p50 {p.p50_ms:.2f}, p90 {p.p90_ms:.2f}, p99 {p.p99_ms:.2f} ms"
        for kind, p in both.items()
        if p
    ]
    if row.tool:
        told.append(f"{row.tool} {tool_medians(row)}")
    return f"{name:12} {'; '.join(told)}"
