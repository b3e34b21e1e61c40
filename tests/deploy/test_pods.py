"""The development overlay opens a bank: every container is started with exactly its manifest's words."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pods
import pytest
from banking import move_money

from services.chassis import postgres_binaries
from services.chassis.embedded_postgres import EmbeddedPostgres
from services.cli import channels, tokens

DEV = Path(__file__).parents[2] / "deploy" / "k8s" / "overlays" / "dev"

pytestmark = pytest.mark.skipif(not pods.can_run_pods(), reason="pods need mounts of their own: run as root on Linux")


@pytest.fixture
async def cluster(place: Path) -> AsyncIterator[pods.Cluster]:
    """Give the overlay's pods, with a real PostgreSQL in the place of its image, prepared by its own script."""
    documents = pods.rendered(DEV)
    network = pods.free_network()
    cluster = pods.Cluster(documents, place, network)
    del cluster.pods["postgres-0"]
    async with EmbeddedPostgres(place / "postgres") as server:
        for name, script in cluster.config_map("postgres-databases").items():
            _run_script(server, name, script)
        address = f"{network}.2"
        aliases = [each for each in documents if each["kind"] == "Service" and each["metadata"]["name"].endswith("-rw")]
        cluster.own_addresses = {each["metadata"]["name"]: address for each in aliases} | {"postgres": address}
        async with await pods.forwarded(address, 5432, server.port):
            try:
                yield cluster
            finally:
                await cluster.stop_all()


def _run_script(server: EmbeddedPostgres, name: str, script: str) -> None:
    psql = postgres_binaries.binaries(None) / "psql"
    done = subprocess.run(
        [psql, "-v", "ON_ERROR_STOP=1", "-d", server.tcp_dsn("postgres")],
        input=script,
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stderr}"


async def test_a_bank_opens_from_its_manifests_moves_money_is_audited_and_stops(cluster: pods.Cluster) -> None:
    services = [name for name, pod in cluster.pods.items() if "startupProbe" in pod.container]
    assert len(services) == 6, services
    # All at once, as Kubernetes does: the services wait for the schemas, the gateway for the directory.
    for name in services:
        cluster.start(name)
    await cluster.run_to_end("migrate")
    await asyncio.gather(*(cluster.wait_probed(name, "startupProbe") for name in services))
    await asyncio.gather(*(cluster.wait_probed(name, "readinessProbe") for name in services))

    gateway = cluster.pods["gateway-0"]
    port = gateway.container["ports"][0]["containerPort"]
    secret = next(iter(cluster.secret("gateway-tokens").values()))
    async with channels.channel(f"{gateway.ip}:{port}") as channel:
        await move_money(channel, tokens.mint(secret, subject="test"))

    report = json.loads(await cluster.run_to_end("audit"))
    assert report["is_clean"]
    assert report["crossings"] == 1
    assert await cluster.stop_all() == dict.fromkeys(services, 0)


async def test_a_manifest_that_misspells_a_setting_is_noticed(place: Path) -> None:
    documents = pods.rendered(DEV)
    cluster = pods.Cluster(documents, place, pods.free_network())
    variables = cluster.pods["gateway-0"].container["env"]
    (variable,) = (each for each in variables if each["name"] == "HIVECORE_ACCOUNT_ADDRESS")
    variable["name"] = "HIVECORE_ACOUNT_ADDRESS"
    cluster.start("gateway-0")
    with pytest.raises(AssertionError, match="HIVECORE_ACOUNT_ADDRESS is not a setting: did you mean"):
        await cluster.wait_probed("gateway-0", "startupProbe")
