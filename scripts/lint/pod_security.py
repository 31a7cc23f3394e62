"""The standard `restricted` of Kubernetes' Pod Security, to the letter, for Linux containers.

The namespace asks for it (deploy/kubernetes/base/namespace.yaml), so a pod that breaks it would be refused by the cluster. checkov,
which scripts/lint-deploy asks too, lets some of that pass: `runAsNonRoot: false` beside a user's number, or a volume of the node.
Source: kubernetes.io/docs/concepts/security/pod-security-standards, policies of 1.25 and later.
"""

from __future__ import annotations

VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}


def problems(documents: list[dict]) -> list[str]:
    """What keeps the pods of these objects from meeting the standard."""
    found = []
    for document in documents:
        template = document.get("spec", {}).get("template", {}) if isinstance(document.get("spec"), dict) else {}
        if "spec" in template:
            name = f"{document['kind']} {document['metadata']['name']}"
            found += [f"{name}: {problem}" for problem in of_pod(template["spec"])]
    return found


def of_pod(pod: dict) -> list[str]:
    found = [f"{key} must not be set" for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    for volume in pod.get("volumes", []):
        kinds = set(volume) - {"name"}
        found += [f"volume {volume['name']}: {kind} is not allowed" for kind in sorted(kinds - VOLUMES)]
    context = pod.get("securityContext", {})
    found += [f"{key} must not be set" for key in ("sysctls", "seLinuxOptions", "windowsOptions") if context.get(key)]
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in pod.get(kind, []):
            found += [f"container {container['name']}: {problem}" for problem in of_container(container, context)]
    return found


def of_container(container: dict, pod: dict) -> list[str]:
    """A container's own settings win over the pod's."""
    own = container.get("securityContext", {})
    both = {**pod, **own}
    capabilities = own.get("capabilities", {})
    rules = {
        "privileged must not be true": not own.get("privileged"),
        "allowPrivilegeEscalation must be false": own.get("allowPrivilegeEscalation") is False,
        "capabilities must drop ALL": "ALL" in capabilities.get("drop", []),
        "capabilities may add NET_BIND_SERVICE alone": set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot must be true": both.get("runAsNonRoot") is True,
        "runAsUser must not be 0": both.get("runAsUser") != 0 and pod.get("runAsUser") != 0,
        "seccompProfile must be RuntimeDefault or Localhost": seccomp(both) in ("RuntimeDefault", "Localhost"),
        "procMount must be Default": own.get("procMount", "Default") == "Default",
        "ports must not be the node's": not any(port.get("hostPort") for port in container.get("ports", [])),
    }
    return [rule for rule, holds in rules.items() if not holds]


def seccomp(context: dict) -> str | None:
    return context.get("seccompProfile", {}).get("type")
