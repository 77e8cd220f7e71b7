"""Whole or not at all: files and folders written beside their place."""

from pathlib import Path

import pytest

from tfllm.files import WriteError, publish_folder, write_atomically


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a"
    write_atomically(path, [b"one", b"", b"two"], durable=True)
    assert path.read_bytes() == b"onetwo"
    with pytest.raises(TypeError):
        write_atomically(path, [b"three", "no bytes"])
    assert path.read_bytes() == b"onetwo"


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WriteError, match=r"Could not write .*file/a: Not a directory\. Nothing that looks finished") as error:
        write_atomically(tmp_path / "file" / "a", [b"x"])
    assert error.value.errno == 20


def test_a_folder_appears_whole(tmp_path):
    with publish_folder(tmp_path / "runs" / "a") as folder:
        (folder / "part").write_text("x")
        assert not (tmp_path / "runs" / "a").exists()
    assert (tmp_path / "runs" / "a" / "part").read_text() == "x"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]


def test_a_link_to_an_empty_folder_stays(tmp_path, monkeypatch):
    (tmp_path / "large_disk").mkdir()
    (tmp_path / "a").symlink_to("large_disk")
    with publish_folder(tmp_path / "a") as folder:
        (folder / "part").write_text("x")
    assert (tmp_path / "a").is_symlink() and (tmp_path / "large_disk/part").read_text() == "x"
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FileExistsError, match="here is the current folder"), publish_folder(Path()):
        pass


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), publish_folder(tmp_path / "a") as folder:
        (folder / "part").touch()
        raise KeyError
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine").touch()
    with pytest.raises(OSError, match="not empty"), publish_folder(tmp_path / "b"):
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["b", "mine"]
