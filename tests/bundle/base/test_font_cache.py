"""matplotlib's list of fonts: in a folder that goes away, or where its user wants it."""

import os
from pathlib import Path

import pytest

from bundle.base.font_cache import FOLDER, font_cache_apart


def test_the_folder_goes_away_and_the_environment_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER, raising=False)
    with pytest.raises(ImportError), font_cache_apart():
        folder = Path(os.environ[FOLDER])
        assert folder.is_dir()
        raise ImportError
    assert not folder.exists() and FOLDER not in os.environ


def test_a_folder_that_the_user_named_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    with font_cache_apart():
        assert os.environ[FOLDER] == str(tmp_path)
    assert tmp_path.is_dir() and os.environ[FOLDER] == str(tmp_path)
