"""Makes what depends on the shards: `deploy/k8s/**/generated/` from `shards.toml` and the templates.

    python tools/manifests.py            write the generated manifests
    python tools/manifests.py --check    exit 1 when they are not up to date
    python tools/manifests.py --secrets  print Secrets with new random passwords for every database role

Never here: what a manifest says (`deploy/k8s/templates/`, the overlays).
"""

import argparse
import json
import secrets
import sys
import tomllib
from pathlib import Path
from string import Template

import yaml

DEPLOY = Path(__file__).resolve().parent.parent / "deploy"
ROOT = DEPLOY / "k8s"
ROLES = ("owner", "ledger", "account", "audit")
LEDGERS_PER_SHARD = 2
HEADER = "# Made by tools/manifests.py from shards.toml, templates/ and deploy/prometheus; not edited by hand.\n"


class Bank:
    """The shards of the bank, and the names that follow from them."""

    def __init__(self, shards: dict[int, dict[str, int]]) -> None:
        self.shards = shards

    @classmethod
    def read(cls, file: Path) -> "Bank":
        """Read `shards.toml`. Raises `SystemExit` for numbers that are not 1, 2, 3 ..."""
        shards = {int(number): shard for number, shard in tomllib.loads(file.read_text())["shards"].items()}
        if sorted(shards) != list(range(1, len(shards) + 1)):
            raise SystemExit(f"{file}: shards are numbered 1, 2, 3 ... and none is taken away")
        return cls(shards)

    @property
    def databases(self) -> dict[str, str]:
        """Every database's name in PostgreSQL, by the name of its service."""
        return {"control": "hivecore_control"} | {f"shard-{n}": f"hivecore_shard_{n}" for n in self.shards}

    def dsn(self, service: str, role: str) -> str:
        """Name a database for a role; the password is put in by Kubernetes."""
        return f"postgresql://hivecore_{role}:$({_password(service)})@{service}-rw:5432/{self.databases[service]}"

    def passwords(self, role: str) -> list[dict[str, object]]:
        """Give the variables that the DSNs of a role refer to."""
        return [
            {"name": _password(name), "valueFrom": {"secretKeyRef": {"name": f"{name}-{role}", "key": "password"}}}
            for name in self.databases
        ]

    def ledgers(self, shard: int) -> list[str]:
        """Name the ledgers of a shard, each by the name that its peers call and its certificate has."""
        return [f"ledger-{shard}-{place}.ledger-{shard}" for place in range(LEDGERS_PER_SHARD)]

    def account_environment(self) -> list[dict[str, object]]:
        """Tell the account service every shard: its database, its ledgers, its quota."""
        shards = {
            str(number): {
                "dsn": self.dsn(f"shard-{number}", "account"),
                "ledgers": [f"{name}:50051" for name in self.ledgers(number)],
                **shard,
            }
            for number, shard in self.shards.items()
        }
        return [
            *self.passwords("account"),
            {"name": "HIVECORE_CONTROL_DSN", "value": self.dsn("control", "account")},
            {"name": "HIVECORE_SHARDS", "value": json.dumps(shards, indent=1)},
        ]

    def upkeep_environment(self, role: str) -> list[dict[str, object]]:
        """Tell a command of the upkeep every database."""
        shards = " ".join(f"{number}={self.dsn(f'shard-{number}', role)}" for number in self.shards)
        return [
            *self.passwords(role),
            {"name": "HIVECORE_CONTROL_DSN", "value": self.dsn("control", role)},
            {"name": "HIVECORE_SHARD_DSNS", "value": shards},
        ]


def _password(service: str) -> str:
    return service.replace("-", "_").upper() + "_PASSWORD"


def _filled(template: str, **values: object) -> str:
    return Template((ROOT / "templates" / template).read_text()).substitute(values)


def _patch(kind: str, api: str, name: str, environment: list[dict[str, object]]) -> str:
    pod = {"template": {"spec": {"containers": [{"name": name, "env": environment}]}}}
    spec = {"jobTemplate": {"spec": pod}} if kind == "CronJob" else pod
    patch = {"apiVersion": api, "kind": kind, "metadata": {"name": name}, "spec": spec}
    return yaml.safe_dump(patch, sort_keys=False, width=1000)


def _kustomization(*files: str) -> str:
    return yaml.safe_dump(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": list(files)},
        sort_keys=False,
    )


def _databases_script(bank: Bank) -> str:
    lines = [f"CREATE ROLE hivecore_{role} LOGIN PASSWORD 'development-only';" for role in ROLES]
    lines += [f"CREATE DATABASE {database} OWNER hivecore_owner;" for database in bank.databases.values()]
    return "\n".join(lines) + "\n"


def _development(bank: Bank) -> dict[str, str]:
    script = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "postgres-databases"},
        "data": {"bank.sql": _databases_script(bank)},
    }
    passwords = dict.fromkeys(ROLES, "development-only")
    return {
        "databases.yaml": yaml.safe_dump(script, sort_keys=False),
        "aliases.yaml": "---\n".join(_filled("alias.yaml", name=name) for name in bank.databases),
        "roles.yaml": "---\n".join(_filled("roles.yaml", name=name, **passwords) for name in bank.databases),
    }


def _rules() -> str:
    """Put the rules of `deploy/prometheus` into the form that the Prometheus operator reads."""
    files = ("recording.yml", "alerts.yml")
    groups = [group for file in files for group in yaml.safe_load((DEPLOY / "prometheus" / file).read_text())["groups"]]
    rules = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "hivecore"},
        "spec": {"groups": groups},
    }
    return yaml.safe_dump(rules, sort_keys=False, width=1000)


def manifests(bank: Bank) -> dict[Path, str]:
    """Give the content of every generated file."""
    base = {f"ledger-{n}.yaml": _filled("ledger.yaml", shard=n, replicas=LEDGERS_PER_SHARD) for n in bank.shards}
    production = {
        f"{name}.yaml": _filled(
            "cluster.yaml", name=name, database=database, minute=place, storage="10Gi" if name == "control" else "200Gi"
        )
        for place, (name, database) in enumerate(bank.databases.items())
    }
    certificates = "---\n".join(
        _filled("certificate.yaml", shard=number, names=", ".join(bank.ledgers(number))) for number in bank.shards
    )
    production |= {"rules.yaml": _rules(), "certificates.yaml": certificates}
    patches = {
        "account.yaml": _patch("Deployment", "apps/v1", "account", bank.account_environment()),
        "migrate.yaml": _patch("Job", "batch/v1", "migrate", bank.upkeep_environment("owner")),
        "audit.yaml": _patch("CronJob", "batch/v1", "audit", bank.upkeep_environment("audit")),
    }
    patched = {"tls-ledgers.yaml": "---\n".join(_filled("ledger-tls.yaml", shard=number) for number in bank.shards)}
    made: dict[Path, str] = {}
    for place, resources, others in (
        ("base", base, patches),
        ("overlays/dev", _development(bank), {}),
        ("overlays/production", production, patched),
    ):
        files = resources | {"kustomization.yaml": _kustomization(*resources)} | others
        made |= {ROOT / place / "generated" / name: HEADER + content for name, content in files.items()}
    return made


def _is_fresh(made: dict[Path, str]) -> bool:
    there = {file for place in ROOT.glob("**/generated") for file in place.iterdir()}
    return there == made.keys() and all(file.read_text() == content for file, content in made.items())


def _write(made: dict[Path, str]) -> None:
    for place in ROOT.glob("**/generated"):
        for file in place.iterdir():
            file.unlink()
    for file, content in made.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(content)


def main() -> None:
    """Carry out the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only tell whether they are up to date")
    parser.add_argument("--secrets", action="store_true", help="print Secrets with new random passwords")
    options = parser.parse_args()
    bank = Bank.read(ROOT / "shards.toml")
    if options.secrets:
        for name in bank.databases:
            sys.stdout.write(_filled("roles.yaml", name=name, **{role: secrets.token_hex(24) for role in ROLES}))
            sys.stdout.write("---\n")
        return
    made = manifests(bank)
    if not options.check:
        _write(made)
    elif not _is_fresh(made):
        raise SystemExit("deploy/k8s/**/generated is not up to date: run `make manifests`")


if __name__ == "__main__":
    main()
