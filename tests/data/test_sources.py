"""Which files a corpus is, and what is refused before anything is read."""

import os
from pathlib import Path

import pytest

from tfllm.data.preparation.sources import SourceError, find_sources, kind_of


@pytest.fixture
def lib(tmp_path, monkeypatch):
    for name in (
        "lib/os.py",
        "lib/json/tool.py",
        "lib/site-packages/pip.py",
        "lib/test/bad_coding.py",
        "lib/x.so",
        "lib/.git/a.py",
        "lib/.hidden.py",
        "lib/lines.jsonl.gz",
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def paths(*args, **kwargs):
    return [source.path for source in find_sources(*args, **kwargs)]


def test_a_folder_as_in_the_docstring(lib):
    (lib / "lib/lines.jsonl.gz").unlink()
    assert paths("lib", exclude=["site-packages", "test/bad_*"]) == ["lib/json/tool.py", "lib/os.py"]


def test_folders_pass_over_hidden_names_and_other_suffixes(lib):
    found = paths(Path("lib"))
    assert found == sorted(found)
    assert found == [
        "lib/json/tool.py",
        "lib/lines.jsonl.gz",
        "lib/os.py",
        "lib/site-packages/pip.py",
        "lib/test/bad_coding.py",
    ]


def test_files_and_globs_are_read_whatever_their_suffix(lib):
    assert paths("lib/x.so") == ["lib/x.so"]
    assert paths("lib/*.so") == ["lib/x.so"]
    assert paths("lib/**/*.py", exclude=["site-packages"]) == [
        "lib/json/tool.py",
        "lib/os.py",
        "lib/test/bad_coding.py",
    ]
    assert paths("lib/jso*") == ["lib/json/tool.py"]  # a folder that a glob names is searched as a folder
    assert paths("*/*/t?ol.py") == paths("**/tool.py") == ["lib/json/tool.py"]
    assert "lib/x.so" in paths("lib/**")
    assert paths("lib/**/*.py", exclude=["lib/*"]) == paths("lib/**/*.py")  # patterns begin below the plain part


def test_what_is_excluded_is_not_looked_into(lib):
    seen = []
    scan = os.scandir

    def watch(folder):
        seen.append(str(folder))
        return scan(folder)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", watch)
        paths("lib", exclude=["site-packages"])
        paths("lib/**/*.py", exclude=["site-packages"])
    assert "lib/json" in seen
    assert "lib/site-packages" not in seen


def test_each_file_once(lib):
    (lib / "lib/link.py").symlink_to(lib / "lib/os.py")
    assert paths(["lib/os.py", "lib", str(lib / "lib/os.py")], exclude=["*.gz"]).count("lib/os.py") == 1
    assert "lib/link.py" not in paths(["lib/os.py", "lib"])


def test_exclusion_looks_only_below_what_was_given(lib):
    assert paths("lib/site-packages", exclude=["site-packages"]) == ["lib/site-packages/pip.py"]


def test_kinds():
    names = ["a.txt", "A.JSONL", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "README"]
    assert [kind_of(name) for name in names] == ["text", "jsonl", "jsonl.gz", "jsonl.zst", "parquet", "text"]


@pytest.mark.parametrize(
    ("given", "exclude", "message"),
    [
        ([], (), "No paths were given"),
        ("nowhere.txt", (), "'nowhere.txt' does not exist"),
        ("lib/*.md", (), r"'lib/\*.md' holds no file to read\. Folders"),
        ("nowhere/*.md", (), r"'nowhere/\*.md' holds no file to read\. Folders"),
        ("empty", (), "'empty' holds no file to read. Folders are searched for .txt"),
        ("lib", ["*"], r"'lib' holds no file to read. All may be excluded by \['\*'\]"),
        (["lib", "lib/os.py"], ["os.py"], "'lib/os.py' holds no file to read. All may be excluded"),
        ("void.txt", (), r"Every file is empty \(void.txt"),
        ("packed.txt.gz", (), "packed.txt.gz: compressed files are read as .jsonl.gz"),
        ("dangling.txt", (), "dangling.txt: No such file"),
        ("pipe", (), "pipe is not a regular file"),
    ],
)
def test_refusals_name_the_path(lib, given, exclude, message):
    (lib / "empty").mkdir()
    (lib / "void.txt").touch()
    (lib / "packed.txt.gz").write_text("x")
    (lib / "dangling.txt").symlink_to("gone")
    os.mkfifo(lib / "pipe")
    with pytest.raises(SourceError, match=message):
        find_sources(given, exclude)


def test_unreadable_files_and_folders_are_named(lib):
    locked = lib / "lib/os.py"
    locked.chmod(0)
    folder = lib / "lib/json"
    folder.chmod(0)
    lib.chmod(0o755)
    # Root reads everything, so ask as nobody, if we are root.
    was = os.geteuid()
    for parent in lib.parents:
        if parent.stat().st_uid == was and not parent.stat().st_mode & 0o005 and was == 0:
            parent.chmod(parent.stat().st_mode | 0o055)
    try:
        if was == 0:
            os.seteuid(65534)
        with pytest.raises(SourceError, match=r"os\.py: Permission denied"):
            find_sources(locked)
        with pytest.raises(SourceError, match="lib/json: Permission denied"):
            find_sources(lib / "lib")
    finally:
        os.seteuid(was)
        folder.chmod(0o755)
