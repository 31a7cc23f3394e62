"""The crates that the program is made of, as `cargo metadata` tells them.

Only what is compiled for the archive's system counts: dependencies of tests and benchmarks do not reach a user, and neither
does what another system would need.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

PROGRAM = "reverie"
# Where a crate keeps the texts of its licences, its own and those of the sources that it brings along, such as libwebp's.
TEXTS = ("LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE", "PATENTS")
# Below this many folders there are only fixtures.
DEPTH = 4


@dataclass(frozen=True)
class Crate:
    """A package of Cargo.lock that is part of the program."""

    id: str
    name: str
    version: str
    licence: str
    authors: tuple[str, ...]
    repository: str
    folder: Path
    # Whether it is of this repository.
    ours: bool
    needs: tuple[str, ...]

    @property
    def purl(self) -> str:
        """Its name for scanners."""
        return f"pkg:cargo/{self.name}@{self.version}"

    def texts(self) -> list[Path]:
        """The files of its licences, in a fixed order."""
        files = [path for path in self.folder.rglob("*") if path.name.upper().startswith(TEXTS) and path.is_file()]
        near = [path for path in files if len(path.relative_to(self.folder).parts) <= DEPTH]
        # Not sources that have such a name.
        return sorted(path for path in near if path.suffix.lower() in ("", ".md", ".txt", ".mit", ".apache", ".apache2", ".rst"))


def of_the_program(root: Path, target: str) -> list[Crate]:
    """The program and every crate that it needs to be compiled for `target`, in the order of their names."""
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--filter-platform", target]
    told = json.loads(subprocess.run(command, cwd=root, check=True, stdout=subprocess.PIPE, text=True).stdout)
    packages = {package["id"]: package for package in told["packages"]}
    needs = {node["id"]: needed(node) for node in told["resolve"]["nodes"]}
    first = next(key for key, package in packages.items() if package["name"] == PROGRAM)
    met, waiting = {first}, [first]
    while waiting:
        more = [other for other in needs[waiting.pop()] if other not in met]
        met.update(more)
        waiting += more
    crates = [crate(packages[key], needs[key]) for key in met]
    return sorted(crates, key=lambda crate: (crate.name, crate.version))


def needed(node: dict) -> tuple[str, ...]:
    """What a package is compiled with: neither for its tests nor for its build script."""
    normal = {dep["pkg"] for dep in node["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])}
    return tuple(sorted(normal))


def crate(package: dict, needs: tuple[str, ...]) -> Crate:
    return Crate(
        id=package["id"],
        name=package["name"],
        version=package["version"],
        licence=package["license"] or "see its text",
        authors=tuple(package["authors"]),
        repository=package["repository"] or "",
        folder=Path(package["manifest_path"]).parent,
        ours=package["source"] is None,
        needs=needs,
    )
