"""From manifest.json, bench.json and fold.json to the page: latency, variants, folds and provenance."""

from pathlib import Path

from bundle.base.strict_json import dumps
from bundle.formats.artifacts import TensorSpec
from bundle.formats.fold import FoldPart, FoldPicture, FoldProof, FoldRecord, FoldSettings
from bundle.formats.manifest import Bundle, BundleVariant, Manifest
from bundle.judging.choice import Bench, Choice, VariantLatency
from bundle.judging.run import RegressionReport
from bundle.judging.sentences import why_candidate, why_shipped
from bundle.judging.timing import Percentiles, busy
from report import wording
from report.bundle_page.fold_rules import FoldRule, fold_rules
from report.bundle_page.network import draw_network
from report.bundle_page.views import (
    Bar,
    BenchView,
    FoldView,
    Group,
    LatencyRow,
    LineRow,
    PartRow,
    PictureView,
    RuleRow,
    VariantRow,
)
from report.drawing.charts import bar

NO_BENCH = "This bundle has no bench.json: its latency was not measured yet."
NO_TIMING = "Nothing was timed where this bundle was judged: only the device can say how fast it is there."
NO_FOLD = "This bundle has no fold.json."


def bench_view(bench: Bench | None, choice: Choice | None) -> BenchView:
    """Return the latency bars, on a scale from 0 to the slowest: f32, the shipped variant, any other one timed; eager is a note."""
    if bench is None:
        return BenchView(bars=(), note=NO_BENCH)
    rows = _latencies(bench, choice)
    known = [(label, ms, kind) for label, ms, kind in rows if ms is not None]
    if not known:
        return BenchView(bars=(), note=NO_TIMING)
    missing = [label for label, ms, _ in rows if ms is None]
    note = (
        f"Medians of {wording.plural(bench.runs, 'run')} after {bench.warmup} to warm up, batch 1, all in one interleaved "
        "run; × is the speed over compiled f32." + (f" Not measured here: {', '.join(missing)}." if missing else "")
    )
    if bench.eager_ms is not None:
        note += f" {wording.eager(bench.eager_ms)[0].upper()}{wording.eager(bench.eager_ms)[1:]}."
    slowest = max(ms for _, ms, _ in known)
    return BenchView(
        percentiles=tuple(_percentiles(name, one) for name, one in bench.variants.items()),
        bars=tuple(_bar(label, ms, kind, slowest, bench.f32_compiled_ms) for label, ms, kind in known),
        note=note,
        load=_load(bench),
        warning=busy(bench.disturbed) if bench.disturbed else "",
    )


def _percentiles(name: str, one: VariantLatency) -> LatencyRow:
    return LatencyRow(
        name=name,
        whole=_four(one.with_copies),
        compute="–" if one.compute is None else _four(one.compute),
        tool=_tool(one),
        runs=str(one.with_copies.runs),
    )


def _tool(one: VariantLatency) -> str:
    """Return the medians of the runtime's own benchmark with copies and without, and its name."""
    if one.tool_median_ms is None:
        return f"{one.tool} failed" if one.tool else "–"
    alone = "" if one.tool_compute_ms is None else f" / {one.tool_compute_ms:.2f}"
    return f"{one.tool_median_ms:.2f}{alone} ms" + (f" ({one.tool})" if one.tool else "")


def _four(values: Percentiles) -> str:
    low = "–" if values.p10_ms is None else f"{values.p10_ms:.2f}"
    return f"{low} / {values.p50_ms:.2f} / {values.p90_ms:.2f} / {values.p99_ms:.2f} ms"


def _latencies(bench: Bench, choice: Choice | None) -> list[tuple[str, float | None, str]]:
    """Return (label, milliseconds, class of the bar); f32 has one bar if it is the shipped one."""
    shipped = bench.shipped_precision
    plain = [] if shipped == "f32" else [("compiled f32", bench.f32_compiled_ms, "other")]
    others = [] if choice is None else [one for one in choice.candidates if one.name not in {"f32", shipped}]
    return [
        *plain,
        *((f"compiled {one.name}", one.latency_ms, "other") for one in others if one.latency_ms is not None),
        (f"shipped {shipped}", bench.shipped_ms, "shipped"),
    ]


def _load(bench: Bench) -> str:
    """Return how busy the machine was, "" where it was not recorded."""
    load = bench.load
    if load is None or load.before is None or load.after is None:
        return ""
    steal = "" if load.steal is None else f"; {load.steal:.1%} of the CPU time went to other guests"
    return f"Load average over a minute {load.before[0]:.1f} before, {load.after[0]:.1f} after, on {wording.plural(load.cpus, 'CPU')}{steal}."


def _bar(label: str, ms: float, kind: str, slowest: float, base: float | None) -> Bar:
    ratio = f"{base / ms:.2f}×" if base is not None and ms > 0 and ms != base else ""
    text = f"{ms:.1f} ms"
    svg = bar(ms / slowest if slowest > 0 else 0.0, kind, f"{label}: {text}")
    return Bar(label=label, text=text, ratio=ratio, svg=svg)


def variant_rows(manifest: Manifest, folder: Path, choice: Choice | None) -> tuple[VariantRow, ...]:
    """Return one row per variant, with its files, its latency and why it is shipped or not."""
    return tuple(_variant(variant, folder, manifest.shipped, choice) for variant in manifest.variants)


def _variant(variant: BundleVariant, folder: Path, shipped: str, choice: Choice | None) -> VariantRow:
    shown = {variant.name, variant.precision}
    candidates = () if choice is None else choice.candidates
    one = next((one for one in candidates if one.name == variant.name), None)
    ships = variant.name == (shipped if choice is None else choice.shipped)
    return VariantRow(
        name=variant.name,
        precision=variant.precision,
        files=tuple((name, wording.file_size((folder / name).stat().st_size)) for name in variant.files),
        latency="not timed" if one is None or one.latency_ms is None else f"{one.latency_ms:.1f} ms",
        shipped=ships,
        outcome="" if one is None or choice is None or ships else why_candidate(choice, one),
        recipe=tuple((key, value) for key, value in variant.recipe.items() if key != "name" or value not in shown),
    )


def engine_sentence(manifest: Manifest, choice: Choice | None) -> str:
    """Say which variant is shipped and why, which one a device chose instead, and whether the engine exists or why not yet."""
    reason = manifest.settings.get("choice")
    shipped = f"Shipped: {manifest.shipped}, {reason}." if isinstance(reason, str) else f"Shipped: {manifest.shipped}."
    if choice is not None and choice.shipped != manifest.shipped:
        shipped += f" Chosen where it was judged: {choice.shipped}, {why_shipped(choice)}."
    if manifest.engine.status == "built":
        return f"{shipped} The engine was built where the bundle was made."
    return f"{shipped} The engine is deferred to the device: {manifest.engine.reason}"


def part_rows(parts: tuple[FoldPart, ...]) -> tuple[PartRow, ...]:
    """Return what each part costs for one image, unfolded and folded, and the sum as the last row."""
    if not parts:
        return ()
    total = FoldPart(
        part="the whole model",
        **{name: sum(getattr(part, name) for part in parts) for name in FoldPart.model_fields if name != "part"},
    )
    most = max(total.macs_before, total.macs_after, 1)
    return tuple(_part(part, most) for part in (*parts, total))


def _part(part: FoldPart, most: int) -> PartRow:
    return PartRow(
        name=part.part,
        macs=_pair(part.macs_before, part.macs_after),
        params=_pair(part.params_before, part.params_after),
        size=_pair(part.bytes_before, part.bytes_after),
        before=bar(
            part.macs_before / most, "other", f"{part.part}, unfolded: {wording.count(part.macs_before)} MACs", height=8
        ),
        after=bar(
            part.macs_after / most, "shipped", f"{part.part}, folded: {wording.count(part.macs_after)} MACs", height=8
        ),
    )


def fold_view(lines: tuple[FoldRecord, ...] | None, settings: FoldSettings | None) -> FoldView:
    """Return the folds by rule and one by one, and how it was proven that they change nothing."""
    if lines is None:
        return FoldView(summary=NO_FOLD, proof="", rules=(), lines=())
    if not lines:
        return FoldView(summary="The fold stage found nothing to decide.", proof="", rules=(), lines=())
    folded = [line for line in lines if line.decision == "folded"]
    exact = sum(line.exact for line in folded)
    summary = (
        f"{len(folded)} of {wording.plural(len(lines), 'decision')} folded, {exact} of them exact; "
        f"{wording.plural(len(lines) - len(folded), 'module')} kept as they were. "
        f"Parameters {_change(sum(_params(line) for line in lines))}, MACs {_change(sum(_macs(line) for line in lines))}."
    )
    return FoldView(
        summary=summary,
        proof=_proof(None if settings is None else settings.proof),
        rules=tuple(map(_rule, fold_rules(lines))),
        lines=tuple(map(_line, lines)),
        parts=part_rows(() if settings is None else settings.parts),
        picture=None if settings is None else _picture(settings.picture),
    )


def _picture(picture: FoldPicture | None) -> PictureView | None:
    if picture is None:
        return None
    before, after = (
        draw_network(net, f"{picture.scope} {state}: {wording.plural(sum(box.count for box in net.boxes), 'tensor')}")
        for state, net in (("as exported", picture.before), ("as folded", picture.after))
    )
    return PictureView(scope=picture.scope, before=before, after=after)


def _proof(proof: FoldProof | None) -> str:
    if proof is None:
        return ""
    wide, narrow = (_error(max(errors.values(), default=None)) for errors in (proof.float64, proof.float32))
    return (
        f"Folded against unfolded on {wording.plural(proof.images, 'real image')}: the largest relative difference of any "
        f"output is {wide} in float64 and {narrow} in float32."
    )


def _params(line: FoldRecord) -> int:
    return line.params_after - line.params_before


def _macs(line: FoldRecord) -> int:
    return line.macs_after - line.macs_before


def _change(difference: int) -> str:
    if difference == 0:
        return "unchanged"
    return f"{wording.count(abs(difference))} {'fewer' if difference < 0 else 'more'}"


def _pair(before: int, after: int) -> str:
    same = before == after
    return wording.count(before) if same else f"{wording.count(before)} → {wording.count(after)}"


def _error(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1e}".replace("-", wording.MINUS) if value else "0"


def _rule(rule: FoldRule) -> RuleRow:
    return RuleRow(
        name=rule.rule,
        folded=str(rule.folded) + (f" ({rule.approximate} approximate)" if rule.approximate else ""),
        kept=str(rule.kept),
        params=_pair(rule.params_before, rule.params_after),
        macs=_pair(rule.macs_before, rule.macs_after),
        error=_error(rule.max_abs_error),
    )


def _line(line: FoldRecord) -> LineRow:
    exactness = "" if line.decision == "kept" else "exact" if line.exact else "approximate"
    error = _error(line.max_abs_error)
    return LineRow(
        module=line.module,
        rule=line.rule,
        decision=line.decision,
        reason=line.reason,
        exactness=exactness + (f", error {error}" if error and exactness else ""),
        params=_pair(line.params_before, line.params_after),
        macs=_pair(line.macs_before, line.macs_after),
    )


def provenance(bundle: Bundle, report: RegressionReport | None) -> tuple[Group, ...]:
    """Return where everything came from: device, tools, hashes, settings."""
    manifest = bundle.manifest
    where = () if report is None else (Group(title="Where it was judged", open=True, rows=_device(report)),)
    return (
        *where,
        Group(title="What it is", open=True, rows=_identity(bundle)),
        Group(title="Tool versions", open=False, rows=tuple(manifest.tools.items())),
        Group(title="Parent artifacts (sha256)", open=False, rows=tuple(manifest.parents.items())),
        Group(
            title="Settings", open=False, rows=tuple((key, _json(value)) for key, value in manifest.settings.items())
        ),
        Group(title="Files (sha256)", open=False, rows=tuple(manifest.files.items())),
    )


def _json(value: object) -> str:
    return value if isinstance(value, str) else dumps(value, ensure_ascii=False, indent=1)


def _device(report: RegressionReport) -> tuple[tuple[str, str], ...]:
    return (
        ("device", report.device.name),
        ("ISA", ", ".join(report.device.isa) or "none recorded"),
        ("executed on", report.executed_on),
        ("precision", report.precision),
        ("images", f"{report.images}: {report.source}"),
        ("gate", report.gate),
        *report.session.items(),
    )


def _spec(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype} [{', '.join(map(str, spec.shape))}]"


def _identity(bundle: Bundle) -> tuple[tuple[str, str], ...]:
    manifest = bundle.manifest
    size = manifest.preprocess
    return (
        ("manifest sha256", bundle.sha256),
        ("checkpoint sha256", manifest.reference.checkpoint_sha256),
        ("reference", manifest.reference.framework),
        ("data", manifest.dataset.name),
        ("inputs", "; ".join(map(_spec, manifest.inputs))),
        ("outputs", "; ".join(map(_spec, manifest.outputs))),
        ("preprocessing", f"{size.height} × {size.width}, mean {list(size.mean)}, std {list(size.std)}"),
        ("seeds", f"sampling {manifest.seeds.sampling}, bootstrap {manifest.seeds.bootstrap}"),
    )
