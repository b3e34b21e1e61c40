"""Runs the containers of rendered manifests on this machine, as a kubelet would. Not a test itself.

Each pod gets an address of its own on the loopback, the names of services lead there, mounted secrets lie
where the manifest says and the rest of the file system is read-only. The environment is the manifest's and
the image's, and nothing else.
"""

import asyncio
import base64
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from services.chassis import children
from services.cli import channels, health

IMAGE_ENVIRONMENT = {
    "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONSAFEPATH": "1",
}
"""What the Dockerfile sets, with this environment's programs in place of the image's."""

NAMESPACE = ("unshare", "--mount", "--propagation", "private")

_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_][A-Za-z0-9_]*)\)")


def rendered(overlay: Path) -> list[dict[str, Any]]:
    """Render an overlay with the real kustomize."""
    kubectl = Path(sys.executable).parent / "kubectl"
    said = subprocess.run([kubectl, "kustomize", overlay], capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(said.stdout))


def can_run_pods() -> bool:
    """Tell whether this user may have mounts of its own, which the pods' names and files need."""
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run(
            [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/run"], capture_output=True, check=False
        ).returncode
        == 0
    )


def workloads(documents: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Give kind, metadata and pod template of everything that makes pods."""
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec and document["kind"] in {"Deployment", "StatefulSet", "Job", "CronJob"}:
            yield document["kind"], document["metadata"], spec["template"]


@dataclass
class Pod:
    """One pod, to be run."""

    name: str
    ip: str
    template: Mapping[str, Any]
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def container(self) -> Mapping[str, Any]:
        """Its one container."""
        (container,) = self.template["spec"]["containers"]
        return container  # type: ignore[no-any-return]

    @property
    def labels(self) -> Mapping[str, str]:
        """What services find it by."""
        return self.template["metadata"]["labels"]  # type: ignore[no-any-return]


class Cluster:
    """The pods of one overlay; `directory` keeps their files and logs."""

    def __init__(self, documents: Sequence[Mapping[str, Any]], directory: Path, network: str) -> None:
        self._documents = documents
        self._directory = directory
        self._network = network
        self.pods: dict[str, Pod] = {}
        self.own_addresses: dict[str, str] = {}
        """Addresses of services whose pods are not run here, those that an operator makes among them."""
        for kind, metadata, template in workloads(documents):
            count = _replicas(documents, kind, metadata["name"])
            for place in range(count):
                name = f"{metadata['name']}-{place}" if kind in {"Deployment", "StatefulSet"} else metadata["name"]
                self.pods[name] = Pod(name, f"{network}.{len(self.pods) + 10}", template)

    def _object(self, kind: str, name: str) -> Mapping[str, Any]:
        (found,) = (each for each in self._documents if each["kind"] == kind and each["metadata"]["name"] == name)
        return found

    def of_kind(self, kind: str) -> list[Mapping[str, Any]]:
        """Give all objects of a kind."""
        return [each for each in self._documents if each["kind"] == kind]

    def secret(self, name: str) -> dict[str, str]:
        """Give the entries of a Secret."""
        found = self._object("Secret", name)
        encoded = {key: base64.b64decode(value).decode() for key, value in found.get("data", {}).items()}
        return {**encoded, **found.get("stringData", {})}

    def config_map(self, name: str) -> Mapping[str, str]:
        """Give the entries of a ConfigMap."""
        return self._object("ConfigMap", name)["data"]  # type: ignore[no-any-return]

    def _volume(self, volume: Mapping[str, Any]) -> Mapping[str, str]:
        """Give the files of a pod's volume."""
        if "configMap" in volume:
            return self.config_map(volume["configMap"]["name"])
        entries = self.secret(volume["secret"]["secretName"])
        if "items" in volume["secret"]:
            return {item["path"]: entries[item["key"]] for item in volume["secret"]["items"]}
        return entries

    def environment(self, pod: Pod) -> dict[str, str]:
        """Resolve a container's environment in the order of the manifest, references included."""
        given: dict[str, str] = {}
        for variable in pod.container.get("env", []):
            if "value" in variable:
                given[variable["name"]] = _expanded(variable["value"], given)
                continue
            source = variable["valueFrom"]
            if "secretKeyRef" in source:
                value = self.secret(source["secretKeyRef"]["name"])[source["secretKeyRef"]["key"]]
            else:
                value = {"status.podIP": pod.ip, "metadata.name": pod.name}[source["fieldRef"]["fieldPath"]]
            given[variable["name"]] = value
        return given

    def hosts(self) -> str:
        """Give the names of this cluster as a hosts file: services, and the pods of headless ones."""
        lines = ["127.0.0.1 localhost", *(f"{address} {name}" for name, address in self.own_addresses.items())]
        for service in (each for each in self._documents if each["kind"] == "Service"):
            name = service["metadata"]["name"]
            if name in self.own_addresses:
                continue
            for pod in self.pods.values():
                if service["spec"]["selector"].items() <= pod.labels.items():
                    lines += [f"{pod.ip} {name}", f"{pod.ip} {pod.name}.{name}"]
        return "\n".join(lines) + "\n"

    def start(self, name: str) -> Pod:
        """Start a pod's container."""
        pod = self.pods[name]
        files = self._directory / name
        files.mkdir()
        (files / "hosts").write_text(self.hosts())
        script = [f"mount --bind {files}/hosts /etc/hosts", "mount -t tmpfs tmpfs /run"]
        mounted = {mount["name"]: mount["mountPath"] for mount in pod.container.get("volumeMounts", [])}
        for volume in pod.template["spec"].get("volumes", []):
            place = mounted[volume["name"]]
            assert place.startswith("/run/"), "the test can put files below /run only"
            content = files / volume["name"]
            content.mkdir()
            for key, value in self._volume(volume).items():
                (content / key).write_text(value)
            script.append(f"mkdir -p {place} && cp {content}/* {place}/")
        script += ["mount -o remount,bind,ro /", f"exec {shlex.join(pod.container['command'])}"]
        with (self._directory / f"{name}.log").open("wb") as log:
            pod.process = subprocess.Popen(
                [*NAMESPACE, "/bin/sh", "-ec", "\n".join(script)],
                env=IMAGE_ENVIRONMENT | self.environment(pod),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                start_new_session=True,
            )
        return pod

    def log(self, name: str) -> str:
        """Give what a pod has said."""
        return (self._directory / f"{name}.log").read_text()

    async def wait_probed(self, name: str, probe: str) -> None:
        """Probe a pod as its manifest says until it answers well, within the time that the manifest allows."""
        pod = self.pods[name]
        assert pod.process is not None
        asked = pod.container[probe]
        give_up = asyncio.get_running_loop().time() + asked["periodSeconds"] * asked.get("failureThreshold", 3)
        channel = channels.channel(f"{pod.ip}:{asked['grpc']['port']}")
        try:
            while not await health.serves(channel):
                assert pod.process.poll() is None, f"{name} ended:\n{self.log(name)}"
                assert asyncio.get_running_loop().time() < give_up, f"{name} is not well:\n{self.log(name)}"
                await asyncio.sleep(0.05)
        finally:
            await channel.close()

    async def run_to_end(self, name: str) -> str:
        """Run a job's pod and return what it said. Fails unless it ends well."""
        pod = self.start(name)
        assert pod.process is not None
        status = await children.wait(pod.process)
        assert status == 0, f"{name} ended with {status}:\n{self.log(name)}"
        return self.log(name)

    async def stop(self, name: str) -> int:
        """Ask a pod to stop, as a kubelet does, and return its exit status; killed after its grace."""
        pod = self.pods[name]
        assert pod.process is not None
        return await children.end(
            pod.process, (signal.SIGTERM, pod.template["spec"].get("terminationGracePeriodSeconds", 30))
        )

    async def stop_all(self) -> dict[str, int]:
        """Stop all that run and give their exit statuses."""
        running = [name for name, pod in self.pods.items() if pod.process is not None and pod.process.poll() is None]
        return dict(zip(running, await asyncio.gather(*map(self.stop, running)), strict=True))


def _replicas(documents: Sequence[Mapping[str, Any]], kind: str, name: str) -> int:
    (found,) = (each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name)
    return int(found["spec"].get("replicas", 1))


def _expanded(text: str, given: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return given.get(match[1], match[0])

    return _REFERENCE.sub(value, text)


def free_network() -> str:
    """Choose three numbers of a loopback network that no other run of these tests is likely to have."""
    number = os.getpid() % 65_000
    return f"127.{1 + number // 256 % 254}.{number % 256}"


async def forwarded(host: str, port: int, to_port: int) -> asyncio.Server:
    """Carry connections from an address to a port of localhost."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", to_port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65_536):
                    sink.write(data)
                    await sink.drain()
            except ConnectionError:
                pass
            finally:
                sink.close()

        await asyncio.gather(pump(reader, back), pump(there, writer))

    return await asyncio.start_server(carry, host, port)
