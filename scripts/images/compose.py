"""deploy/compose.yaml, as podman takes it: its services on this machine's own network, each at a loopback address of its own.

Names of services are found in /etc/hosts, as compose's own names are by its resolver. What compose gives a container is read from
the file: commands, environment, limits, volumes, time-outs.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from .tools import ROOT, Failure

DEPLOY = ROOT / "deploy"


def services(secrets: dict[str, str]) -> dict[str, dict]:
    """The services by their names, with `${NAME}` filled in."""
    # Beside the other tools of scripts/lint-deploy, where the system has none.
    sys.path.append(str(ROOT / ".lint-tools"))
    try:
        import yaml
    except ImportError:
        raise Failure("there is no PyYAML: apt-get install python3-yaml, or run scripts/lint-deploy once") from None

    def fill(match: re.Match) -> str:
        return secrets[match[1]]

    text = re.sub(r"\$\{(\w+)[^}]*\}", fill, (DEPLOY / "compose.yaml").read_text())
    return yaml.safe_load(text)["services"]


def options(service: dict, volumes: str) -> list[str]:
    """The options of `podman run`; named volumes begin with `volumes`."""
    found = [f"--env={name}={value}" for name, value in service.get("environment", {}).items()]
    if service.get("read_only"):
        found += ["--read-only", "--read-only-tmpfs=false"]
    found += [f"--cap-drop={capability}" for capability in service.get("cap_drop", [])]
    found += [f"--security-opt={option.split(':')[0]}" for option in service.get("security_opt", [])]
    found += [f"--tmpfs={tmpfs}" for tmpfs in service.get("tmpfs", [])]
    found += [f"--volume={volume(entry, volumes)}" for entry in service.get("volumes", [])]
    limits = service["deploy"]["resources"]["limits"]
    found += [f"--memory={limits['memory']}", f"--cpus={limits['cpus']}"]
    for key, option in (("user", "--user"), ("shm_size", "--shm-size")):
        if key in service:
            found.append(f"{option}={service[key]}")
    if "stop_grace_period" in service:
        found.append(f"--stop-timeout={service['stop_grace_period'].removesuffix('s')}")
    return found


def volume(entry: str | dict, volumes: str) -> str:
    if isinstance(entry, dict):
        return f"{(DEPLOY / entry['source']).resolve()}:{entry['target']}{':ro' if entry.get('read_only') else ''}"
    name, target = entry.split(":")
    return f"{volumes}-{name}:{target}"


def image_of_servers() -> dict[str, str]:
    """Files that a stand-in for the official images needs; their names within the image, and texts."""
    return {
        # What the official image of PostgreSQL does with its variables.
        "usr/local/bin/postgres-entrypoint": """#!/bin/bash
set -euo pipefail
export PATH=/usr/lib/postgresql/17/bin:$PATH PGDATA=/var/lib/postgresql/data
if [ ! -e "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") --auth-host=scram-sha-256 --auth-local=trust
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -j postgres
fi
exec "$@"
""",
    }
