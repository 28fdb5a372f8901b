"""A run through asynchronous requests: the answers of plain calls, to the bit and in order, and one error where one fails."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import compose, parser

from bundle.base.errors import SessionFailed
from bundle.formats.manifest import load_bundle, write_manifest
from bundle.judging.frames import feed, predictions
from targets.base import RunConfig
from targets.open import open_session
from targets.table import target
from tests.bundle.made import hash_bundle, image
from tests.bundle.made_onnx import graph, make
from tests.cli.run import tdss
from tests.predict.seen import files_below, lines_of
from tests.targets.test_runtime_errors import BREAKS


def images(folder: Path, count: int) -> Path:
    """Write so many different images, called by their numbers; none of their pixels is brighter than the limit."""
    folder.mkdir()
    for index in range(count):
        np.save(folder / f"{index:02d}.npy", image(index) // 2)
    return folder


def breaking(folder: Path) -> Path:
    """The made model for intel; the runtime cannot compute it for a bright image, and finds out while it runs."""
    terms = load_bundle(make(folder, "intel")).manifest
    after = compose.add_prefix(graph(), "after/", rename_outputs=False)
    merged = compose.merge_models(parser.parse_model(BREAKS), after, io_map=[("kept", "after/image")])
    onnx.save(merged, folder / "source.onnx")
    target("intel").convert(folder / "source.onnx", folder / "f32.xml")
    (folder / "source.onnx").unlink()
    write_manifest(folder, terms.model_copy(update={"files": hash_bundle(folder)}))
    return folder


@pytest.mark.parametrize("name", ["intel", "onnxruntime"])
def test_every_array_is_that_of_a_plain_call_and_has_its_frames_name(tmp_path: Path, capsys, name: str) -> None:
    """OpenVINO's requests, and the thread of a runtime without them."""
    bundle, folder = load_bundle(make(tmp_path / "bundle", name)), images(tmp_path / "in", 20)
    words = ("--out", str(tmp_path / "out"), "--write", "maps,arrays", "--threads", "1", "--json")
    code, text, err = tdss("predict", str(bundle.folder), str(folder), *words, capsys=capsys)
    assert code == 0, err
    frames, last = lines_of(text)
    assert [frame["frame"] for frame in frames] == [f"{index:02d}" for index in range(20)] and last["frames"] == 20
    session, _ = open_session(bundle, execute="device", variant="", run=RunConfig(threads=1))
    with session:
        for index in range(20):
            shown = np.load(folder / f"{index:02d}.npy")
            plain = predictions(bundle.manifest, session.infer(feed(bundle.manifest, shown)))
            with np.load(tmp_path / "out" / "arrays" / f"{index:02d}.npz", allow_pickle=False) as held:
                for task, values in plain.items():
                    assert np.array_equal(held[task], values), (index, task)


def test_a_request_that_fails_is_one_error_and_what_was_finished_stays(tmp_path: Path, capsys) -> None:
    bundle, folder = breaking(tmp_path / "bundle"), images(tmp_path / "in", 5)
    np.save(folder / "02.npy", np.full_like(image(0), 255))
    words = ("--out", str(tmp_path / "out"), "--write", "maps", "--tasks", "depth")
    code, _, err = tdss("predict", str(bundle), str(folder), *words, capsys=capsys)
    assert code == SessionFailed.exit_code and err.count("error:") == 1 and err.count("fix:") == 1, err
    assert "the runtime failed while it ran the graph" in err and "shape infer" in err
    assert files_below(tmp_path / "out") == ["maps/depth/00.png", "maps/depth/01.png"]
