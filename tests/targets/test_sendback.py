"""The file a device sends back: its place is made before anything is measured, and it is written whole or not at all."""

import zipfile
from pathlib import Path

import pytest

from bundle.errors import InputError
from targets.sendback import SENT, prepare_sendback, write_sendback


def test_the_folder_is_made_and_a_folders_name_is_refused(tmp_path: Path) -> None:
    prepare_sendback(tmp_path / "new" / "folder" / "results.zip")
    assert (tmp_path / "new" / "folder").is_dir()
    with pytest.raises(InputError, match="cannot be written there") as caught:
        prepare_sendback(tmp_path / "new")
    assert caught.value.got == "a folder"
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match="file"):
        prepare_sendback(tmp_path / "file" / "results.zip")


def test_an_earlier_archive_stays_whole_where_a_new_one_fails(tmp_path: Path) -> None:
    for name in SENT:
        (tmp_path / name).write_text("{}")
    sent = write_sendback(tmp_path, tmp_path / "results.zip")
    (tmp_path / SENT[-1]).unlink()
    with pytest.raises(FileNotFoundError):
        write_sendback(tmp_path, sent)
    with zipfile.ZipFile(sent) as archive:
        assert archive.namelist() == list(SENT)
    assert not list(tmp_path.glob(".*"))
