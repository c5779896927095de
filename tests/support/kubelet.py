"""What kubelet makes of the sidecar's containers: variables, arguments, volumes, user and rights, in a pod's network."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.pod_network import POD_4, ROOT, PodNetwork

Object = dict[str, Any]


class Kubelet:
    """One pod as the API has it after injection, with the ConfigMaps and Secrets that it names.

    Not as on a node: the root file system can be written to, and /tmp is the machine's.
    """

    def __init__(
        self,
        network: PodNetwork,
        folder: Path,
        pod: Object,
        config_maps: Mapping[str, Mapping[str, str]],
        secrets: Mapping[str, Mapping[str, bytes]],
    ) -> None:
        self.network, self.folder, self.pod = network, folder, pod
        self._config_maps, self._secrets = config_maps, secrets
        # Mount points are made in a copy, so that nothing of the machine is changed.
        subprocess.run(["cp", "-a", "/etc", str(folder / "etc")], check=True)
        (folder / "lib" / "sidecar").mkdir(parents=True)
        for volume in pod["spec"]["volumes"]:
            self._make(volume)

    def container(self, name: str) -> Object:
        spec = self.pod["spec"]
        (found,) = [
            each for each in [*spec.get("initContainers", []), *spec["containers"]] if each["name"] == name
        ]
        return dict(found)

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        """An init container to its end."""
        return self.network.run(self.network.pod, *self._command(self.container(name)))

    def run_beside(self, container: Object) -> subprocess.CompletedProcess[str]:
        """A container of another pod of the node, to its end."""
        return self.network.run(self.network.pod, *self._command(container))

    def start(self, name: str) -> subprocess.Popen[bytes]:
        return self.network.start(
            self.network.pod, *self._command(self.container(name)), log=self.folder / f"{name}.log"
        )

    def probe(self, name: str, kind: str) -> bool:
        """What a probe over HTTP finds, from outside the pod."""
        action = self.container(name)[kind]["httpGet"]
        return self.network.get(f"http://{POD_4}:{action['port']}{action['path']}") != "failed"

    def annotate(self, name: str, value: str | None) -> None:
        """An annotation is set or removed, and kubelet brings the downwardAPI's files up to date."""
        annotations = self.pod["metadata"]["annotations"]
        if value is None:
            del annotations[name]
        else:
            annotations[name] = value
        for volume in self.pod["spec"]["volumes"]:
            if "downwardAPI" in volume:
                self._make(volume)

    def _make(self, volume: Object) -> None:
        place = self.folder / "volumes" / volume["name"]
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o777)
        files: dict[str, bytes] = {}
        source: Object = volume.get("secret") or volume.get("configMap") or volume.get("downwardAPI") or {}
        if "secret" in volume:
            files = dict(self._secrets[source["secretName"]])
        elif "configMap" in volume:
            held = self._config_maps[source["name"]]
            files = {each["path"]: held[each["key"]].encode() for each in source["items"]}
        elif "downwardAPI" in volume:
            files = {each["path"]: self._fact(each["fieldRef"]["fieldPath"]) for each in source["items"]}
        if source:
            write_atomically(place, files, source.get("defaultMode", 0o644))

    def _fact(self, path: str) -> bytes:
        metadata = self.pod["metadata"]
        facts = {"metadata.namespace": "risk", "metadata.uid": "u-1", "status.podIP": POD_4}
        if path in facts:
            return facts[path].encode()
        value = metadata.get(path.removeprefix("metadata."), "")
        if isinstance(value, dict):
            return "".join(f"{key}={json.dumps(text)}\n" for key, text in sorted(value.items())).encode()
        return str(value).encode()

    def _command(self, container: Object) -> list[str]:
        context = container["securityContext"]
        user, group = context["runAsUser"], context["runAsGroup"]
        rights = "".join(f",+{each.lower()}" for each in context["capabilities"].get("add", []))
        script = [f"mount --bind {self.folder}/etc /etc", f"mount --bind {self.folder}/lib /var/lib"]
        script += _opened(self.folder)
        known = self._environment(container)
        for mount in container.get("volumeMounts", []):
            if mount["mountPath"] != "/tmp":
                at, source = mount["mountPath"], self.folder / "volumes" / mount["name"]
                if "subPathExpr" in mount:
                    # kubelet makes it as root, with the rights of the volume's own folder.
                    source = source / expanded(mount["subPathExpr"], known)
                    source.mkdir(exist_ok=True)
                    source.chmod(source.parent.stat().st_mode & 0o7777)
                script += [f"mkdir -p {at}", f"mount --bind {source} {at}"]
        variables = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
            "PYTHONPATH": str(ROOT),
        }
        variables |= known
        words: list[str] = [*(container.get("command") or _entry_point()), *container.get("args", [])]
        assert words[0] == "sidecar", "the image has it on its PATH; here it is this tree's"
        return [
            *("sh", "-ec", "; ".join([*script, "cd /var/lib/sidecar", 'exec "$@"']), "sh"),
            *("setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups"),
            *(f"--bounding-set=-all{rights}", "--inh-caps=-all", "--no-new-privs"),
            *("env", "-i", *(f"{name}={value}" for name, value in variables.items())),
            *(sys.executable, "-m", "sidecar.cli", *words[1:]),
        ]

    def _environment(self, container: Object) -> dict[str, str]:
        found: dict[str, str] = {}
        for each in container.get("envFrom", []):
            held = self._secrets.get(each["secretRef"]["name"], {})
            found |= {key: value.decode() for key, value in held.items()}
        for each in container.get("env", []):
            if "valueFrom" in each:
                found[each["name"]] = self._fact(each["valueFrom"]["fieldRef"]["fieldPath"]).decode()
            else:
                found[each["name"]] = expanded(each["value"], found)
        return found


def expanded(text: str, known: Mapping[str, str]) -> str:
    """`$(NAME)` filled in from the variables before it, `$$` undone."""
    return re.sub(
        r"\$\$|\$\(([^)]*)\)",
        lambda match: "$" if match[0] == "$$" else known.get(match[1], match[0]),
        text,
    )


def _opened(folder: Path) -> list[str]:
    """Commands that show another user the interpreter and this tree, where they lie in a home closed to it."""
    home = Path.home()
    if home.stat().st_mode & 0o001:
        return []
    needed = {Path(each).resolve() for each in (sys.base_prefix, sys.prefix, ROOT)}
    inside = [str(each) for each in sorted(needed) if each.is_relative_to(home)]
    aside, back = [], []
    for number, path in enumerate(inside):
        kept = folder / f"opened{number}"
        kept.mkdir(exist_ok=True)
        aside.append(f"mount --bind {path} {kept}")
        back += [f"mkdir -p {path}", f"mount --bind {kept} {path}"]
    return [*aside, f"mount -t tmpfs -o mode=0755 none {home}", *back] if inside else []


def _entry_point() -> list[str]:
    (line,) = re.findall(r"^ENTRYPOINT (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    found: list[str] = json.loads(line)
    return found


def write_atomically(place: Path, files: Mapping[str, bytes], mode: int) -> None:
    """A folder of its own, root's, with `..data` and each file's name as symlinks to it."""
    made = place / f"..{len(list(place.iterdir()))}"
    made.mkdir()
    for name, content in files.items():
        (made / name).write_bytes(content)
        (made / name).chmod(mode)
        if not (place / name).is_symlink():
            (place / name).symlink_to(f"..data/{name}")
    (place / "..new").symlink_to(made.name)
    (place / "..new").replace(place / "..data")
