"""Runs the PostgreSQL of a rendered overlay's Clusters, as the CloudNativePG operator would. Not a test itself.

One server for each, without replicas, with TLS, the roles and passwords, the parameters and the `pg_hba` lines
that the manifest says.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pods

from services.chassis import postgres_account
from services.chassis.embedded_postgres import EmbeddedPostgres

PLACES = Path("/usr/lib/postgresql")
VERSION_MIN = 15
MISSING = (
    f"there is no PostgreSQL {VERSION_MIN} or newer with TLS below {PLACES}: on Debian, sudo apt-get install postgresql"
)

OTHERS = frozenset({"shared_buffers", "effective_cache_size"})
"""Parameters that are for the manifest's memory."""


def programs() -> Path | None:
    """Find the newest PostgreSQL of Debian's packages, which have TLS; that of the wheel has none."""
    found = {int(place.parent.parent.name): place.parent for place in PLACES.glob("[0-9]*/bin/postgres")}
    return found[max(found)] if found and max(found) >= VERSION_MIN else None


@asynccontextmanager
async def running(cluster: pods.Cluster, place: Path, network: str) -> AsyncIterator[dict[str, EmbeddedPostgres]]:
    """Run them all at addresses of their own, under the names that the operator's services have; give them by name."""
    servers: dict[str, EmbeddedPostgres] = {}
    async with AsyncExitStack() as stack:
        for number, document in enumerate(cluster.of_kind("Cluster")):
            name = document["metadata"]["name"]
            settings = _settings(cluster, document["spec"], place / name)
            server = EmbeddedPostgres(place / name / "server", programs=programs(), settings=settings)
            servers[name] = await stack.enter_async_context(server)
            await _prepare(cluster, document["spec"], server)
            address = f"{network}.{200 + number}"
            cluster.own_addresses[f"{name}-rw"] = address
            await stack.enter_async_context(await pods.forwarded(address, 5432, server.port))
        yield servers


def _settings(cluster: pods.Cluster, spec: Mapping[str, Any], place: Path) -> dict[str, str]:
    """Write what the server reads and give its settings."""
    place.mkdir()
    os.chmod(place, 0o755)  # noqa: PTH101
    tls = cluster.secret(spec["certificates"]["serverTLSSecret"])
    hba = "\n".join(("local all all trust", *spec["postgresql"]["pg_hba"], ""))
    runs_as = postgres_account.choose(place, place / "server" / "data")
    for name, text in (("tls.crt", tls["tls.crt"]), ("tls.key", tls["tls.key"]), ("hba.conf", hba)):
        (place / name).write_text(text)
        (place / name).chmod(0o600)
        runs_as.give(place / name)
    given = {key: value for key, value in spec["postgresql"]["parameters"].items() if key not in OTHERS}
    own = {"ssl_cert_file": place / "tls.crt", "ssl_key_file": place / "tls.key", "hba_file": place / "hba.conf"}
    return {**given, "shared_buffers": "128MB", "ssl": "on", **{key: str(path) for key, path in own.items()}}


async def _prepare(cluster: pods.Cluster, spec: Mapping[str, Any], server: EmbeddedPostgres) -> None:
    begin = spec["bootstrap"]["initdb"]
    roles = [(begin["owner"], begin["secret"]["name"])]
    roles += [(role["name"], role["passwordSecret"]["name"]) for role in spec["managed"]["roles"]]
    connection = await asyncpg.connect(server.dsn("postgres"))
    try:
        for role, secret in roles:
            found = cluster.secret(secret)
            assert found["username"] == role
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{found['password']}'")
        await connection.execute(f"CREATE DATABASE {begin['database']} OWNER {begin['owner']}")
    finally:
        await connection.close()
