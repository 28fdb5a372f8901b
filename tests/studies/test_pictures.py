import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundle.base.errors import InputError
from bundle.formats.manifest import Bundle, load_bundle
from bundle.tasks.kinds.colours import Inks
from bundle.tasks.table import task
from compile.stage.command import run_script
from studies.pictures import GAP, HEADING, MARGIN, main, picture
from tests.exits import exit_code
from tests.report import made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return load_bundle(made.make(tmp_path_factory.mktemp("picture") / "made", made.regression()))


def test_every_task_has_its_tile_in_its_place(bundle: Bundle) -> None:
    drawn = picture(bundle, ids=("00001",), tile=made.WIDTH, labels=True)
    columns = MARGIN + GAP + 7 * made.WIDTH + 6 * GAP
    assert drawn.shape == (HEADING + 2 * (GAP + made.HEIGHT), columns, 3)
    top, left = HEADING + GAP + made.HEIGHT + GAP, MARGIN + GAP + made.WIDTH + GAP
    tile = drawn[top : top + made.HEIGHT, left : left + made.WIDTH]
    assert np.array_equal(
        tile, task("semseg").kind.draw(made.scene(1, 0.0).labels["semseg"], Inks(palette=made.COLOURS))
    )


def test_rows_follow_the_ids(bundle: Bundle) -> None:
    both = picture(bundle, ids=("00002", "00000"), tile=made.WIDTH, labels=False)
    one = picture(bundle, ids=("00000",), tile=made.WIDTH, labels=False)
    assert np.array_equal(both[-made.HEIGHT :], one[-made.HEIGHT :])


def test_an_unknown_id_is_named(bundle: Bundle) -> None:
    with pytest.raises(InputError, match="no image '9'"):
        picture(bundle, ids=("9",), tile=32, labels=True)


def test_the_command_writes_a_png(bundle: Bundle, tmp_path: Path) -> None:
    out = tmp_path / "deep" / "six.png"
    assert (
        exit_code(run_script, main, ["--bundle", str(bundle.folder), "--out", str(out), "--tile", "28", "--no-labels"])
        == 0
    )
    with Image.open(out) as image:
        assert image.size == (7 * 28 + 6 * GAP, HEADING + 3 * (GAP + 20))


def test_the_command_ends_with_the_error_and_its_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(run_script, main, ["--bundle", str(tmp_path / "b"), "--out", str(tmp_path / "x.png")]) == 2
    assert "no bundle here" in capsys.readouterr().err


def test_it_needs_no_torch() -> None:
    code = "import sys, studies.pictures, report.bundle_page.page, report.terminal; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0
