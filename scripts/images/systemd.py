"""The service of a release under a real systemd, which is the first process of a privileged container: with every line of
deploy/systemd/reverie.service, as somebody would install it.

The container has the machine's network, and the service addresses of its own in it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import tarfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

from .forms import submission
from .tools import ROOT, Failure, check, podman

PACKAGES = "ca-certificates,dbus,systemd,systemd-sysv"
PUBLIC, ADMIN = "127.0.77.40:8080", "127.0.77.40:9090"
PATIENCE = 120  # seconds
QUICK = {"octaves": 2, "iterations": 2, "max_edge": 256}
LONG = {"octaves": 4, "iterations": 60, "max_edge": 1024}


class Machine:
    """A system that has been started, and its service."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *command: str) -> str:
        return podman("exec", self.name, *command)

    def show(self, property_: str) -> str:
        return self.run("systemctl", "show", "reverie", "--property", property_, "--value").strip()

    def until(self, what: str, holds) -> None:
        until = time.monotonic() + PATIENCE
        while not holds():
            told = "" if time.monotonic() < until else self.run("journalctl", "--unit=reverie", "--lines=20", "--output=cat")
            check(time.monotonic() < until, f"{what} does not come:\n{told}")
            time.sleep(0.2)


def install(root: Path, file: Path) -> None:
    """As docs/operations/deploy.md says; the unit is switched on, and started with the system."""
    with tarfile.open(file) as tar:
        tar.extractall(root / "opt", filter="fully_trusted")
    unpacked = root / "opt" / file.name.removesuffix(".tar.gz")
    (unpacked / "README").unlink()
    shutil.copytree(unpacked, root / "usr/local", symlinks=True, dirs_exist_ok=True)
    shutil.rmtree(unpacked)
    settings = (root / "usr/local/share/reverie/reverie.toml").read_text()
    settings, listening = re.subn(r'^listen = ".*"', f'listen = "{PUBLIC}"', settings, flags=re.MULTILINE)
    settings, watched = re.subn(r'^admin_listen = ".*"', f'admin_listen = "{ADMIN}"', settings, flags=re.MULTILINE)
    check(listening == watched == 1, "reverie.toml has no addresses, or several")
    (root / "etc/reverie").mkdir()
    (root / "etc/reverie/reverie.toml").write_text(settings)
    (root / "etc/reverie/reverie.toml").chmod(0o600)
    wanted = root / "etc/systemd/system/multi-user.target.wants"
    (wanted / "reverie.service").symlink_to("/usr/local/lib/systemd/system/reverie.service")


@contextlib.contextmanager
def started(root: Path) -> Iterator[Machine]:
    name = f"reverie-systemd-{uuid.uuid4().hex[:8]}"
    # A service's credentials and private folders are mounts, which must be seen by systemd.
    first = ["sh", "-c", "mount --make-rshared / && exec /lib/systemd/systemd"]
    # More than these a machine may not let a container have.
    limits = ["--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"]
    try:
        podman("run", "--detach", f"--name={name}", "--systemd=always", "--privileged", *limits, "--network=host", "--rootfs", root, *first)
        yield Machine(name)
    finally:
        with contextlib.suppress(Failure):
            podman("rm", "--force", "--time=5", name)


def ask(path: str, body: bytes | None = None, kind: str = "") -> dict | None:
    """What the service answers; nothing while it cannot be reached, or is not ready."""
    request = urllib.request.Request(f"http://{PUBLIC}{path}", body, {"content-type": kind} if kind else {})
    with contextlib.suppress(OSError, http.client.HTTPException), urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read())
    return None


def status(path: str) -> str | None:
    return (ask(path) or {}).get("status")


def order(spec: dict) -> str:
    job = ask("/v1/jobs", *submission(spec, ROOT / "assets/sample.jpg"))
    check(job, "the service takes no job")
    return f"/v1/jobs/{job['id']}"


def try_out(root: Path, file: Path) -> str:
    """A dream; a job that is running when the service is killed, and when it is stopped, goes on. Returns what was seen."""
    install(root, file)
    with started(root) as machine:
        machine.until("the service", lambda: ask("/readyz"))
        quick = order(QUICK)
        machine.until("a dream", lambda: status(quick) == "succeeded")
        long = order(LONG)
        machine.until("the long dream", lambda: status(long) == "running")
        machine.run("systemctl", "kill", "--signal=SIGKILL", "reverie")
        machine.until("the service once more", lambda: machine.show("NRestarts") == "1" and ask("/readyz"))
        machine.until("the long dream once more", lambda: status(long) == "running")
        began = time.monotonic()
        machine.run("systemctl", "stop", "reverie")
        took = time.monotonic() - began
        check(machine.show("Result") == "success", f"it stopped with {machine.show('Result')}")
        machine.run("systemctl", "start", "reverie")
        machine.until("the service after its stop", lambda: ask("/readyz"))
        check(status(quick) == "succeeded" and status(long) in ("queued", "running"), "a job is lost")
        owner = machine.run("stat", "--format=%U %a", "/var/lib/private/reverie").split()
        check(owner[0] != "root" and owner[1] == "700", f"its folder is of {owner}")
        version = machine.run("systemctl", "--version").split()[1]
    return f"systemd {version}: a dream, on after SIGKILL and after a stop ({took:.1f} s) in the middle of one, as a user of its own"
