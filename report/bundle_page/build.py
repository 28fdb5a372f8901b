"""From manifest.json and fold.json to the page: the engine, folds and provenance."""

from bundle.base.strict_json import dumps
from bundle.formats.artifacts import TensorSpec
from bundle.formats.fold import FoldPart, FoldPicture, FoldProof, FoldRecord, FoldSettings
from bundle.formats.manifest import Bundle, Manifest
from bundle.judging import wording
from bundle.judging.choice import Choice
from bundle.judging.regression_report import RegressionReport
from bundle.judging.sentences import images_of, why_shipped
from report.bundle_page.network import draw_network
from report.bundle_page.views import FoldView, Group, LineRow, PartRow, PictureView, RuleRow
from report.drawing.charts import bar

NO_FOLD = "This bundle has no fold.json."


def engine_sentence(manifest: Manifest, choice: Choice | None) -> str:
    """Say which variant is shipped and why, which one a device chose instead, and whether the engine exists or why not yet."""
    made = manifest.settings.get("choice")
    reason = f", {why_shipped(Choice.model_validate(made))}" if isinstance(made, dict) else ""  # 0.1.0 wrote a sentence
    shipped = f"Shipped: {manifest.shipped}{reason}."
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
        part="all parts",
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
        svg=bar(
            part.macs_before / most, "other", f"{part.part}, unfolded: {wording.count(part.macs_before)} MACs", height=8
        )
        + bar(
            part.macs_after / most, "shipped", f"{part.part}, folded: {wording.count(part.macs_after)} MACs", height=8
        ),
    )


def fold_view(lines: tuple[FoldRecord, ...] | None, settings: FoldSettings | None) -> FoldView:
    """Return the folds by rule and one by one, and how it was proven that they change nothing."""
    if lines is None:
        return FoldView(summary=NO_FOLD, proof="", rules=(), lines=())
    if not lines:
        return FoldView(summary="The fold stage had nothing to decide.", proof="", rules=(), lines=())
    folded = [line for line in lines if line.decision == "folded"]
    exact = sum(line.exact for line in folded)
    parts = () if settings is None else settings.parts
    decided = f"{len(folded)} of {wording.plural(len(lines), 'decision')} folded, {exact} of them exact. "
    return FoldView(
        summary=decided + (_whole(parts) if parts else ""),
        proof=_proof(None if settings is None else settings.proof),
        rules=rule_rows(lines),
        lines=tuple(map(_line, lines)),
        parts=part_rows(parts),
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


def _whole(parts: tuple[FoldPart, ...]) -> str:
    macs = _pair(sum(part.macs_before for part in parts), sum(part.macs_after for part in parts))
    params = _pair(sum(part.params_before for part in parts), sum(part.params_after for part in parts))
    return f"The graph: {macs} MACs, {params} parameters."


def _pair(before: int, after: int) -> str:
    same = before == after
    return wording.count(before) if same else f"{wording.count(before)} → {wording.count(after)}"


def _error(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.1e}".replace("-", wording.MINUS) if value else "0"


def rule_rows(lines: tuple[FoldRecord, ...]) -> tuple[RuleRow, ...]:
    """Sum the decisions by rule, in the order in which the rules first appear; the error is the largest recorded."""
    names = dict.fromkeys(line.rule for line in lines)
    return tuple(_rule(name, [line for line in lines if line.rule == name]) for name in names)


def _rule(name: str, group: list[FoldRecord]) -> RuleRow:
    folded = [line for line in group if line.decision == "folded"]
    approximate = sum(not line.exact for line in folded)
    errors = [line.max_abs_error for line in folded if line.max_abs_error is not None]
    return RuleRow(
        name=name,
        folded=str(len(folded)) + (f" ({approximate} approximate)" if approximate else ""),
        kept=str(len(group) - len(folded)),
        error=_error(max(errors, default=None)),
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
        ("images", f"{images_of(report)}: {report.source}"),
        ("verdict rule", report.gate),
        *(("device of the runtime" if name == "device" else name, value) for name, value in report.session.items()),
    )


def _spec(spec: TensorSpec) -> str:
    return f"{spec.name}: {spec.dtype} [{', '.join(map(str, spec.shape))}]"


def _identity(bundle: Bundle) -> tuple[tuple[str, str], ...]:
    manifest = bundle.manifest
    size = manifest.preprocess
    config, _, weights = manifest.reference.checkpoint_sha256.partition("-")
    return (
        ("manifest sha256", bundle.sha256),
        ("checkpoint", f"config.toml sha256 {config}…, model.safetensors sha256 {weights}…" if weights else config),
        ("reference", manifest.reference.framework),
        ("data", manifest.dataset.name),
        ("inputs", "; ".join(map(_spec, manifest.inputs))),
        ("outputs", "; ".join(map(_spec, manifest.outputs))),
        ("preprocessing", f"{size.height} × {size.width}, mean {list(size.mean)}, std {list(size.std)}"),
        ("seeds", f"sampling {manifest.seeds.sampling}, bootstrap {manifest.seeds.bootstrap}"),
    )
