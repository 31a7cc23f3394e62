"""The containers of deploy/compose.yaml, run from the image that scripts/test-image has built.

Settings, limits, volumes and commands are compose.yaml's (compose.py). Other than there: the network is this machine's, each service
at a loopback address, and one image stands in for those of others: PostgreSQL 17, nginx and Prometheus are Debian's, and Garage is
built from its crate, in the version that the file names. Grafana, which no package registry has, is left out.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from . import compose
from .bases import make_debian
from .tools import WORK, Failure, buildah, check, container, image_id, podman, run, say, succeeds

IMAGE = "localhost/reverie:test"
# What scripts/test-image had built before.
PREVIOUS = "localhost/reverie:previous"
PACKAGES = ["nginx-light", "postgresql-17", "prometheus", "wrk"]
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
    "s3": ("root", lambda command: command),
    "nginx": ("nobody", lambda command: command),
    "prometheus": ("nobody", lambda command: ["prometheus", *command, f"--web.listen-address={ADDRESSES['prometheus']}:9090"]),
}
BALANCER = f"http://{ADDRESSES['nginx']}:8080"
PATIENCE = 180  # seconds


def version_of_garage() -> str:
    return re.search(r"dxflrs/garage:v([\d.]+)", (compose.DEPLOY / "compose.yaml").read_text())[1]


def servers() -> str:
    """The image that stands in for those of others; another one where anything in it has changed."""
    parts = repr((PACKAGES, version_of_garage(), compose.image_of_servers()))
    return f"localhost/reverie-servers:{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def make_garage() -> Path:
    """The S3 store of compose.yaml, built once from its crate; takes some minutes."""
    version = version_of_garage()
    root = WORK / f"garage-{version}"
    program = root / "bin/garage"
    if not program.exists():
        say(f"building Garage {version} from crates.io")
        features = ["--no-default-features", "--features=bundled-libs,sqlite"]
        with (WORK / "garage.log").open("w") as log:
            run("cargo", "install", "garage", f"--version={version}", "--locked", *features, "--root", root, stderr=log)
    return program


def make_servers() -> None:
    if image_id(servers()):
        return
    program = make_garage()
    make_debian(f"{servers()}-base", "trixie", *PACKAGES)
    with container(f"{servers()}-base") as (name, root):
        for file, text in compose.image_of_servers().items():
            (root / file).write_text(text)
            (root / file).chmod(0o755)
        shutil.copy(program, root)
        steps = [
            "mkdir -p /prometheus && chown nobody /prometheus",
            "install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data",
            "install -d -o postgres -g postgres /var/run/postgresql",
        ]
        buildah("run", "--isolation=chroot", name, "--", "bash", "-ec", "\n".join(steps), stderr=subprocess.DEVNULL)
        buildah("commit", name, servers(), stderr=subprocess.DEVNULL)


class Fleet:
    """The containers of compose.yaml. `settings` are given to the program beside the file's; `folder` is for what they read.

    Reverie's are started from `image`, which may change between two starts.
    """

    def __init__(self, folder: Path, **settings: str) -> None:
        self.image = IMAGE
        self.services, self.settings = compose.services(SECRETS), settings
        # Addresses of their own: all of them would take the others' ports.
        shutil.copytree(compose.DEPLOY / "nginx", folder / "nginx")
        self.nginx = folder / "nginx"
        (self.nginx / "listen.conf").write_text(f"listen {ADDRESSES['nginx']}:8080;\n")
        self.services["nginx"]["volumes"][0]["source"] = str(self.nginx)
        settings_of_garage = folder / "garage.toml"
        text = (compose.DEPLOY / "garage/garage.toml").read_text()
        settings_of_garage.write_text(re.sub(r"(127\.0\.0\.1|0\.0\.0\.0)(?=:)", ADDRESSES["s3"], text))
        self.services["s3"]["volumes"][0]["source"] = str(settings_of_garage)

    def start(self, name: str) -> None:
        """Starts a service; `worker-2` is a second one of `worker`."""
        service = self.services[name.removesuffix("-2") if name.startswith("worker") else name]
        options = compose.options(service, RUN)
        command, image = service.get("command", []), servers()
        if name in OTHERS:
            user, change = OTHERS[name]
            command = change(command)
            options = [option for option in options if not option.startswith("--user=")] + [f"--user={user}"]
        else:
            image = self.image
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

    def migrate(self) -> None:
        self.start("migrate")
        code = podman("wait", f"{RUN}-migrate").strip()
        check(code == "0", f"migrate ended with {code}:\n{self.logs('migrate')}")
        podman("rm", f"{RUN}-migrate")

    def up(self) -> None:
        """In the order of compose's `depends_on`."""
        self.start("postgres")
        self.start("s3")
        self.healthy("postgres")
        self.healthy("s3")
        self.migrate()
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
    """Whatever is left of a run's containers and volumes. One that cannot be removed is told, and keeps none of the others."""
    # Garage takes ten seconds to stop, which is when podman would kill it, and fail if it has just ended.
    kinds = [(["ps", "--all"], ["rm", "--force", "--time=60", "--volumes"]), (["volume", "ls"], ["volume", "rm", "--force"])]
    for listing, removal in kinds:
        for name in podman(*listing, "--quiet", "--filter", f"name={RUN}").split():
            try:
                podman(*removal, name, stderr=subprocess.STDOUT)
            except Failure as failure:
                say(f"left behind: {failure}")


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
