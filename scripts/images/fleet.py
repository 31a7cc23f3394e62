"""The containers of deploy/compose.yaml, run from the image that scripts/test-image has built.

Settings, limits, volumes and commands are compose.yaml's (compose.py). Other than there: the network is this machine's, each service
at a loopback address; the images of others are made of Debian's packages (PostgreSQL 17, nginx, Prometheus), and the bucket is
moto's from PyPI in place of Garage's. Grafana is left out.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from . import compose
from .bases import make_debian, own_authorities
from .tools import Failure, buildah, check, container, podman, succeeds

IMAGE = "localhost/reverie:test"
SERVERS = "localhost/reverie-servers:test"
PACKAGES = ["ca-certificates", "nginx-light", "postgresql-17", "prometheus", "python3-pip", "wrk"]
MOTO = "moto[server]==5.2.5"
RUN = f"reverie-test-{uuid.uuid4().hex[:8]}"
ADDRESSES = {
    "nginx": "127.0.77.10", "api-1": "127.0.77.11", "api-2": "127.0.77.12", "worker": "127.0.77.13", "worker-2": "127.0.77.14",
    "postgres": "127.0.77.20", "s3": "127.0.77.21", "prometheus": "127.0.77.22",
}  # fmt: skip
SECRETS = {
    "POSTGRES_PASSWORD": os.urandom(12).hex(), "S3_ACCESS_KEY": "GK" + os.urandom(12).hex(), "S3_SECRET_KEY": os.urandom(32).hex(),
    "GARAGE_RPC_SECRET": os.urandom(32).hex(), "GRAFANA_PASSWORD": os.urandom(12).hex(), "WORKER_CPUS": "2",
    "REVERIE_KEY": f"rvk_{os.urandom(8).hex()}_{os.urandom(32).hex()}",
}  # fmt: skip
# Of others: who runs them, and what replaces compose's command, or is added to it.
OTHERS = {
    "postgres": ("postgres", lambda command: ["postgres-entrypoint", *command, "-c", "listen_addresses=" + ADDRESSES["postgres"]]),
    "s3": ("nobody", lambda _: ["python3", "-m", "moto.server", "-H", ADDRESSES["s3"], "-p", "3900"]),
    "nginx": ("nobody", lambda command: command),
    "prometheus": ("nobody", lambda command: ["prometheus", *command, f"--web.listen-address={ADDRESSES['prometheus']}:9090"]),
}
BALANCER = f"http://{ADDRESSES['nginx']}:8080"
PATIENCE = 180  # seconds


def make_servers() -> None:
    if succeeds(buildah, "inspect", "--type=image", SERVERS):
        return
    make_debian(f"{SERVERS}-base", "trixie", *PACKAGES)
    with container(f"{SERVERS}-base") as (name, root):
        for file, text in compose.image_of_servers().items():
            (root / file).write_text(text)
            (root / file).chmod(0o755)
        for authority in own_authorities():
            shutil.copy(authority, root / "usr/local/share/ca-certificates")
        steps = [
            "update-ca-certificates",
            f"pip install --quiet --break-system-packages --root-user-action=ignore '{MOTO}'",
            "mkdir -p /prometheus && chown nobody /prometheus",
            "install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data",
            "install -d -o postgres -g postgres /var/run/postgresql",
        ]
        buildah("run", "--isolation=chroot", name, "--", "bash", "-ec", "\n".join(steps), stderr=subprocess.DEVNULL)
        buildah("commit", name, SERVERS, stderr=subprocess.DEVNULL)


class Fleet:
    """The containers of compose.yaml. `settings` are given to the program beside the file's; `folder` is for what they read."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.services, self.settings = compose.services(SECRETS), settings
        # The balancer's own address: all of them would take the others' ports.
        shutil.copytree(compose.DEPLOY / "nginx", folder / "nginx")
        self.nginx = folder / "nginx"
        (self.nginx / "listen.conf").write_text(f"listen {ADDRESSES['nginx']}:8080;\n")
        self.services["nginx"]["volumes"][0]["source"] = str(self.nginx)

    def start(self, name: str) -> None:
        """Starts a service; `worker-2` is a second one of `worker`."""
        service = self.services[name.removesuffix("-2") if name.startswith("worker") else name]
        options = compose.options(service, RUN)
        command, image = service.get("command", []), SERVERS
        if name in OTHERS:
            user, change = OTHERS[name]
            command = change(command)
            options = [option for option in options if not option.startswith("--user=")] + [f"--user={user}"]
        else:
            image = IMAGE
            at = ADDRESSES.get(name, "127.0.77.9")
            options += [f"--env=REVERIE__SERVER__LISTEN={at}:8080", f"--env=REVERIE__SERVER__ADMIN_LISTEN={at}:9090"]
            # As where it listens on every address; at loopback ones it would take requests for this machine alone.
            options += ["--env=REVERIE__SERVER__ALLOWED_HOSTS=*", *(f"--env={key}={value}" for key, value in self.settings.items())]
        hosts = [f"--add-host={other}:{at}" for other, at in ADDRESSES.items()]
        # More than this a machine may not let a container have.
        limits = ["--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096"]
        podman("run", "--detach", f"--name={RUN}-{name}", "--network=host", *limits, *hosts, *options, image, *command)

    def stop(self, name: str) -> None:
        """As compose does: SIGTERM, and patience for as long as `stop_grace_period` says."""
        podman("stop", f"{RUN}-{name}", stderr=subprocess.DEVNULL)
        code = podman("inspect", "--format", "{{.State.ExitCode}}", f"{RUN}-{name}").strip()
        check(code == "0", f"{name} ended with {code}:\n{self.logs(name)}")
        podman("rm", "--volumes", f"{RUN}-{name}")

    def logs(self, name: str) -> str:
        return podman("logs", "--tail=30", f"{RUN}-{name}", stderr=subprocess.STDOUT)

    def until(self, name: str, what: str, holds) -> None:
        until = time.monotonic() + PATIENCE
        while not holds():
            running = podman("inspect", "--format", "{{.State.Running}}", f"{RUN}-{name}").strip() == "true"
            check(running and time.monotonic() < until, f"{name}: {what} does not come:\n{self.logs(name)}")
            time.sleep(0.2)

    def healthy(self, name: str) -> None:
        """Until compose's own check holds."""
        test = self.services[name.removesuffix("-2") if name.startswith("worker") else name]["healthcheck"]["test"][1:]
        test = [word.replace("127.0.0.1", ADDRESSES[name]) for word in test]
        self.until(name, " ".join(test), lambda: succeeds(podman, "exec", f"{RUN}-{name}", *test))

    def up(self) -> None:
        """In the order of compose's `depends_on`."""
        self.start("postgres")
        self.start("s3")
        self.healthy("postgres")
        bucket = f"http://{ADDRESSES['s3']}:3900/dreams"
        self.until("s3", "the bucket", lambda: answers(urllib.request.Request(bucket, method="PUT")))
        self.start("migrate")
        code = podman("wait", f"{RUN}-migrate").strip()
        check(code == "0", f"migrate ended with {code}:\n{self.logs('migrate')}")
        for name in ("api-1", "api-2", "worker", "worker-2"):
            self.start(name)
        self.start("nginx")
        self.start("prometheus")
        for name in ("api-1", "api-2", "worker", "worker-2"):
            self.healthy(name)
        self.until("nginx", "its answer", lambda: answers(urllib.request.Request(BALANCER + "/balancer/healthz")))


def answers(request: urllib.request.Request) -> bool:
    try:
        with urllib.request.urlopen(request, timeout=5):
            return True
    except OSError:
        return False


def remove() -> None:
    """Whatever is left of a run's containers and volumes."""
    with contextlib.suppress(Failure):
        for name in podman("ps", "--all", "--quiet", "--filter", f"name={RUN}").split():
            podman("rm", "--force", "--volumes", name, stderr=subprocess.DEVNULL)
        for name in podman("volume", "ls", "--quiet", "--filter", f"name={RUN}").split():
            podman("volume", "rm", "--force", name, stderr=subprocess.DEVNULL)


def call(path: str, body: bytes | None = None, kind: str = "", key: str = "") -> bytes:
    """A request to the balancer; every refusal and every broken connection is a failure."""
    headers = {"authorization": f"Bearer {SECRETS['REVERIE_KEY']}"}
    headers |= {"content-type": kind} if kind else {}
    headers |= {"idempotency-key": key} if key else {}
    try:
        with urllib.request.urlopen(urllib.request.Request(BALANCER + path, body, headers), timeout=60) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise Failure(f"{path}: {error.code}: {error.read().decode()}") from None
    except OSError as error:
        raise Failure(f"{path}: {error}") from None
