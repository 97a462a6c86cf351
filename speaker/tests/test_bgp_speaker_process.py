"""The whole speaker as a process of its own, between the fake API server and routers that are a page of code: routes follow the objects,
sessions stay up, and what is written down is what the routers really know.

Routers listen on loopback; no link is usable for the speaker, so layer 2 announces to nobody.
"""

import asyncio
import base64
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from metallb_core.domain import addresses, communities
from metallb_core.testing import fake_apiserver, kubeconfigs
from metallb_speaker.bgp.wire import attributes, context, families, framing, messages

# Whole processes that start, restart and hand over: half a minute together.
pytestmark = pytest.mark.slow

NAMESPACE = "metallb-system"
METALLB = "metallb.io"
STARTING = """
import sys
from metallb_speaker.layer2 import exclusions
exclusions.load = lambda: (".*",)
from metallb_speaker import main
sys.exit(main.main())
"""
OUR_ASN, THEIR_ASN = 64512, 64513
READ = context.Context(families=frozenset({families.IPV4_UNICAST, families.IPV6_UNICAST}))
GSHUT = communities.GRACEFUL_SHUTDOWN


class Router:
    """A BGP router that takes any neighbour, and remembers what it was told."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.port = 0
        self.rib: dict[str, attributes.PathAttributes] = {}
        self.sessions = 0
        self.connected = 0
        self.updates = 0
        self.ends_of_rib = 0
        # Prefixes that it was asked to avoid, at any time.
        self.avoided: set[str] = set()
        self.goodbyes: list[tuple[int, int]] = []
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.address, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.wait_for(self._server.wait_closed(), 5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connected += 1
        incoming = framing.Reader(READ)
        try:
            while data := await reader.read(65536):
                for message in incoming.feed(data):
                    self._take(message, writer)
        except OSError:
            pass
        finally:
            self.connected -= 1
            self.rib.clear()
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    def _take(self, message: messages.Message, writer: asyncio.StreamWriter) -> None:
        match message:
            case messages.Open():
                answer = messages.Open.of(
                    asn=THEIR_ASN, hold_time=message.hold_time, router_id=addresses.Address.parse("192.0.2.254"),
                    capabilities=tuple(each for each in message.capabilities if "FourOctet" not in type(each).__name__),
                )  # fmt: skip
                writer.write(answer.serialise() + messages.Keepalive().serialise())
                self.sessions += 1
            case messages.Keepalive():
                # One for each of the speaker's, which come by its timer.
                writer.write(messages.Keepalive().serialise())
            case messages.Update():
                self.updates += 1
                self.ends_of_rib += message.end_of_rib is not None
                for prefix in message.withdrawn:
                    self.rib.pop(str(prefix), None)
                # A next hop on loopback is no good one elsewhere, so `announced` would not have these.
                for prefix in message.nlri:
                    self.rib[str(prefix)] = message.attributes
                    if GSHUT in message.attributes.communities:
                        self.avoided.add(str(prefix))
            case messages.Notification():
                self.goodbyes.append((message.code, message.subcode))


@dataclasses.dataclass(slots=True)
class World:
    """The API server, a running speaker on node n1, and what it logs."""

    server: fake_apiserver.FakeApiServer
    process: asyncio.subprocess.Process
    lines: list[dict[str, Any]]
    reading: "asyncio.Task[None]"

    async def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until something holds."""
        try:
            async with asyncio.timeout(20):
                while not condition():  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{what}; last lines: {self.lines[-5:]}") from None

    async def stop(self) -> int:
        """As the kubelet does; the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(self.process.wait(), 20)
        await self.reading
        return status

    def logged(self, text: str, name: str | None = None, reason: str | None = None) -> bool:
        """Whether there is such a line, of that peer or for that reason."""
        return any(
            line["msg"] == text and name in (None, line.get("peer")) and reason in (None, line.get("reason"))
            for line in self.lines
        )

    def sessions(self) -> dict[str, str]:
        """Reasons of the speaker's conditions about its peers, by peer."""
        state = self.server.get(METALLB, "configurationstates", "speaker-n1", NAMESPACE) or {}
        held = {each["type"]: each["reason"] for each in state.get("status", {}).get("conditions", [])}
        prefix = "peer.metallb.io/"
        return {kind.removeprefix(prefix): reason for kind, reason in held.items() if kind.startswith(prefix)}

    def events(self) -> list[dict[str, Any]]:
        """All Events."""
        return self.server.all("", "events")

    def statuses(self) -> dict[str, list[str]]:
        """Peers by Service, of all ServiceBGPStatus objects."""
        found = {}
        for body in self.server.all(METALLB, "servicebgpstatuses"):
            status = body.get("status", {})
            found[status.get("serviceName", "")] = status.get("peers", [])
        return found


def named(kind: str, name: str, spec: dict[str, Any], version: str = "v1beta1", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"metallb.io/{version}",
        "kind": kind,
        "metadata": {"name": name, "namespace": NAMESPACE, **metadata},
        "spec": spec,
    }


def service(name: str, address: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}], "clusterIP": "10.0.0.1"},
        "status": {"loadBalancer": {"ingress": [{"ip": address}]}},
    }


def piece(name: str, *on: str) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-1", "namespace": "default", "labels": {"kubernetes.io/service-name": name}},
        "endpoints": [{"nodeName": node, "conditions": {"ready": True}, "addresses": ["10.1.0.1"]} for node in on],
    }


def peer(name: str, router: Router, **spec: Any) -> dict[str, Any]:
    where = {"peerAddress": router.address, "peerPort": router.port}
    return named("BGPPeer", name, {"myASN": OUR_ASN, "peerASN": THEIR_ASN, **where, **spec}, "v1beta2")


@contextlib.asynccontextmanager
async def running(
    folder: pathlib.Path, *flags: str, taints: list[str] | None = None, forbidden: str = ""
) -> AsyncIterator[World]:
    """A speaker on node n1, a pool that is advertised by BGP, and a Service `web` with 192.0.2.1 and an endpoint on n1."""
    async with fake_apiserver.FakeApiServer(bookmark_seconds=0.5) as server:
        server.put("", "nodes", node(*(taints or [])))
        server.put(METALLB, "ipaddresspools", named("IPAddressPool", "pool", {"addresses": ["192.0.2.0/24"]}))
        server.put(METALLB, "bgpadvertisements", named("BGPAdvertisement", "ad", {}))
        server.put("", "services", service("web", "192.0.2.1"))
        server.put("discovery.k8s.io", "endpointslices", piece("web", "n1"))
        if forbidden:
            server.fail(403, times=10_000, plural=forbidden)
        kubeconfig = kubeconfigs.write(folder, server.url)
        arguments = ["--node-name=n1", f"--namespace={NAMESPACE}", "--port=0", "--health-probe-port=0", *flags]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            STARTING,
            *arguments,
            f"--kubeconfig={kubeconfig}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(os.environ),
        )
        lines: list[dict[str, Any]] = []
        world = World(server, process, lines, asyncio.ensure_future(read(process, lines)))
        try:
            yield world
        finally:
            if process.returncode is None:
                process.kill()
            await world.stop()


async def read(process: asyncio.subprocess.Process, lines: list[dict[str, Any]]) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        try:
            lines.append(json.loads(line))
        except ValueError:
            lines.append({"msg": line.decode(), "level": "none"})


def node(*taints: str) -> dict[str, Any]:
    spec = {"taints": [{"key": key, "effect": "NoSchedule"} for key in taints]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {"rack": "a"}}, "spec": spec}


@contextlib.asynccontextmanager
async def routers(count: int) -> AsyncIterator[list[Router]]:
    made = [Router(f"127.0.0.{80 + number}") for number in range(count)]
    for each in made:
        await each.start()
    try:
        yield made
    finally:
        for each in made:
            await each.stop()


WEB = "192.0.2.1/32"


async def test_routes_follow_the_objects_and_the_session_stays(tmp_path: pathlib.Path) -> None:
    async with routers(1) as [router], running(tmp_path) as world:
        world.server.put(METALLB, "bgppeers", peer("r1", router))
        await world.wait(lambda: WEB in router.rib, "no route")
        assert router.rib[WEB].as_path is not None
        await world.wait(lambda: world.statuses() == {"web": ["r1"]}, "no status")
        # One more Service, another set of communities, an alias, an aggregate, a Service less: routes, and nothing but routes.
        world.server.put("", "services", service("dns", "192.0.2.2"))
        world.server.put("discovery.k8s.io", "endpointslices", piece("dns", "n2"))
        await world.wait(lambda: len(router.rib) == 2, "no second route")
        world.server.put(
            METALLB, "communities", named("Community", "c", {"communities": [{"name": "red", "value": "65000:1"}]})
        )
        world.server.put(
            METALLB, "bgpadvertisements", named("BGPAdvertisement", "ad", {"communities": ["red", "65000:2"]})
        )
        both = {communities.Standard(65000, 1), communities.Standard(65000, 2)}
        await world.wait(lambda: all(each.communities == both for each in router.rib.values()), "no communities")
        world.server.put(METALLB, "bgpadvertisements", named("BGPAdvertisement", "ad", {"aggregationLength": 24}))
        await world.wait(lambda: set(router.rib) == {"192.0.2.0/24"}, "no aggregate")
        world.server.remove("", "services", "dns", "default")
        await world.wait(lambda: world.statuses() == {"web": ["r1"]}, "the status stays")
        assert set(router.rib) == {"192.0.2.0/24"}
        world.server.remove("", "services", "web", "default")
        await world.wait(lambda: not router.rib and not world.statuses(), "the route stays")
        assert (router.sessions, router.connected) == (1, 1)
        assert router.ends_of_rib >= 1
        assigned = [body for body in world.events() if body["reason"] == "nodeAssigned"]
        assert sorted(body["involvedObject"]["name"] for body in assigned) == ["dns", "web"]
        assert all('protocol "bgp"' in body["message"] for body in assigned)
        assert await world.stop() == 0
        assert [line for line in world.lines if line["level"] in ("error", "none")] == []
        await world.wait(lambda: router.goodbyes == [(6, 2)], "no goodbye")


async def test_each_peer_has_its_own_fate(tmp_path: pathlib.Path) -> None:
    async with routers(3) as [one, two, three], running(tmp_path) as world:
        for body in (
            peer("one", one),
            peer("two", two, nodeSelectors=[{"matchLabels": {"rack": "a"}}]),
            peer("three", three, nodeSelectors=[{"matchLabels": {"rack": "b"}}]),
            peer("locked", three, passwordSecret={"name": "s"}),
        ):
            world.server.put(METALLB, "bgppeers", body)
        world.server.put(METALLB, "bgpadvertisements", named("BGPAdvertisement", "ad", {"peers": ["two", "locked"]}))
        await world.wait(lambda: one.sessions and WEB in two.rib, "no session")
        assert one.rib == {}
        assert three.sessions == 0
        await world.wait(lambda: world.logged("a peer cannot be used as configured", "locked"), "no complaint")
        told = {"one": "Established", "two": "Established", "locked": "PasswordUnavailable"}
        await world.wait(lambda: world.sessions() == told, "no conditions")
        state = world.server.get(METALLB, "configurationstates", "speaker-n1", NAMESPACE)
        assert state is not None
        assert state["status"]["result"] == "Invalid"
        assert 'secret ref not found for peer config "metallb-system"/"s"' in state["status"]["errorSummary"]
        # A session that is lost is a route less in the status, and the others have not noticed.
        await world.wait(lambda: world.statuses() == {"web": ["two"]}, "no status")
        await two.stop()
        await world.wait(lambda: not world.statuses(), "the status stays")
        await two.start()
        world.server.put(METALLB, "bgppeers", peer("one", one, holdTime="30s"))
        await world.wait(lambda: one.sessions == 2, "a changed peer keeps its session")
        world.server.remove(METALLB, "bgppeers", "one", NAMESPACE)
        await world.wait(
            lambda: one.connected == 0 and one.goodbyes[-1:] == [(6, 3)], "a removed peer keeps its session"
        )
        await world.wait(lambda: WEB in two.rib and world.statuses() == {"web": ["two"]}, "no way back")


async def test_a_password_is_taken_from_its_secret_and_follows_it(tmp_path: pathlib.Path) -> None:
    """The kernel signs with it, so that no plain router could answer; what counts here is who is restarted and what is said."""
    async with routers(2) as [locked, plain], running(tmp_path) as world:
        world.server.put(METALLB, "bgppeers", peer("plain", plain))
        world.server.put(METALLB, "bgppeers", peer("locked", locked, passwordSecret={"name": "s"}))
        await world.wait(lambda: WEB in plain.rib, "no session")
        world.server.put("", "secrets", secret("first-word"))
        await world.wait(lambda: world.logged("session added", "locked"), "no attempt")
        world.server.put("", "secrets", secret("second-word"))
        await world.wait(lambda: world.logged("session restarts with other settings", "locked"), "no rotation")
        assert plain.sessions == 1
        assert not world.logged("session restarts with other settings", "plain")
        assert await world.stop() == 0
        assert "-word" not in json.dumps(world.lines)


async def test_a_drained_node_hands_over(tmp_path: pathlib.Path) -> None:
    async with routers(1) as [router], running(tmp_path, "--drain-taint=drain", "--bgp-drain-ms=700") as world:
        world.server.put(METALLB, "bgppeers", peer("r1", router))
        await world.wait(lambda: WEB in router.rib, "no route")
        world.server.put("", "nodes", node("drain"))
        await world.wait(lambda: WEB in router.avoided, "it does not ask to be avoided")
        await world.wait(lambda: not router.rib, "it does not withdraw")
        assert world.logged("withdrawing", reason="Draining")
        world.server.put("", "nodes", node())
        await world.wait(lambda: WEB in router.rib and not router.rib[WEB].communities, "it does not come back")
        assert router.sessions == 1


async def test_a_stop_hands_over(tmp_path: pathlib.Path) -> None:
    async with routers(2) as [polite, restarting], running(tmp_path, "--bgp-drain-ms=500") as world:
        world.server.put(METALLB, "bgppeers", peer("polite", polite))
        world.server.put(METALLB, "bgppeers", peer("restarting", restarting, enableGracefulRestart=True))
        await world.wait(lambda: WEB in polite.rib and WEB in restarting.rib, "no route")
        kept = dict(restarting.rib)
        stopping = asyncio.ensure_future(world.stop())
        await world.wait(lambda: WEB in polite.avoided, "it does not ask to be avoided")
        await world.wait(lambda: polite.goodbyes == [(6, 2)], "no goodbye")
        assert await stopping == 0
        # It keeps what it was told by a session that just ends.
        assert restarting.goodbyes == []
        assert restarting.avoided == set()
        assert kept
        assert [line for line in world.lines if line["level"] in ("error", "none")] == []


async def test_layer_2_does_not_wait_for_what_is_bgps_own(tmp_path: pathlib.Path) -> None:
    async with routers(1) as [router], running(tmp_path, forbidden="secrets") as world:
        world.server.put(METALLB, "bgppeers", peer("r1", router))
        world.server.put(METALLB, "l2advertisements", named("L2Advertisement", "ad", {}))
        # No link is usable here, which is layer 2's own word about the Service.
        await world.wait(lambda: any("InterfaceMissing" in body["message"] for body in world.events()), "no word of it")
        assert router.connected == 0


def bgp_status(node: str, service: str, *peers: str) -> dict[str, Any]:
    labels = {
        "metallb.io/node": node,
        "metallb.io/service-name": service,
        "metallb.io/service-namespace": "default",
    }
    said = {"node": node, "serviceName": service, "serviceNamespace": "default", "peers": list(peers)}
    return named("ServiceBGPStatus", f"bgp-{service}", {}, labels=labels) | {"status": said}


async def test_what_was_said_before_a_restart_stays_while_sessions_come_back(tmp_path: pathlib.Path) -> None:
    async with routers(1) as [router], running(tmp_path) as world:
        before = world.server.put(METALLB, "servicebgpstatuses", bgp_status("n1", "web", "r1"))
        world.server.put(METALLB, "bgppeers", peer("r1", router))
        await router.stop()
        await world.wait(lambda: world.logged("announcing"), "no route")
        await world.wait(lambda: "r1" in world.sessions(), "no attempt")
        await router.start()
        await world.wait(lambda: WEB in router.rib and world.sessions() == {"r1": "Established"}, "no session")
        after = world.server.get(METALLB, "servicebgpstatuses", "bgp-web", NAMESPACE)
        assert after is not None
        assert after["metadata"]["uid"] == before["metadata"]["uid"]
        await router.stop()
        await world.wait(lambda: not world.statuses(), "the status stays")
        await router.start()


async def test_routes_do_not_wait_for_status_objects(tmp_path: pathlib.Path) -> None:
    """Definitions that are older than the kind: nothing can be reported, and everything can be announced."""
    flags = "--health-probe-port=17981"
    async with routers(1) as [router], running(tmp_path, flags, forbidden="servicebgpstatuses") as world:
        world.server.put(METALLB, "bgppeers", peer("r1", router))
        await world.wait(lambda: WEB in router.rib and router.ends_of_rib, "no route")
        assert await readiness(17981) == ""


async def test_what_a_speaker_writes_goes_with_its_pod(tmp_path: pathlib.Path) -> None:
    """It knows its pod from the manifest, and needs no right to read it."""
    flags = ("--pod-name=speaker-x", "--pod-uid=uid-1", "--drain-taint=drain")
    async with routers(1) as [router], running(tmp_path, *flags, forbidden="pods") as world:
        world.server.put(METALLB, "bgppeers", peer("r1", router))
        await world.wait(lambda: world.statuses() == {"web": ["r1"]}, "no status")
        await world.wait(lambda: world.sessions() == {"r1": "Established"}, "no session")
        state = world.server.get(METALLB, "configurationstates", "speaker-n1", NAMESPACE)
        assert state is not None
        for made in (state, *world.server.all(METALLB, "servicebgpstatuses")):
            owners = [(each["kind"], each["name"], each["uid"]) for each in made["metadata"]["ownerReferences"]]
            assert owners == [("Pod", "speaker-x", "uid-1")]
        said = {each["type"]: each["message"] for each in state["status"]["conditions"]}
        assert said["settings.metallb.io/drainTaint"] == "drain"


OF_BGP = [
    pytest.param("bgpadvertisements", id="unknown-whether-bgp-is-used"),
    pytest.param("bgppeers", id="bgp-is-used"),
    pytest.param("communities", id="a-kind-that-few-need"),
]


@pytest.mark.parametrize("plural", OF_BGP)
async def test_a_rollout_stops_where_bgp_would_be_lost(tmp_path: pathlib.Path, plural: str) -> None:
    async with running(tmp_path, "--health-probe-port=17982", forbidden=plural) as world:
        # Layer 2 runs.
        await world.wait(lambda: any("NoAdvertisement" in body["message"] for body in world.events()), "no word of it")
        assert plural in await readiness(17982)


async def test_where_nobody_uses_bgp_its_kinds_keep_nothing(tmp_path: pathlib.Path) -> None:
    async with running(tmp_path, "--health-probe-port=17983", forbidden="bgppeers") as world:
        world.server.remove(METALLB, "bgpadvertisements", "ad", NAMESPACE)
        await world.wait(lambda: any("NoAdvertisement" in body["message"] for body in world.events()), "no word of it")
        assert await readiness(17983) == ""


async def readiness(port: int) -> str:
    """What keeps the speaker from being ready; empty if nothing does."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/readyz") as answer:
        text = await answer.text()
        return "" if answer.status == 200 else text


async def test_a_node_that_starts_drained_advertises_nothing(tmp_path: pathlib.Path) -> None:
    async with routers(1) as [router], running(tmp_path, "--drain-taint=drain", taints=["drain"]) as world:
        world.server.put(METALLB, "bgppeers", peer("r1", router))
        await world.wait(lambda: router.ends_of_rib, "no session")
        assert router.rib == {}


def secret(password: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": NAMESPACE},
        "type": "kubernetes.io/basic-auth",
        "data": {"password": base64.b64encode(password.encode()).decode()},
    }
