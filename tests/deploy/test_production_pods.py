"""The production overlay opens a bank: TLS everywhere, a PostgreSQL with roles and passwords for each database.

Every container is started with exactly its manifest's words. The harness stands in for cert-manager
(`authority.py`), for the PostgreSQL operator (`clusters.py`, without replicas and backups) and for whoever makes
the tokens' keys. Two shards instead of the manifest's, by its own generator.
"""

import asyncio
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import clusters
import grpc
import jwt
import pods
import pytest
import yaml
from authority import Authority, issued
from banking import move_money
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from services.chassis.embedded_postgres import EmbeddedPostgres
from services.cli import channels, tokens

ROOT = Path(__file__).parents[2]
SHARDS = 2
PUBLIC_NAME = "bank.example.com"

pytestmark = [
    pytest.mark.skipif(not pods.can_run_pods(), reason="pods need mounts of their own: run as root on Linux"),
    pytest.mark.skipif(clusters.programs() is None, reason=clusters.MISSING),
]


@dataclass
class Production:
    """The overlay's pods and servers, and what callers of the gateway have."""

    cluster: pods.Cluster
    servers: dict[str, EmbeddedPostgres]
    key: ec.EllipticCurvePrivateKey
    trusted: bytes

    def token(self, **claims: Any) -> str:
        """Have the identity provider sign a token."""
        read = jwt.decode(tokens.mint("x" * 32, subject="test"), options={"verify_signature": False})
        return jwt.encode({**read, **claims}, self.key, algorithm="ES256", headers={"kid": "1"})

    def address(self, pod: str) -> str:
        """Name a pod's gRPC."""
        found = self.cluster.pods[pod]
        (port,) = (each["containerPort"] for each in found.container["ports"] if each["name"] == "grpc")
        return f"{found.ip}:{port}"


@pytest.fixture
async def production(place: Path) -> AsyncIterator[Production]:
    documents = _documents(place)
    key, public = ec.generate_private_key(ec.SECP256R1()), Authority("a public authority")
    jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "1", "alg": "ES256", "use": "sig"}
    documents += [
        *issued(documents),
        public.secret({"secretName": "gateway-public-tls", "dnsNames": [PUBLIC_NAME], "usages": ["server auth"]}),
        _secret("gateway-tokens", "jwks.json", json.dumps({"keys": [jwk]})),
        _secret("gateway-pages", "secret", secrets.token_hex(32)),
    ]
    network = pods.free_network()
    cluster = pods.Cluster(documents, place, network)
    async with clusters.running(cluster, place, network) as servers:
        try:
            yield Production(cluster, servers, key, public.certificate.encode())
        finally:
            await cluster.stop_all()


def _documents(place: Path) -> list[dict[str, Any]]:
    """Render the overlay of two shards, with the passwords that the README has the operator make."""
    for name in ("deploy", "tools"):
        shutil.copytree(ROOT / name, place / name)
    shards = "".join(f"{number} = {{ customer_quota = 10 }}\n" for number in range(1, SHARDS + 1))
    (place / "deploy" / "k8s" / "shards.toml").write_text(f"[shards]\n{shards}")
    generator = [sys.executable, place / "tools" / "manifests.py"]
    subprocess.run(generator, check=True)
    passwords = subprocess.run([*generator, "--secrets"], check=True, capture_output=True, text=True).stdout
    overlay = place / "deploy" / "k8s" / "overlays" / "production"
    return [*pods.rendered(overlay), *(each for each in yaml.safe_load_all(passwords) if each)]


def _secret(name: str, key: str, text: str) -> dict[str, Any]:
    return {"kind": "Secret", "metadata": {"name": name}, "stringData": {key: text}}


async def test_the_production_bank_opens_over_tls_moves_money_is_audited_and_stops(production: Production) -> None:
    cluster = production.cluster
    services = [name for name, pod in cluster.pods.items() if "startupProbe" in pod.container]
    assert len(services) == 3 + 2 * SHARDS, services  # One gateway, where the autoscaler starts more.
    for name in services:
        cluster.start(name)
    await cluster.run_to_end("migrate")
    for probe in ("startupProbe", "readinessProbe"):
        await asyncio.gather(*(cluster.wait_probed(name, probe) for name in services))

    gateway = production.address("gateway-0")
    credentials = grpc.ssl_channel_credentials(production.trusted)
    options = (("grpc.ssl_target_name_override", PUBLIC_NAME),)
    async with grpc.aio.secure_channel(gateway, credentials, options=options) as channel:
        await move_money(channel, production.token())
        await _is_refused(channel, production.token(aud="another bank"), grpc.StatusCode.UNAUTHENTICATED)
    await _speak_tls_only(production, services)
    await _are_all_encrypted(production)

    report = json.loads(await cluster.run_to_end("audit"))
    assert report["is_clean"]
    assert report["crossings"] == 1
    assert await cluster.stop_all() == dict.fromkeys(services, 0)


async def _is_refused(channel: grpc.aio.Channel, token: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await move_money(channel, token)
    assert refused.value.code() is code


async def _speak_tls_only(production: Production, services: list[str]) -> None:
    """See that no service answers in plain text, or to who shows no certificate, but for probes."""
    for name in services:
        for credentials in (None, grpc.ssl_channel_credentials(production.trusted)):
            async with channels.channel(production.address(name), credentials) as channel:
                await _is_refused(channel, production.token(), grpc.StatusCode.UNAVAILABLE)


async def _are_all_encrypted(production: Production) -> None:
    """See that every connection to every database is, each as its own role, and that none without TLS is let in."""
    for name, server in production.servers.items():
        connection = await asyncpg.connect(server.dsn("postgres"))
        try:
            rows = await connection.fetch(
                "SELECT usename, bool_and(ssl) AS ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)"
                " WHERE usename LIKE 'hivecore_%' GROUP BY usename"
            )
        finally:
            await connection.close()
        ledger = [] if name == "control" else ["hivecore_ledger"]
        assert {row["usename"]: row["ssl"] for row in rows} == dict.fromkeys(["hivecore_account", *ledger], True), name
        opened = production.cluster.secret(f"{name}-account")
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="rejects connection"):
            await asyncpg.connect(
                host="127.0.0.1",
                port=server.port,
                user=opened["username"],
                password=opened["password"],
                database="hivecore_control" if name == "control" else f"hivecore_{name.replace('-', '_')}",
                ssl=False,
            )
