"""The webhook under a real API server: what a user who writes an object is told, and that no write fails while certificates come and go.

The API server calls the real server on loopback, by a URL in place of the Service. The policy is `Fail` where a write that the webhook does not
answer has to show.
"""

import asyncio
import base64
import contextlib
import dataclasses
import json
import pathlib
import random
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from generate import helm, output
from lab import apiserver, controlplane
from metallb_controller import configuration
from metallb_controller.admission import authority, registration, webhook
from metallb_core.kube import client as clients
from metallb_core.kube import connection, errors, resources
from metallb_core.runtime import clock as clocks

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(180)]
DEADLINE = 60.0
CLOCK = clocks.SystemClock()
NAMESPACE = "metallb-system"
SECRET = "metallb-webhook-cert"
ROLE = "metallb:controller"
ACCOUNT = "account"
DEFINITIONS = output.ROOT / "charts/metallb/charts/crds/crds"
Node = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[apiserver.ApiServer]:
    """With the roles of the chart, and the controller's account, which has no other rights."""
    account = controlplane.Identity(user=f"system:serviceaccount:{NAMESPACE}:metallb-controller")
    with apiserver.ApiServer(identities={ACCOUNT: account}) as running:
        running.kubectl("apply", "--server-side", "-f", DEFINITIONS)
        running.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", DEFINITIONS)
        running.kubectl("create", "namespace", NAMESPACE)
        running.kubectl("apply", "-f", "-", input=roles())
        yield running


def roles() -> str:
    chart = output.ROOT / "charts/metallb"
    arguments = ["template", "metallb", chart, "--namespace", NAMESPACE, "--show-only", "templates/rbac.yaml"]
    return helm.run(helm.require(), arguments)


@pytest.fixture
async def ours(server: apiserver.ApiServer) -> AsyncIterator[clients.Client]:
    """What the controllers may do and no more."""
    place = connection.from_kubeconfig(server.kubeconfig_for(ACCOUNT))
    async with clients.Client(place, user_agent="metallb-controller/0") as made:
        yield made


@pytest.fixture
async def client(server: apiserver.ApiServer) -> AsyncIterator[clients.Client]:
    async with clients.Client(connection.from_kubeconfig(server.kubeconfig), user_agent="metallb-test/0") as made:
        await clean(made)
        yield made
        await clean(made)


async def clean(client: clients.Client) -> None:
    await client.delete(resources.VALIDATING_WEBHOOKS, registration.NAME)
    await client.delete(resources.SECRETS, SECRET, NAMESPACE)
    for kind in (resources.BGP_PEERS, resources.BFD_PROFILES, resources.IP_ADDRESS_POOLS, resources.L2_ADVERTISEMENTS):
        async for page in client.list(kind):
            for item in page.items:
                await client.delete(kind, item.metadata.name, item.metadata.namespace)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - conditions here are about servers, which set no event
            await asyncio.sleep(0.02)


async def wait_there(client: clients.Client, wanted: bool) -> None:
    """Wait until there is a registration, or none."""
    async with asyncio.timeout(DEADLINE):
        while True:
            pages = [page async for page in client.list(resources.VALIDATING_WEBHOOKS)]
            if any(page.items for page in pages) is wanted:
                return
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def running(client: clients.Client, *, policy: str = "Fail", **changes: Any) -> AsyncIterator[webhook.Webhook]:
    """A webhook that is registered and ready."""
    [port] = controlplane.free_ports(1)
    followed = configuration.Configuration(
        client, CLOCK, NAMESPACE, on_changed=lambda: None, on_pool=lambda _name: None
    )
    settings = webhook.Settings(
        target=registration.Target(
            namespace=NAMESPACE,
            service="metallb-webhook-service",
            failure_policy=policy,
            cluster_role=ROLE,
            url=f"https://localhost:{port}",
        ),
        port=port,
        address="127.0.0.1",
        told_seconds=1.0,
        trusted_seconds=1.0,
        linger_seconds=0.2,
    )
    one = webhook.Webhook(
        dataclasses.replace(settings, **changes),
        client=client,
        clock=CLOCK,
        random=random.Random(1),
        known=followed.resources,
        wait_known=followed.wait_synced,
    )
    runs = [*(each.run for each in followed.followed), *(part.run for part in one.parts())]
    tasks = [asyncio.ensure_future(run()) for run in runs]
    try:
        await eventually(lambda: not one.failing() or any(task.done() for task in tasks))
        assert not one.failing()
        yield one
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def kubectl(server: apiserver.ApiServer, *arguments: str, body: object = None) -> str:
    """What kubectl tells its user, on both streams; whatever the outcome."""
    text = json.dumps(body) if body is not None else None

    def run() -> str:
        command = [server._kubectl, f"--kubeconfig={server.kubeconfig}", *arguments]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    return await asyncio.to_thread(run)


async def apply(server: apiserver.ApiServer, body: Node) -> str:
    return await kubectl(server, "apply", "-f", "-", body=body)


def thing(kind: str, name: str, spec: Node, *, namespace: str = NAMESPACE, version: str = "v1beta1") -> Node:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": f"metallb.io/{version}", "kind": kind, "metadata": metadata, "spec": spec}


def pool(name: str, *addresses: str, **place: str) -> Node:
    return thing("IPAddressPool", name, {"addresses": list(addresses)}, **place)


async def test_what_users_are_told(server: apiserver.ApiServer, client: clients.Client, ours: clients.Client) -> None:
    async with running(ours):
        assert "pool-a created" in await apply(server, pool("pool-a", "192.0.2.0/28"))
        # At once, before any watch can have told of the first.
        told = await apply(server, pool("pool-b", "192.0.2.8/29"))
        assert 'admission webhook "ipaddresspoolvalidationwebhook.metallb.io" denied the request' in told
        assert "overlaps with already defined CIDR" in told
        assert "pool-b created" in await apply(server, pool("pool-b", "192.0.2.16/28"))
        told = await apply(server, pool("pool-b", "192.0.2.8/29"))
        assert "overlaps with already defined CIDR" in told
        assert "created in metallb-system namespace" in await apply(
            server, pool("p", "198.51.100.0/28", namespace="default")
        )
        told = await apply(server, thing("L2Advertisement", "a", {"ipAddressPools": ["later"]}))
        assert "Warning: " in told
        assert "later" in told
        assert "a created" in told


async def test_peers_of_both_versions_and_profiles(
    server: apiserver.ApiServer, client: clients.Client, ours: clients.Client
) -> None:
    spec = {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"}
    wrong = {"nodeSelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": {"a": "b"}}]}
    async with running(ours):
        assert "quick created" in await apply(server, thing("BFDProfile", "quick", {"receiveInterval": 300}))
        for version in ("v1beta1", "v1beta2"):
            told = await apply(server, thing("BGPPeer", f"bad-{version}", {**spec, **wrong}, version=version))
            assert 'webhook "bgppeervalidationwebhook.metallb.io" denied the request' in told, told
        told = await apply(server, thing("BGPPeer", "good", {**spec, "bfdProfile": "quick"}, version="v1beta2"))
        assert "good created" in told
        assert "failed to delete BFDProfile" in await kubectl(server, "delete", "-n", NAMESPACE, "bfdprofile", "quick")
        assert "deleted" in await kubectl(server, "delete", "-n", NAMESPACE, "bgppeer", "good")
        assert "deleted" in await kubectl(server, "delete", "-n", NAMESPACE, "bfdprofile", "quick")


async def test_no_write_fails_while_certificates_are_replaced(
    server: apiserver.ApiServer, client: clients.Client, ours: clients.Client
) -> None:
    """The authority is lost five times, under writes that may not go unanswered."""
    failed: list[str] = []
    count = 0
    stop = asyncio.Event()

    async def write() -> None:
        nonlocal count
        while not stop.is_set():
            count += 1
            body = pool("written", f"203.0.113.{count % 200}/32")
            try:
                await client.apply(resources.IP_ADDRESS_POOLS, "written", NAMESPACE, body, field_manager="test")
            except errors.ApiError as error:
                failed.append(str(error))

    async def authorities() -> list[bytes]:
        found = await client.get(resources.VALIDATING_WEBHOOKS, registration.NAME)
        bundles = {each.client_config.ca_bundle or "" for each in found.webhooks or ()}
        assert len(bundles) == 1
        return registration.blocks(base64.b64decode(bundles.pop()))

    async with running(ours) as one:
        writer = asyncio.ensure_future(write())
        seen: list[bytes] = []
        most = 0
        for _ in range(5):
            before = one._used
            await client.delete(resources.SECRETS, SECRET, NAMESPACE)
            async with asyncio.timeout(DEADLINE):
                while one._used is before:
                    most = max(most, len(await authorities()))
                    await asyncio.sleep(0.1)
            seen += await authorities()
        await asyncio.sleep(2.5)
        async with asyncio.timeout(DEADLINE):
            while len(await authorities()) != 1 or count <= 100:  # noqa: ASYNC110 - what is looked at is a server's state
                await asyncio.sleep(0.1)
        stop.set()
        await writer
    print(f"{count} writes, {len(failed)} failed")
    assert failed == []
    assert count > 100
    assert most >= 2
    assert len(set(seen)) >= 5


async def test_a_certificate_of_the_same_authority_is_served_at_once(
    client: clients.Client, ours: clients.Client
) -> None:
    async with running(ours) as one:
        held = await client.get(resources.SECRETS, SECRET, NAMESPACE)
        before = one._used
        await client.merge_patch(resources.SECRETS, SECRET, NAMESPACE, {"data": {"tls.crt": None}})
        await eventually(lambda: one._used is not before)
        after = await client.get(resources.SECRETS, SECRET, NAMESPACE)
        assert (held.data or {})["ca.crt"] == (after.data or {})["ca.crt"]
        assert (held.data or {})["tls.crt"] != (after.data or {})["tls.crt"]


async def test_several_replicas_agree_on_one_certificate(client: clients.Client, ours: clients.Client) -> None:
    async with running(ours) as one, running(ours) as two, running(ours) as three:
        assert one._used == two._used == three._used
        before = one._used
        await client.merge_patch(resources.SECRETS, SECRET, NAMESPACE, {"data": None})
        await eventually(lambda: one._used is not before and one._used == two._used == three._used)


async def test_registration_is_owned_put_right_and_removed(
    server: apiserver.ApiServer, client: clients.Client, ours: clients.Client
) -> None:
    async with running(ours, policy="Ignore"):
        found = await client.get(resources.VALIDATING_WEBHOOKS, registration.NAME)
        role = await client.get(resources.CLUSTER_ROLES, ROLE)
        [owner] = found.metadata.owner_references or []
        assert (owner.kind, owner.name, owner.uid) == ("ClusterRole", ROLE, role.metadata.uid)
        assert {each.failure_policy for each in found.webhooks or ()} == {"Ignore"}
        await client.delete(resources.VALIDATING_WEBHOOKS, registration.NAME)

        await wait_there(client, True)
    # Nobody answers now, and nothing is blocked.
    assert "bad created" in await apply(server, pool("bad", "192.0.2.0/28"))
    await wait_there(client, True)
    remover = asyncio.ensure_future(registration.Remover(ours, CLOCK, random.Random(1)).run())
    try:
        await wait_there(client, False)
    finally:
        remover.cancel()
        await asyncio.gather(remover, return_exceptions=True)


async def test_what_another_version_registered_is_replaced(
    server: apiserver.ApiServer, client: clients.Client, ours: clients.Client
) -> None:
    """MetalLB's own, whose entries nobody answers any more, and which would refuse every write."""
    entry = {
        "name": "bgppeersvalidationwebhook.metallb.io",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://localhost:1/validate-metallb-io-v1beta2-bgppeer"},
        "rules": [
            {
                "apiGroups": ["metallb.io"],
                "apiVersions": ["v1beta2"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["bgppeers"],
            }
        ],
        "sideEffects": "None",
        "failurePolicy": "Fail",
    }
    body = {"metadata": {"name": registration.NAME}, "webhooks": [entry]}
    await client.create(resources.VALIDATING_WEBHOOKS, body)
    async with running(ours):
        found = await client.get(resources.VALIDATING_WEBHOOKS, registration.NAME)
        assert entry["name"] not in {each.name for each in found.webhooks or ()}
        told = await apply(
            server,
            thing("BGPPeer", "r", {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1"}, version="v1beta2"),
        )
        assert "r created" in told


async def test_certificate_files_are_read_again_when_they_change(
    client: clients.Client, ours: clients.Client, tmp_path: pathlib.Path, server: apiserver.ApiServer
) -> None:
    def write() -> None:
        for name, text in authority.maintain({}, ("localhost",), CLOCK.now()).data.items():
            (tmp_path / name).write_bytes(text)

    write()
    async with running(ours, folder=tmp_path) as one:
        assert "overlaps" in (
            await apply(server, pool("a", "192.0.2.0/28")) + await apply(server, pool("b", "192.0.2.0/28"))
        )
        before = one._used
        write()
        await eventually(lambda: one._used is not before)
        assert "overlaps" in await apply(server, pool("b", "192.0.2.0/28"))
