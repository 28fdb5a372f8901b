"""The command ``predict``, of the host and of the device runtime."""

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from bundle.base.strict_json import dumps
from bundle.base.terminal import INTERRUPTED, print_answer, say
from bundle.formats.outputs import nothing, reporting, require_folder
from bundle.transport.archive import unpack_beside
from bundle.transport.signature import load_trusted
from predict.frame import STEPS, Clock, Frame
from predict.options import PREDICTING, Asked
from predict.outputs import Outputs, Wanted
from predict.run import Report, chosen, run
from predict.sources import Source, files_of, opened
from targets.base import RunConfig, Session
from targets.open import open_session

DESCRIPTION = "Run a bundle on images or a video, and write what each task sees."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the bundle, the source and the options to a command line."""
    parser.add_argument(
        "bundle", type=Path, help="a bundle's folder, or its archive NAME.zip: unpacked as NAME beside it"
    )
    parser.add_argument(
        "source", help="an image, a folder, a pattern in quotes, a video, a URL, a device, or - for a pipe"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder that is new or empty")
    for name, option in PREDICTING.items():
        parser.add_argument(f"--{name}", **option.settings())  # type: ignore[arg-type]  # the table's own words
    parser.add_argument(
        "--json", dest="as_json", action="store_true", help="print a line of JSON a frame, and a last one"
    )


def asked(given: argparse.Namespace) -> Asked:
    """Return what a command line asks for."""
    return Asked(**{name: getattr(given, name) for name in Asked.model_fields})


def predict(ask: Asked) -> None:
    """Predict all frames of a source and print how long each step took. Ctrl-C ends it after the frame that is in work.

    Raises:
        InputError: the source or an option cannot be used, or something is at ``out``.
        ArtifactError: the bundle is incomplete or was altered.
        TargetUnavailable: the device, its runtime, PyAV or Pillow is not here.
        SystemExit: with 130 where Ctrl-C ended a source that was not live.
    """
    folder = unpack_beside(ask.bundle, key=ask.key) if ask.bundle.is_file() else ask.bundle
    bundle = load_trusted(folder, ask.key)
    manifest = ask.fitted(bundle.manifest)
    kinds, tasks = ask.kinds(), ask.tasks_of(manifest)
    require_folder(ask.out, nothing, [folder, *files_of(ask.source)])
    with opened(ask.source, ask.format, ask.frames) as source:
        wanted = Wanted(tasks=tasks, kinds=kinds, alpha=ask.alpha, codec=ask.codec, moving=source.moving)
        outputs = Outputs(ask.out, manifest, wanted)
        run_config = RunConfig(device=ask.device, threads=ask.threads)
        session, _ = open_session(bundle, execute=ask.execute, variant=ask.variant, run=run_config)
        with session, _stopping() as stop:
            clock = Clock()
            frames = chosen(_until(stop, _counted(source.frames, clock)), ask.every, ask.limit)
            with reporting(ask.out, ask.out), outputs:
                run(manifest, session.start, frames, outputs, _report(ask), clock, ahead=not source.live)
    _show(ask, session, clock, source, outputs.videos)
    if stop.is_set() and not source.live:
        raise SystemExit(INTERRUPTED)


def _counted(frames: Iterator[Frame], clock: Clock) -> Iterator[Frame]:
    for frame in frames:
        clock.add("decode", frame.decode_ms)
        yield frame


def _until(stop: Event, frames: Iterator[Frame]) -> Iterator[Frame]:
    for frame in frames:
        if stop.is_set():
            return
        yield frame


@contextmanager
def _stopping() -> Iterator[Event]:
    """Yield an event that the first Ctrl-C sets; a second one interrupts as ever."""
    stop, before = Event(), signal.getsignal(signal.SIGINT)

    def on_interrupt(*_: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, before)
        say("stopping after the frame that is in work; Ctrl-C again interrupts it")

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def _report(ask: Asked) -> Report:
    def report(frame: Frame, files: list[str]) -> None:
        if ask.as_json:
            print_answer(dumps({"frame": frame.name, "time_s": frame.time_s, "files": files}))

    return report


def _show(ask: Asked, session: Session, clock: Clock, source: Source, videos: list[str]) -> None:
    """Print the last line of JSON, or the table of times."""
    seconds, spreads, info = clock.seconds(), clock.spreads(), session.info
    rate = clock.frames / seconds
    if ask.as_json:
        answer = {
            "out": str(ask.out),
            "videos": videos,
            "frames": clock.frames,
            "seconds": seconds,
            "frames_per_second": rate,
            "ms": {name: spread._asdict() for name, spread in spreads.items()},
            "live": source.live,
            "variant": info.precision,
            "executed_on": info.executed_on,
            "device": info.capabilities.device_name,
        }
        print_answer(dumps(answer))
        return
    print_answer(f"{'ms':8} {'median':>8} {'p95':>8}")
    for name in (name for name in STEPS if name in spreads):
        print_answer(f"{name:8} {spreads[name].median:8.2f} {spreads[name].p95:8.2f}")
    print_answer(
        f"{ask.out}: {clock.frames} frames in {seconds:.1f} s, {rate:.1f} a second; "
        f"{info.precision}, {info.executed_on}, {info.capabilities.device_name}"
    )
