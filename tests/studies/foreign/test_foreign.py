"""The study's own parts: what its files say is what the build reads, and no network is missed in the table."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bundle.base.append_log import AppendLog
from bundle.base.errors import CheckpointError, InputError, RegressionFailed
from bundle.tasks.dataset import FolderDataset, load_spec
from compile.networks.description import read_description
from studies.bundle_files import read_bundle
from studies.foreign.fit import fit, read_fitted, read_scenes, write_fitted
from studies.foreign.jobs import TARGETS, Terms, build_job, make_files
from studies.foreign.networks import NETWORKS, Network, Sources, write_view
from studies.foreign.own import TwoHeads, UNet
from studies.foreign.run import choose, require_taken
from studies.foreign.tables import Result, markdown
from tests.report import made

SCENES = Path("data/scenes")


def by_name(name: str) -> Network:
    return next(network for network in NETWORKS if network.name == name)


@pytest.fixture
def terms(tmp_path: Path) -> Terms:
    sources = Sources(SCENES / "dataset.json", tmp_path / "wheels", Path("models/foreign"))
    return Terms(sources, SCENES, 12, tmp_path / "out", False)


def bundle(network: Network, target: str, terms: Terms, **changes: object) -> None:
    """Write a bundle and its journal, as the command would."""
    job = build_job(network, target, terms)
    AppendLog(job.journal).add('{"key": "k", "seconds": 42.0, "code": 0}')
    report = made.regression(**{"precision": "f32", "target": target, "model": network.name, **changes})
    made.make(job.folder, report, images=2, name=network.name, target=target)


def result(network: Network, terms: Terms) -> Result:
    return Result(network, {target: read_bundle(build_job(network, target, terms)) for target in TARGETS})


@pytest.mark.parametrize("network", NETWORKS, ids=[network.name for network in NETWORKS])
def test_each_description_is_one_that_the_build_reads(network: Network, tmp_path: Path) -> None:
    (tmp_path / "tasks.toml").write_text(network.tasks)
    described = read_description(tmp_path / "tasks.toml")
    assert described.name == network.name and list(described.tasks) == list(network.outputs)
    assert described.input.normalised


@pytest.mark.slow
def test_a_view_has_labels_only_where_they_judge(tmp_path: Path) -> None:
    write_view(SCENES, by_name("two-heads"), tmp_path / "judged")
    write_view(SCENES, by_name("dpt"), tmp_path / "bare")
    assert {path.name for path in (tmp_path / "judged").iterdir() if path.is_dir()} == {"image", "normals", "saliency"}
    assert {path.name for path in (tmp_path / "bare").iterdir() if path.is_dir()} == {"image"}
    write_view(SCENES, by_name("text-detector"), tmp_path / "text")
    name = (SCENES / "val.txt").read_text().split()[0]
    painted, plain = (
        np.asarray(Image.open(path).convert("RGB"), int)
        for path in (tmp_path / "text" / "image" / f"{name}.png", SCENES / "image" / f"{name}.jpg")
    )
    assert 0.001 < (painted != plain).any(-1).mean() < 0.2
    data = FolderDataset(root=tmp_path / "bare", spec=load_spec(tmp_path / "bare" / "dataset.json"), size=(32, 48))
    assert data.image(data.ids("val")[0]).shape == (32, 48, 3)


def test_a_file_is_made_once(terms: Terms, tmp_path: Path) -> None:
    calls = list[Path]()

    def make(path: Path, sources: Sources) -> None:
        calls.append(path)
        path.write_bytes(b"network")

    network = by_name("dpt")._replace(make=make)
    make_files(network, terms, lambda _: None)
    make_files(network, terms, lambda _: None)
    assert len(calls) == 1
    calls[0].write_bytes(b"altered")
    make_files(network, terms, lambda _: None)
    assert len(calls) == 2 and (calls[0].parent / "tasks.toml").read_text() == network.tasks


@pytest.mark.slow
def test_the_detector_asks_for_its_wheel(terms: Terms) -> None:
    with pytest.raises(InputError, match="wheel"):
        make_files(by_name("text-detector"), terms, lambda _: None)


def test_fitting_lowers_the_loss(terms: Terms) -> None:
    torch.manual_seed(0)
    network = TwoHeads()
    scenes = read_scenes(SCENES, SCENES / "dataset.json", "calibration", ("normals", "saliency"), (16, 24))
    assert scenes.images.shape[1:] == (3, 16, 24) and scenes.labels["normals"].shape[1:] == (3, 16, 24)

    def error() -> float:
        with torch.no_grad():
            salient = network.eval()(scenes.images)["salient"]
        target = torch.nn.functional.interpolate(scenes.labels["saliency"][:, None].float(), salient.shape[-2:])
        return float(torch.nn.functional.binary_cross_entropy(salient, target))

    before = error()
    fit(network, scenes, 20)
    assert error() < before and not network.training


def test_fitted_weights_come_back_and_those_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, other, pixels = TwoHeads().eval(), TwoHeads(), torch.rand(1, 3, 16, 24)
    write_fitted(network, tmp_path / "w" / "net.safetensors")
    read_fitted(other, tmp_path / "w" / "net.safetensors")
    torch.testing.assert_close(other(pixels), network(pixels), rtol=1e-2, atol=1e-2)  # stored as float16
    with pytest.raises(CheckpointError, match="do not fit"):
        read_fitted(UNet(5), tmp_path / "w" / "net.safetensors")
    with pytest.raises(CheckpointError, match="missing"):
        read_fitted(network, tmp_path / "none.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "two-heads"])
def test_the_shipped_weights_make_the_network(name: str, terms: Terms) -> None:
    make_files(by_name(name), terms, lambda _: None)
    assert (terms.folder(by_name(name)) / by_name(name).file).is_file()


def test_a_unet_answers_at_the_images_size() -> None:
    classes, metres = UNet(5).eval()(torch.zeros(1, 3, 24, 40))
    assert classes.shape == (1, 5, 24, 40) and metres.shape == (1, 1, 24, 40) and (metres > 0).all()


def test_the_table_has_a_row_for_each_network_and_target(terms: Terms) -> None:
    network, other = by_name("unet"), by_name("dpt")
    for target in TARGETS:
        bundle(network, target, terms)
    bundle(other, "intel", terms)
    refused = build_job(other, "jetson", terms)
    AppendLog(refused.journal).add('{"key": "k", "seconds": 1.0, "code": 2, "reason": "an operator"}')
    rows = markdown([result(network, terms), result(other, terms)], "make foreign").splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows if row.startswith("| ")][2:]
    assert [row[:3:2] for row in cells] == [[name, target] for name in ("unet", "dpt") for target in TARGETS]
    assert cells[0][3] == "within every budget" and cells[0][-1] == "42" and "semseg: mIoU 0.5000 →" in cells[0][4]
    assert cells[3][3] == "not run: an operator"


def test_one_network_may_be_refused_for_a_target(terms: Terms) -> None:
    for name in ("unet", "dpt"):
        bundle(by_name(name), "intel", terms)
    results = [result(by_name(name), terms) for name in ("unet", "dpt")]
    require_taken(results[:1])
    with pytest.raises(RegressionFailed, match="2 of 2"):
        require_taken(results)


def test_a_wrong_name_is_named() -> None:
    assert choose(("dpt",)) == (by_name("dpt"),) and choose(()) == NETWORKS
    with pytest.raises(InputError, match="detr"):
        choose(("detr",))
