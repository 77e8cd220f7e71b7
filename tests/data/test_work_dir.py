"""Where a store can be put, said before any work is done."""

from pathlib import Path

import pytest

from tfllm.data import StoreError, prepare
from tfllm.data.preparation import local
from tfllm.tokenizers import ByteTokenizer


def quiet(paths, out):
    return prepare(paths, ByteTokenizer(), out, validation=0, processes=1, progress=False)


def test_places_that_nothing_can_be_renamed_to(tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    monkeypatch.setattr(local, "Files", None)  # nothing was looked at yet
    for out in (".", tmp_path / "empty", "../empty/"):
        with pytest.raises(StoreError, match=r"/empty is the current folder, which a store cannot replace\. Give a folder in"):
            quiet(tmp_path, out)
    with pytest.raises(
        StoreError,
        match=r"out='gs://b/store' is invalid: expected a folder on a local disk\. Give one, or call prepare_with_beam",
    ):
        quiet(tmp_path, "gs://b/store")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path / "empty")
    with pytest.raises(StoreError, match="/empty is a mount point, which a store cannot replace"):
        quiet(tmp_path, "empty")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_link_to_an_empty_folder_and_a_store_around_us(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("empty")
    store = quiet(tmp_path / "a.txt", tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "empty", "link"]
    monkeypatch.chdir(tmp_path / "empty")
    assert quiet(tmp_path / "a.txt", ".").manifest == store.manifest
