"""What quantization costs a network that has no labels: each variant against the float graph, on images held out of calibration.

SQNR is 10·log10(Σ reference² / Σ difference²) over all images; the reference counts with no less than the output's floor
(``compile.graphs.output_floors``), since noise on an output near 0 is no loss. A label map counts as its one-hot map.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import onnx_ir as ir

from bundle.judging.sensitivity import NOTHING_DB
from bundle.tasks.agreement import ENERGIES, Floats, cosine, energy, sqnr_db
from calibration.image_files import ImageFiles
from compile.graphs.output_floors import output_floors
from compile.quantization.formats import format_of
from compile.quantization.nncf_calibration import feeds_of
from compile.quantization.variants import QuantizationJob
from compile.stage.artifacts import OutputFidelity, VariantFidelity
from compile.stage.compare import Outputs, run_graph
from compile.stage.graph_info import Array
from targets.base import Session, Variant

LEAST_DB = 20.0  # a tenth of the signal is noise; a good INT8 network has 25 to 45
LEAST_LABELS_DB = 7.0  # a tenth of the pixels has another label
TIMED = 9


def measure_fidelity(
    job: QuantizationJob, variants: Sequence[Variant], held: ImageFiles
) -> tuple[VariantFidelity, ...]:
    """Run every variant on the images held out, against the float graph.

    Raises:
        DatasetError: an image cannot be read, or has another size than the model takes.
        GraphError: a runtime refuses a graph.
        TargetUnavailable: the target's runtime is not installed.
    """
    feeds = feeds_of(job.info, held)
    reference = run_graph(job.source, job.info, feeds, exact=False, threads=job.run.threads)
    floors = output_floors(ir.load(job.source), feeds, threads=job.run.threads)
    measured = []
    for variant in variants:
        with job.target.open(job.folder, variant, job.run, "auto", keep=job.folder) as session:
            outputs: list[Outputs] = [session.infer(feed) for feed in feeds]
            spent = _milliseconds(session, feeds[0])
        rows = tuple(_output(name, outputs, reference, floors.get(name, 0.0)) for name in reference[0])
        share = _int8_share(job, variant)
        measured.append(VariantFidelity(variant=variant.recipe.name, outputs=rows, int8_share=share, median_ms=spent))
    return tuple(measured)


def _milliseconds(session: Session, feed: dict[str, Array]) -> float | None:
    """Return the median of a few calls after a first; None where the device is emulated."""
    if session.info.executed_on != "device":
        return None
    session.timed(feed)
    return median(session.timed(feed).total_ms for _ in range(TIMED))


def _int8_share(job: QuantizationJob, variant: Variant) -> float | None:
    quantized = variant.recipe.graph in ("quantized", "mixed")
    return format_of(job.target).int8_share(Path(job.folder / variant.files[0])) if quantized else None


def _output(name: str, outputs: Sequence[Outputs], reference: Sequence[Outputs], floor: float) -> OutputFidelity:
    pairs = list(zip(reference, outputs, strict=True))
    sums: Floats = sum((energy(want[name], got[name]) for want, got in pairs), np.zeros(ENERGIES))
    size = sum(want[name].size for want, _ in pairs)
    labels = np.issubdtype(reference[0][name].dtype, np.integer)
    least = size * floor**2
    found = sqnr_db(np.array([max(sums[0], least), *sums[1:]])) if sums[1] else NOTHING_DB
    found = -NOTHING_DB if np.isnan(found) else float(np.clip(found, -NOTHING_DB, NOTHING_DB))
    return OutputFidelity(
        output=name, sqnr_db=found, cosine=cosine(sums), labels=bool(labels), below_floor=bool(sums[0] < least)
    )


def useless(measured: Sequence[VariantFidelity]) -> Iterator[str]:
    """Say of each variant that no one can use why not: an output that is mostly noise, or an INT8 graph without INT8."""
    for row in measured:
        for output in row.outputs:
            least = LEAST_LABELS_DB if output.labels else LEAST_DB
            if output.sqnr_db < least:
                yield f"{row.variant}: {output.output} has {output.sqnr_db:.1f} dB, less than {least:g}"
        if row.int8_share == 0:
            yield f"{row.variant}: no product is computed in INT8"


def lines(measured: Sequence[VariantFidelity]) -> Iterator[str]:
    """Yield a line for each variant and output."""
    for row in measured:
        spent = "not run on the device" if row.median_ms is None else f"{row.median_ms:.3g} ms"
        share = "" if row.int8_share is None else f"{row.int8_share:.0%} of the MACs in INT8, "
        yield f"{row.variant}: {share}{spent}"
        for output in row.outputs:
            noise = "no difference" if output.sqnr_db == NOTHING_DB else f"{output.sqnr_db:.1f} dB"
            alike = "cosine undefined: all zeros" if np.isnan(output.cosine) else f"cosine {output.cosine:.5f}"
            hint = "; it is nearly 0 on these images, which do not show what is lost" if output.below_floor else ""
            yield f"  {output.output}: {noise}, {alike}{hint}"
