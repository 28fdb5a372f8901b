"""The file a device sends back: its place is looked at before anything is measured, and it is written whole or not at all."""

import zipfile
from pathlib import Path

import pytest

from bundle.base.errors import InputError
from bundle.formats.hash_files import with_hashes
from targets.sendback import SENT, prepare_sendback, write_sendback


@pytest.mark.parametrize("name", ["bundle/results.zip", "bundle", "other.zip", "other.zip/results.zip", "folder"])
def test_a_place_that_cannot_be_written_or_holds_something_else_is_refused(tmp_path: Path, name: str) -> None:
    prepare_sendback(tmp_path / "new" / "folder" / "results.zip", tmp_path / "bundle")
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("holiday.txt", "mine")
    with pytest.raises(InputError):
        prepare_sendback(tmp_path / name, tmp_path / "bundle")


def test_an_earlier_archive_stays_whole_where_a_new_one_fails(tmp_path: Path) -> None:
    for name in with_hashes(*SENT):
        (tmp_path / name).write_text("{}")
    sent = write_sendback(tmp_path, tmp_path / "results.zip")
    (tmp_path / SENT[-1]).unlink()
    with pytest.raises(FileNotFoundError):
        write_sendback(tmp_path, sent)
    with zipfile.ZipFile(sent) as archive:
        assert archive.namelist() == list(with_hashes(*SENT))
    assert not list(tmp_path.glob(".*"))
