"""Schemas of other projects' custom resources, read from those projects' own releases. Not a test itself.

The releases are Go modules, named with their versions in `crds/go.mod`; `go` fetches them once and keeps them.
"""

import json
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

MODULES = Path(__file__).parent / "crds"

PLACES = {
    "postgresql.cnpg.io": ("github.com/cloudnative-pg/cloudnative-pg", "config/crd/bases"),
    "monitoring.coreos.com": ("github.com/prometheus-operator/prometheus-operator", "example/prometheus-operator-crd"),
    "cert-manager.io": ("github.com/cert-manager/cert-manager", "deploy/crds"),
}
"""In which module, and where in it, the definitions of a group lie."""

GROUPS = {*PLACES, "barmancloud.cnpg.io"}
"""All groups that Kubernetes does not bring; of the last one no release can be fetched."""


class _Loader(yaml.CSafeLoader):
    """Reads a lone `=`, which YAML 1.1 gives a meaning that nobody uses, as text."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: node.value)


class NotThere(Exception):
    """There is no `go`, or it cannot fetch a module here."""


def check(resource: Mapping[str, Any]) -> list[str]:
    """Name what a resource has that its schema does not know or allow. Raises `NotThere`."""
    group, _, version = resource["apiVersion"].partition("/")
    schema = _schemas(group)[resource["kind"], version]
    checker = jsonschema.Draft202012Validator(_closed(schema))
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(dict(resource))]


@cache
def _schemas(group: str) -> dict[tuple[str, str], dict[str, Any]]:
    module, place = PLACES[group]
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for file in sorted((_directory(module) / place).glob("*.yaml")):
        for definition in yaml.load_all(file.read_text(), Loader=_Loader):
            if definition is None or definition.get("kind") != "CustomResourceDefinition":
                continue
            for version in definition["spec"]["versions"]:
                key = definition["spec"]["names"]["kind"], version["name"]
                found[key] = version["schema"]["openAPIV3Schema"]
    return found


def _directory(module: str) -> Path:
    go = shutil.which("go")
    if go is None:
        raise NotThere("there is no `go` to fetch the definitions with")
    done = subprocess.run(
        [go, "mod", "download", "-json", module], cwd=MODULES, capture_output=True, text=True, check=False
    )
    said = json.loads(done.stdout or "{}")
    if "Dir" not in said:
        raise NotThere(f"{module}: {said.get('Error') or done.stderr.strip()}")
    return Path(said["Dir"])


def _closed(schema: Any) -> Any:
    """Let a schema refuse what it does not name, as the API server does when it is strict."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
        if not open_ended:
            closed["additionalProperties"] = False
    if "x-kubernetes-int-or-string" in schema:
        closed.pop("type", None)
    return closed
