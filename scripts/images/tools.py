"""buildah and podman as the tests of images call them: with images and layers in .image-test/, and without what they would ask of a
machine that has no namespaces for builds and mounts no overlays.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / ".image-test"
TOOLS = ["buildah", "podman", "runc", "mmdebstrap"]
STORAGE = ["--storage-driver", "vfs", "--root", str(WORK / "storage"), "--runroot", str(WORK / "run")]


def say(message: str) -> None:
    print(f"{Path(sys.argv[0]).name}: {message}", flush=True)


class Failure(Exception):
    """Something is not as it should be; told in one message."""


def run(*command: object, **options) -> str:
    """The output of a command that must succeed."""
    words = [str(word) for word in command]
    result = subprocess.run(words, stdout=subprocess.PIPE, text=True, **{"cwd": ROOT, **options})
    if result.returncode != 0:
        raise Failure(f"{' '.join(words[:6])} … failed with {result.returncode}:\n{result.stdout[-3000:]}")
    return result.stdout


def podman(*command: object, **options) -> str:
    # Where its monitor leaves a file when a container is killed for its memory.
    return run("podman", *STORAGE, "--runtime", shutil.which("runc"), *command, **{"cwd": WORK, **options})


def buildah(*command: object, **options) -> str:
    return run("buildah", *STORAGE, *command, **options)


def succeeds(tool: Callable[..., str], *command: object) -> bool:
    """Whether a command of `podman` or `buildah` succeeds; it may fail."""
    try:
        tool(*command, stderr=subprocess.DEVNULL)
    except Failure:
        return False
    return True


def image_id(image: str) -> str:
    """The id of an image; empty where there is none."""
    if not succeeds(buildah, "inspect", "--type=image", image):
        return ""
    return buildah("inspect", "--type=image", "--format", "{{.FromImageID}}", image).strip()


def check(holds: object, message: str) -> None:
    if not holds:
        raise Failure(message)


def missing() -> list[str]:
    """What a test of images needs and this machine has not."""
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    return lacking + ([] if os.geteuid() == 0 else ["root"])


@contextlib.contextmanager
def container(base: str):
    """A container to be committed, and its root folder."""
    name = buildah("from", "--pull-never", base).strip()
    try:
        yield name, Path(buildah("mount", name).strip())
    finally:
        buildah("rm", name)
