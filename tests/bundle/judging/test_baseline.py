"""An earlier run: its arrays survive the file, and what cannot be compared is refused."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from bundle.base.errors import InputError
from bundle.judging.baseline import compare, pack, unpack
from bundle.judging.criteria import Judging
from bundle.judging.regression_report import RegressionReport
from bundle.judging.run import run
from tests.architecture.source import ROOT
from tests.bundle.made import HERE, TASKS, Bundle, Io, make_bundle, session, unchanged


@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=3, max_side=5), elements=st.floats(width=64)))
def test_packed_arrays_come_back_to_the_last_bit(array: np.ndarray) -> None:
    np.testing.assert_array_equal(unpack(pack(("a",), {"x": array}).tasks["x"], array.shape), array, strict=True)


@pytest.mark.parametrize("text", ["", "!!!", "AAAA", pack((), {"x": np.zeros((2, 2))}).tasks["x"]])
def test_something_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        unpack(text, (3, 2))


@pytest.mark.slow
def test_a_bomb_is_refused_before_it_goes_off() -> None:
    """3 GiB in 3 MB would be unpacked by anyone who asks for all of it; this process may have 2 GiB."""
    program = (
        "import base64, resource, zlib\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))\n"
        "from bundle.judging.baseline import unpack\nfrom bundle.base.errors import InputError\n"
        "packer, block = zlib.compressobj(), bytes(1 << 20)\n"
        "bomb = b''.join(packer.compress(block) for _ in range(3 << 10)) + packer.flush()\n"
        "try:\n    unpack(base64.b64encode(bomb).decode(), (3, 2))\n"
        "except InputError as error:\n    print(error.got)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "more than 48 bytes\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("baseline") / "b", io="raw", count=12)


def judged(bundle: Bundle, scale: float = 0.0, baseline: RegressionReport | None = None) -> RegressionReport:
    random = np.random.default_rng(0)
    io: Io = "raw"

    def change(name: str, raw: np.ndarray) -> np.ndarray:
        return raw + random.normal(scale=scale, size=raw.shape).astype(np.float32) if name == "depth" else raw

    return run(bundle, session(io, change if scale else unchanged), HERE, resamples=300, baseline=baseline)


def test_a_run_is_gated_by_the_earlier_one_too(bundle: Bundle) -> None:
    good, bad = judged(bundle), judged(bundle, 1.0)
    worse = judged(bundle, 1.0, baseline=good)
    assert worse.baseline is not None and not worse.baseline.passed and worse.baseline.precision == "f32"
    rows = worse.baseline.tasks
    assert {name: row.verdict for name, row in rows.items()} == {**dict.fromkeys(TASKS, "pass"), "depth": "regression"}
    assert rows["depth"].drop_relative == worse.tasks["depth"].drop_relative  # the earlier run is the reference itself
    better = judged(bundle, baseline=bad)
    assert better.passed and better.baseline is not None
    assert better.baseline.tasks["depth"].reference == bad.tasks["depth"].compiled


def test_equal_drops_against_the_reference_still_show_their_difference(bundle: Bundle) -> None:
    """Fails although both runs fail their budget alike: what counts here is the difference between them."""
    same = judged(bundle, 1.0, baseline=judged(bundle, 1.0))
    assert same.baseline is not None and same.baseline.passed and not same.passed
    assert same.baseline.tasks["depth"].interval == (0.0, 0.0)


@pytest.mark.parametrize("fault", ["no arrays", "other tasks", "other images", "fewer images", "another order"])
def test_what_cannot_be_compared_is_refused(bundle: Bundle, fault: str) -> None:
    earlier = judged(bundle)
    kept = earlier.arrays
    assert kept is not None
    changes = {
        "no arrays": None,
        "other tasks": kept.model_copy(update={"tasks": {"depth": kept.tasks["depth"]}}),
        "other images": kept.model_copy(update={"ids": ("else", *kept.ids[1:])}),
        "fewer images": kept.model_copy(update={"ids": kept.ids[:-1]}),
        "another order": kept.model_copy(update={"ids": kept.ids[::-1]}),
    }
    broken = earlier.model_copy(update={"arrays": changes[fault]})
    arrays = {name: np.zeros((8, 2)) for name in TASKS}
    with pytest.raises(InputError, match="the earlier run") as caught:
        compare(broken, kept.ids, arrays, bundle.manifest, Judging("one-sided", 9, allow_inconclusive=False))
    assert "--baseline" in str(caught.value)
    said = {
        "other images": "else is in one",
        "fewer images": f"{kept.ids[-1]} is in one",
        "another order": "another order",
    }
    assert said.get(fault, "") in caught.value.got


def test_an_earlier_run_that_was_broken_itself_is_no_baseline(bundle: Bundle) -> None:
    def spoil(name: str, raw: np.ndarray) -> np.ndarray:
        return np.full_like(raw, np.nan) if name == "edge" else raw

    broken = run(bundle, session("raw", spoil), HERE, resamples=50)
    assert broken.tasks["edge"].verdict == "regression"
    with pytest.raises(InputError, match="the earlier run gave NaN or infinity for edge"):
        judged(bundle, baseline=broken)


def test_against_an_earlier_run_of_few_images_nothing_is_decided(tmp_path: Path) -> None:
    few = make_bundle(tmp_path / "few", io="raw", count=9)
    same = judged(few, baseline=judged(few))
    assert same.baseline is not None and not same.baseline.passed
    assert {row.verdict for row in same.baseline.tasks.values()} == {"inconclusive"}
