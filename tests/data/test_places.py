"""What paths with a scheme stand for, on object stores and where there are folders."""

import memory_files
import pytest

from tfllm.corpus.formats import SourceError
from tfllm.corpus.remote_files import find_remote

NAMES = ("web/a.txt", "web/b.so", "web/c/d.txt", "web/c/empty.txt", "web/c/.e.txt", "web/c[1]/f[2].txt", "website.txt")


@pytest.fixture(params=["memory", "folders"])
def place(request, monkeypatch):
    files = {f"{request.param}://corpus/{name}": b"" if "empty" in name else b"text" for name in NAMES}
    monkeypatch.setattr(memory_files, "FILES", files)
    monkeypatch.setattr(memory_files, "TIMES", dict.fromkeys(files, 7.0))
    return f"{request.param}://corpus"


def found(place, path, exclude=()):
    return [source.path.removeprefix(f"{place}/") for source in find_remote(f"{place}/{path}", exclude).sources]


def test_a_folder_with_a_slash_and_without(place):
    below = ["web/a.txt", "web/c/d.txt", "web/c/empty.txt", "web/c[1]/f[2].txt"]
    assert found(place, "web") == found(place, "web/") == below
    assert found(place, "") == [*below, "website.txt"]
    assert found(place, "web", ["c"]) == [name for name in below if not name.startswith("web/c/")]


def test_a_file_whose_name_does_not_say_what_it_is_is_looked_into(place, monkeypatch):
    names = {"part-00000": b'{"text": "one"}\n', "part-00001": b"plain", "part-00002": b"\x7fELF\0"}
    files = {f"{place}/parts/{name}": content for name, content in names.items()}
    monkeypatch.setattr(memory_files, "FILES", files)
    monkeypatch.setattr(memory_files, "TIMES", dict.fromkeys(files, 7.0))
    found = find_remote(f"{place}/parts/part-*", ())
    assert [source.kind for source in found.sources] == ["jsonl", "text"] and found.skipped.kinds == {"without suffix": 1}
    assert [source.kind for source in find_remote(f"{place}/parts/part-00000", (), "body").sources] == ["text"]
    with pytest.raises(SourceError, match="part-00002: is binary"):
        find_remote(f"{place}/parts/part-00002", ())


def test_files_and_globs(place):
    assert found(place, "web/b.so") == ["web/b.so"]
    assert found(place, "web/c/empty.txt") == ["web/c/empty.txt"]
    assert found(place, "web/*") == ["web/a.txt", "web/b.so"]
    assert found(place, "**/d.txt") == ["web/c/d.txt"]
    for path in ("web/none", "web/c/d", "we"):
        with pytest.raises(SourceError, match=f"corpus/{path}' holds no file to read"):
            found(place, path)
