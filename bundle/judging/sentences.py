"""Sentences about a judgement and a choice, made from their fields where they are shown: the terminal, the page, a log.

``regression.json`` holds some of them too, in ``chosen`` and in the variants' ``reason``, for whoever reads that file alone.
"""

from bundle.judging import wording
from bundle.judging.choice import CHOICE, Candidate, Choice, Pick, Rule, Skip
from bundle.judging.regression_report import RegressionReport
from bundle.judging.sensitivity import SearchReport, Step
from bundle.judging.standing import variant_summary
from bundle.judging.timing import Ratio
from bundle.judging.verdict import MINIMUM_IMAGES, Cause
from bundle.tasks.agreement import AGREEMENT

FEWEST = "reads and writes the fewest bytes"
NONE_WITHIN = "no variant that answers as the reference does is shown to be within its budgets"
NOT_PASSED: dict[Rule, str] = {
    "none_agrees": "no variant within its budgets answers as the reference does; the most precise one is named, and it does not pass",
    "none_within": "no variant is shown to be within its budgets; the most precise one is named, and it does not pass",
}
SKIPPED: dict[Skip, str] = {
    "nothing_to_repair": "plain INT8 is within every budget, so there is nothing to repair",
    "left_out": "another variant is within every budget, so the bundle goes without this one",
    "slower": "a faster variant is within every budget",
}
CAUSES: dict[Cause, str] = {
    "not_finite": "the output is not finite on {bad}: {ids}",
    "hard_not_finite": "the output is not finite on {bad}, which count for no metric: {ids}",
    "no_label": "the metric is undefined: no image has a label for this task",
    "no_reference": "{unmeasured}",
    "compiled_undefined": "the metric of the compiled model is undefined, the reference's is not",
    "reference_zero": "the reference's metric is 0, so no drop relative to it is finite",
    "too_few_images": f"{{labelled}} of {{images}} images {{counted}}, and a verdict needs {MINIMUM_IMAGES}",
    "more_images": "about {needed} images would decide it if the drop stayed as it is",
    "improvement": "better than the reference by more than the budget: an improvement to be explained, not to be trusted",
}


UNMEASURED = "the reference was not measured on these images: give its arrays (--reference)"
ELSEWHERE = (
    "it is judged by agreement, and the bundle has the reference's answers on its own images only: leave --data out"
)


def why_verdict(report: RegressionReport, name: str) -> str:
    """Say what explains a task's verdict; "" for an ordinary one."""
    result, check = report.tasks[name], report.checks.get(name)
    if result.cause is None:
        return ""
    bad = 0 if check is None else check.nonfinite_images
    return CAUSES[result.cause].format(
        bad=f"{bad} image{'s' * (bad != 1)}",
        ids="" if check is None else ", ".join(check.nonfinite),
        labelled=result.labelled_images,
        counted="can be compared" if result.metric == AGREEMENT else "have a label for this task",
        unmeasured=ELSEWHERE if result.metric == AGREEMENT else UNMEASURED,
        images=report.images,
        needed=rounded(result.images_needed or 0),
    )


def images_of(report: RegressionReport) -> str:
    """Say on how many images a report is, and where its metrics are not at the model's size."""
    own_size = "" if report.metrics_at == "model" else ", metrics at the size of each"
    return f"{wording.plural(report.images, 'image')}{own_size}"


def rounded(number: int) -> str:
    """Write a count that is only an estimate, to two digits: 1,234 is 1,200."""
    digits = max(0, len(str(number)) - 2)
    return f"{round(number, -digits):,}"


def why_picked(pick: Pick) -> str:
    """Say why a variant is run."""
    if pick.choice is not None:
        return f"{CHOICE}: {why_shipped(pick.choice)}"
    return "asked for by name" if pick.by == "name" else f"the build shipped it, and there is no {CHOICE}"


def outcome(one: Candidate) -> str:
    """Say how a variant fared, apart from the others."""
    if one.skipped == "not_opened":
        return f"not opened: {one.error}"
    if one.skipped is not None:
        return f"not judged: {SKIPPED[one.skipped]}"
    text = variant_summary(one.verdicts, accepted=one.accepted)
    unlike = one.accepted and one.disagreeing
    return f"{text}, but it does not answer as the reference does: {', '.join(one.disagreeing)}" if unlike else text


def why_candidate(choice: Choice, one: Candidate) -> str:
    """Say why a variant is shipped or is not."""
    if one.name == choice.shipped:
        return f"shipped; {outcome(one)}"
    if not one.accepted or one.disagreeing:
        return outcome(one)
    return f"{outcome(one)}; {remark(choice, one)}"


def remark(choice: Choice, one: Candidate) -> str:
    """Say what a table's cell adds to how a variant fared: why it was not judged, or what keeps it from being shipped."""
    if one.skipped is not None:
        return SKIPPED.get(one.skipped, one.error)
    if one.name == choice.shipped or not one.accepted:
        return ""
    if one.disagreeing:
        return f"it does not answer as the reference does: {', '.join(one.disagreeing)}"
    alike = one.standing == choice.ship.standing
    return _compared(one.over_shipped, choice) if alike else f"{choice.shipped} passes on every task"


def _compared(over: Ratio | None, choice: Choice) -> str:
    """Say how a variant's time compares with the shipped one's."""
    shipped = choice.shipped
    if over is None:
        return f"{shipped} {FEWEST if choice.rule == 'fewest_bytes' else 'is narrower'}"
    if over.equal:
        return (
            f"equal within noise to {shipped}: {over.median:.2f} times its time, 95 % {over.low:.2f} to {over.high:.2f}"
        )
    if over.median < 1:
        return f"not shown to be enough faster than {shipped} to be shipped instead of it"
    return f"{over.median:.2f} times as slow as {shipped}"


def why_shipped(choice: Choice) -> str:
    """Say in one sentence why a variant is shipped."""
    only = f"of {', '.join(choice.only)}, the others not tried: " if choice.only else ""
    return only + (NOT_PASSED.get(choice.rule) or _passed(choice))


def _passed(choice: Choice) -> str:
    fared = variant_summary(choice.ship.verdicts, accepted=True)
    kind = fared if choice.ship.standing == "within" else f"of those allowed ({fared}; {NONE_WITHIN})"
    if choice.rule == "fewest_bytes":
        return f"{kind}, and by the plans {FEWEST}; the device decides by measuring"
    if choice.rule == "narrowest":
        return f"the narrowest precision {kind} under emulation; the device decides by measuring"
    fastest = choice.candidate(choice.fastest or choice.shipped)
    rules: dict[Rule, str] = {
        "fastest": f"the fastest variant {kind}",
        "equal": f"{kind}, equal within noise to {_timed(fastest)} and more precise",
        "gain_not_shown": f"{kind}, more precise than {_timed(fastest)}, whose gain is not shown beyond the noise",
    }
    latency = f"{choice.ship.latency_ms or 0.0:.1f} ms"
    return f"{rules[choice.rule]}, measured here: {latency}{_over_f32(choice)}{_passed_over(choice)}"


def _timed(one: Candidate) -> str:
    return f"{one.name} ({one.latency_ms or 0.0:.1f} ms)"


def _over_f32(choice: Choice) -> str:
    """Say how many times as fast as compiled float32 the shipped variant is."""
    times = choice.speed_up
    base = "" if times is None else _timed(choice.candidate("f32")).removeprefix("f32 ")
    return "" if times is None else f", {times:.2f} times as fast as compiled f32 {base}"


def _passed_over(choice: Choice) -> str:
    """Say which variant is faster and may not be shipped, or that none gains enough over f32."""
    ship = choice.ship
    others = sorted(
        (one for one in choice.candidates if one.name != ship.name and one.latency_ms is not None),
        key=lambda one: one.latency_ms or 0.0,
    )
    unfit = [
        one
        for one in others
        if one.over_shipped is not None
        and one.over_shipped.median < 1
        and (one.disagreeing or one.standing not in ("within", ship.standing))
    ]
    if unfit:
        return f"; {unfit[0].name} is faster ({unfit[0].latency_ms:.1f} ms), but {why_candidate(choice, unfit[0])}"
    return (
        f"; nothing narrower gains enough ({others[0].name} {others[0].latency_ms:.1f} ms)"
        if ship.name == "f32" and others
        else ""
    )


def search_ended(report: SearchReport) -> str:
    """Say how the search for a mixed graph ended."""
    if report.result == "switched_off":
        return "not searched: switched off"
    if report.result == "no_int8_graph":
        return "not searched: there is no INT8 graph"
    if report.result == "no_labels":
        return f"not searched: {report.unlabelled} of {report.calibration_images} calibration images lack a label"
    last = report.steps[-1]
    if report.result == "int8_holds":
        return f"nothing to fix on these images: every task holds in plain INT8{_unknown(last)}"
    if report.result == "smooth_holds":
        return f"SmoothQuant, no layer in float: {step_ended(last, report.config.margin)}"
    if report.result == "mixed":
        said = step_ended(last, report.config.margin)
        return f"{last.layers_in_float} layers with {last.macs_share:.1%} of the MACs in float; {said}"
    said = step_ended(report.steps[0], report.config.margin)
    limit = f"{report.config.limit:.1%} of the MACs, {report.never_quantized_share:.1%} are in float already"
    if report.result == "no_layer_fits":
        return f"{said}; no layer fits into {limit}"
    return f"{said}; no graph can decide it within {limit}: with all of it in float {_forecast(report)}"


def step_ended(step: Step, margin: float) -> str:
    """Say how the tasks of one tried graph fare; ``margin`` is the part of a budget that an interval may take."""
    return _held(step, margin) + _unknown(step)


def _held(step: Step, margin: float) -> str:
    if step.held:
        return "every task holds"
    if step.passed:
        return f"every task holds its budget, but not {margin:.0%} of it: {', '.join(step.broken)}"
    failing = ", ".join(name for name, task in step.tasks.items() if task.defined and task.verdict != "pass")
    if step.near:
        return f"every task holds as far as these images tell, which is too few to be sure of: {failing}"
    return f"not held: {failing}"


def _unknown(step: Step) -> str:
    """Say which tasks these images say nothing about, and which have fewer images than a verdict needs."""
    names = ", ".join(name for name, task in step.tasks.items() if not task.defined)
    thin = ", ".join(f"{name} {task.labelled_images}" for name, task in step.tasks.items() if task.thin)
    undefined = f"; undefined on these images: {names}" if names else ""
    return undefined + (f"; on fewer than {MINIMUM_IMAGES} labelled images, which show little: {thin}" if thin else "")


def _forecast(report: SearchReport) -> str:
    return "; ".join(
        f"{name} keeps {task.noise_left:.0%} of its noise, which leaves an interval of "
        f"{wording.interval(task.interval)} and a budget of {wording.budget(report.budgets[name])}"
        for name, task in report.forecast.items()
    )
