"""The archive: the same files give the same bytes.

Entries stand in the order of their names and belong to root; their times are that of the commit, their modes are 755 or
644; and gzip writes neither a time nor a name.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path


def write(folder: Path, target: Path, seconds: int) -> None:
    """Packs `folder`, under its own name, into `target`; `seconds` is the time of all entries."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = seconds
        if entry.isfile() or entry.isdir():
            entry.mode = 0o755 if entry.isdir() or entry.mode & 0o100 else 0o644
        return entry

    with (
        target.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
    ):
        for path in [folder, *sorted(folder.rglob("*"))]:
            tar.add(path, arcname=str(path.relative_to(folder.parent)), recursive=False, filter=plain)


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
