"""Each task's map of many frames, in twenty lines: ``python -m examples.frames BUNDLE IMAGE ...``."""

import sys
from pathlib import Path

from bundle.base.terminal import print_answer
from bundle.formats.manifest import load_bundle
from bundle.judging.frames import feed, predictions
from bundle.tasks.dataset import read_image
from targets.base import RunConfig
from targets.open import open_session

if __name__ == "__main__":
    folder, *images = map(Path, sys.argv[1:])
    bundle = load_bundle(folder)  # every file is hashed
    session, _ = open_session(bundle, execute="auto", variant="", run=RunConfig())  # the variant that was chosen
    with session:
        for path in images:
            frame = read_image(path, as_shown=True)  # uint8 [height, width, 3], RGB; any source of frames will do
            maps = predictions(bundle.manifest, session.infer(feed(bundle.manifest, frame, name=str(path))))
            for name, values in maps.items():  # NumPy: label maps uint8, the others float32
                print_answer(f"{path.name} {name} {values.dtype} {values.shape} mean {values.mean():.3f}")
