"""The list of the archive's parts (an SBOM, CycloneDX 1.6), by which scanners know what is in it.

Of our own, because cargo-cyclonedx knows the crates alone, and libtorch, which came from no crate, is the larger half. The
same archive gives the same list: no time, no random serial number.
"""

from __future__ import annotations

import hashlib
import uuid
from pathlib import Path

from .crates import Crate

# Libraries beside the program, by the beginnings of their names: what each belongs to, and its licence.
LIBRARIES = {
    "libtorch": ("libtorch", "BSD-3-Clause"),
    "libc10": ("libtorch", "BSD-3-Clause"),
    "libgomp": ("libgomp", "GPL-3.0-or-later WITH GCC-exception-3.1"),
    "libcudart": ("nvidia-cuda-runtime", "LicenseRef-NVIDIA-CUDA-Toolkit"),
    "libcupti": ("nvidia-cuda-cupti", "LicenseRef-NVIDIA-CUDA-Toolkit"),
}


def document(crates: list[Crate], files: list[Path], folder: Path, torch: str) -> dict:
    """The list; `files` are the libraries and models of the archive, which lies unpacked in `folder`."""
    program = next(crate for crate in crates if crate.name == "reverie")
    purls = {crate.id: crate.purl for crate in crates}
    others = [crate for crate in crates if crate is not program]
    components = [of_crate(crate) for crate in others] + [of_file(file, folder, torch) for file in files]
    depends = [{"ref": crate.purl, "dependsOn": sorted(purls[key] for key in crate.needs)} for crate in crates]
    libraries = [component["bom-ref"] for component in components if component["bom-ref"].startswith("lib/")]
    for entry in depends:
        if entry["ref"] == program.purl:
            entry["dependsOn"] += libraries
    content = hashlib.sha256(repr((components, depends)).encode()).hexdigest()
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": {**of_crate(program), "type": "application"}},
        "components": components,
        "dependencies": depends,
    }


def of_crate(crate: Crate) -> dict:
    return {
        "type": "library",
        "bom-ref": crate.purl,
        "name": crate.name,
        "version": crate.version,
        "licenses": [{"expression": crate.licence.replace("/", " OR ")}],
        "purl": crate.purl,
    }


def of_file(file: Path, folder: Path, torch: str) -> dict:
    name = str(file.relative_to(folder))
    told = {
        "type": "library" if name.startswith("lib/") else "machine-learning-model",
        "bom-ref": name,
        "name": file.name,
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}],
    }
    for start, (group, licence) in LIBRARIES.items():
        if name.startswith(f"lib/{start}"):
            of_torch = {"version": torch} if group == "libtorch" else {}
            told |= {"group": group, **of_torch, "licenses": [{"expression": licence}]}
    return told
