"""The base images of deploy/Dockerfile, made from the distribution's packages and this machine's toolchain, so that no container
registry is needed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from .tools import WORK, Failure, buildah, container, image_id, run, say


def own_authorities() -> list[Path]:
    """Certificate authorities that this machine trusts beside Debian's: its way to the registries may lead through a proxy."""
    return sorted(Path("/usr/local/share/ca-certificates").glob("*.crt"))


def make_debian(image: str, suite: str, *packages: str) -> None:
    """A bare Debian, with these packages."""
    say(f"making {image} from Debian's packages ({suite})")
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        root = Path(folder) / "root.tar"
        more = [f"--include={','.join(packages)}"] if packages else []
        command = ["mmdebstrap", "--variant=minbase", *more, suite, root, "http://deb.debian.org/debian"]
        run(*command, stderr=subprocess.DEVNULL)
        with container("scratch") as (name, _):
            buildah("add", name, root, "/")
            buildah("config", "--cmd", "bash", name)
            buildah("commit", name, image)


def make_rust(image: str, debian: str, version: str) -> None:
    """As the official one: Debian, a linker, and the toolchain, here this machine's."""
    found = run("rustc", "--version").split()[1]
    if not found.startswith(version + "."):
        raise Failure(f"the image is built with Rust {version}, and this machine has {found}")
    say(f"making {image} from this machine's toolchain")
    toolchain = Path(run("rustc", "--print", "sysroot").strip())
    packages = "apt-get update && apt-get install --yes --no-install-recommends ca-certificates gcc libc6-dev"
    with container(debian) as (name, root):
        buildah("run", "--isolation=chroot", name, "--", "bash", "-c", packages, stderr=subprocess.DEVNULL)
        for part in ("bin", "lib", "libexec"):
            shutil.copytree(toolchain / part, root / "usr/local" / part, symlinks=True, dirs_exist_ok=True)
        for authority in own_authorities():
            shutil.copy(authority, root / "usr/local/share/ca-certificates")
        buildah("run", "--isolation=chroot", name, "--", "update-ca-certificates", stderr=subprocess.DEVNULL)
        (root / "usr/local/cargo/registry").mkdir(parents=True, exist_ok=True)
        buildah("config", "--env", "CARGO_HOME=/usr/local/cargo", name)
        buildah("commit", name, image)


def without_digests(text: str) -> str:
    """A container file as it was before scripts/pin-images."""
    return re.sub(r"^(FROM \S+)@sha256:[0-9a-f]{64}", r"\1", text, flags=re.MULTILINE)


def make_bases(dockerfile: Path) -> None:
    """Those that it names."""
    bases = re.findall(r"^FROM (\S+:\S+)", without_digests(dockerfile.read_text()), re.MULTILINE)
    debian = next(base for base in bases if base.startswith("debian:"))
    rust = next(base for base in bases if base.startswith("rust:"))
    version, suite = re.fullmatch(r"rust:([\d.]+)-slim-(\w+)", rust).groups()
    debian, rust = (f"docker.io/library/{base}" for base in (debian, rust))
    if not image_id(debian):
        make_debian(debian, suite)
    if not image_id(rust):
        make_rust(rust, debian, version)
