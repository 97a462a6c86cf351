"""The ConfigurationState of a component, against the fake API server and, marked `apiserver`, a real one with the definitions."""

import asyncio
import contextlib
import dataclasses
import pathlib
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from metallb_core.api import meta, v1beta1
from metallb_core.domain import conditions
from metallb_core.kube import client as clients
from metallb_core.kube import configuration_state, connection, following, informer, ownership, resources
from metallb_core.runtime import clock, log
from metallb_core.testing import fake_apiserver

ROOT = pathlib.Path(__file__).parents[2]
DEADLINE = 30.0
OWNER = meta.OwnerReference(api_version="v1", kind="Pod", name="speaker-x", uid="3f6e1a8a-0000-4000-8000-000000000001")
HEIR = meta.OwnerReference(api_version="v1", kind="Pod", name="next", uid="3f6e1a8a-0000-4000-8000-000000000002")
LINKS = conditions.Condition(
    type="interfaces.metallb.io/usable", status=conditions.Status.TRUE, reason="Usable", message="eth0,eth1"
)
PROBLEM = 'IPAddressPool "a": spec.addresses[0]: no prefix'


async def owned() -> meta.OwnerReference | None:
    return OWNER


async def inherited() -> meta.OwnerReference | None:
    return HEIR


class Component:
    """A component that reports, and follows what it reported."""

    def __init__(self, client: clients.Client, identity: configuration_state.Identity) -> None:
        self.errors: list[Exception] = []
        self.informer: informer.Informer[Any, Any, Any] = following.follow(
            client,
            resources.CONFIGURATION_STATES,
            namespace=identity.namespace,
            field_selector=f"metadata.name={identity.name}",
            on_change=lambda key, old, new: self.reporter.shown(key, old, new),
            clock=clock.SystemClock(),
            logger=log.get("test"),
        )
        self.reporter = configuration_state.Reporter(
            client,
            clock.SystemClock(),
            identity,
            wait_synced=self.informer.wait_synced,
            on_error=lambda _manager, error: self.errors.append(error),
        )
        self.identity = identity

    def status(self) -> v1beta1.ConfigurationStateStatus | None:
        found = self.informer.store.get((self.identity.namespace, self.identity.name))
        return found.status if found is not None else None

    def condition(self, kind: str) -> meta.Condition | None:
        found = self.status()
        return next((each for each in (found.conditions if found else None) or () if each.type == kind), None)


@contextlib.asynccontextmanager
async def running(client: clients.Client, identity: configuration_state.Identity) -> AsyncIterator[Component]:
    component = Component(client, identity)
    tasks = [asyncio.ensure_future(component.informer.run()), asyncio.ensure_future(component.reporter.run())]
    try:
        yield component
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - what is looked at is a server's state
            await asyncio.sleep(0.01)


@pytest.fixture(scope="module")
def real_server() -> Iterator[Any]:
    from lab import apiserver

    with apiserver.ApiServer() as server:
        server.kubectl("apply", "--filename", ROOT / "charts/metallb/charts/crds/crds")
        server.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
        yield server


@pytest.fixture(params=["fake", pytest.param("real", marks=[pytest.mark.apiserver, pytest.mark.timeout(180)])])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[clients.Client]:
    if request.param == "real":
        place = connection.from_kubeconfig(request.getfixturevalue("real_server").kubeconfig)
        async with clients.Client(place, user_agent="test/0") as made:
            yield made
        return
    async with (
        fake_apiserver.FakeApiServer(bookmark_seconds=0.5) as server,
        clients.Client(connection.plain(server.url), user_agent="test/0") as made,
    ):
        yield made


@pytest.fixture
async def namespace(client: clients.Client) -> str:
    name = f"t-{uuid.uuid4().hex[:8]}"
    await client.create(resources.NAMESPACES, {"metadata": {"name": name}})
    return name


async def test_a_speaker_says_what_it_makes_of_the_configuration(client: clients.Client, namespace: str) -> None:
    manager = configuration_state.CONFIGURATION
    async with running(client, configuration_state.Identity.of_speaker(namespace, "n1", owned)) as one:
        one.reporter.say(manager, [configuration_state.validity(manager, [])])
        one.reporter.say(configuration_state.LINKS, [LINKS])
        await eventually(lambda: one.condition("configReconcilerValid") and one.condition(LINKS.type))
        found = await client.get(resources.CONFIGURATION_STATES, "speaker-n1", namespace)
        assert found.metadata.labels == {"metallb.io/component-type": "speaker", "metallb.io/node-name": "n1"}
        assert [each.uid for each in found.metadata.owner_references or ()] == [OWNER.uid]
        assert (found.status.result, found.status.error_summary) == ("Valid", "")
        good = one.condition("configReconcilerValid")
        assert good is not None
        assert (good.status, good.reason) == ("True", "Reconciled")
        one.reporter.say(manager, [configuration_state.validity(manager, [PROBLEM, "another"])])
        await eventually(lambda: (found := one.status()) and found.result == "Invalid")
        status = one.status()
        assert status is not None
        assert status.error_summary == f"configuration error: {PROBLEM}\nanother"
        bad = one.condition("configReconcilerValid")
        assert bad is not None
        assert (bad.status, bad.reason, bad.message) == ("False", "ConfigurationError", status.error_summary)
        assert one.condition(LINKS.type), "what another part says stays"
        assert not one.errors


async def test_it_is_made_again_with_all_that_was_said(client: clients.Client, namespace: str) -> None:
    manager = configuration_state.POOLS
    async with running(client, configuration_state.Identity.of_controller(namespace)) as one:
        one.reporter.say(manager, [configuration_state.validity(manager, [PROBLEM])])
        one.reporter.say(configuration_state.LINKS, [LINKS])
        await eventually(lambda: one.condition("poolReconcilerValid") and one.condition(LINKS.type))
        before = await client.get(resources.CONFIGURATION_STATES, "controller", namespace)
        assert before.metadata.owner_references is None
        await client.delete(resources.CONFIGURATION_STATES, "controller", namespace)
        await eventually(lambda: one.status() is None)
        await eventually(lambda: one.condition("poolReconcilerValid") and one.condition(LINKS.type))
        after = await client.get(resources.CONFIGURATION_STATES, "controller", namespace)
        assert after.metadata.uid != before.metadata.uid
        assert after.metadata.labels == {"metallb.io/component-type": "controller"}
        assert after.status.result == "Invalid"


async def test_what_is_no_longer_said_goes(client: clients.Client, namespace: str) -> None:
    sessions = [
        conditions.Condition(type=f"peer.metallb.io/{name}", status=conditions.Status.TRUE, reason="Established")
        for name in ("a", "b")
    ]
    async with running(client, configuration_state.Identity.of_speaker(namespace, "n1", ownership.nobody)) as one:
        one.reporter.say(configuration_state.LINKS, [LINKS])
        one.reporter.say(configuration_state.SESSIONS, sessions)
        await eventually(lambda: one.condition("peer.metallb.io/b") and one.condition(LINKS.type))
        one.reporter.say(configuration_state.SESSIONS, sessions[:1])
        await eventually(lambda: not one.condition("peer.metallb.io/b"))
        assert one.condition("peer.metallb.io/a")
        assert one.condition(LINKS.type)


async def test_a_restart_writes_nothing_that_is_there_and_dates_nothing_anew(
    client: clients.Client, namespace: str
) -> None:
    manager = configuration_state.CONFIGURATION
    identity = configuration_state.Identity.of_speaker(namespace, "n1", owned)
    async with running(client, identity) as one:
        one.reporter.say(manager, [configuration_state.validity(manager, [])])
        await eventually(lambda: one.condition("configReconcilerValid"))
    before = await client.get(resources.CONFIGURATION_STATES, "speaker-n1", namespace)
    async with running(client, identity) as two:
        two.reporter.say(manager, [configuration_state.validity(manager, [])])
        two.reporter.say(configuration_state.LINKS, [LINKS])
        await eventually(lambda: two.condition(LINKS.type))
        after = two.condition("configReconcilerValid")
        assert after == (before.status.conditions or [])[0]
    async with running(client, dataclasses.replace(identity, owner=inherited)) as three:
        three.reporter.say(manager, [configuration_state.validity(manager, [])])
        await eventually(
            lambda: (
                (found := three.informer.store.get((namespace, "speaker-n1")))
                and [each.name for each in found.metadata.owner_references or ()] == ["next"]
            )
        )
        assert three.condition("configReconcilerValid") == after


VALID = configuration_state.validity(configuration_state.POOLS, [])
INVALID = configuration_state.validity(configuration_state.POOLS, ["x"])
UNKNOWN = configuration_state.unknown(configuration_state.POOLS, "not read yet")
VERDICTS = [
    pytest.param([], ("Unknown", ""), id="nothing-said"),
    pytest.param([UNKNOWN], ("Unknown", ""), id="not-read"),
    pytest.param([VALID], ("Valid", ""), id="valid"),
    pytest.param([INVALID], ("Invalid", "configuration error: x"), id="invalid"),
    pytest.param(
        [INVALID, VALID, dataclasses.replace(INVALID, message="y")],
        ("Invalid", "configuration error: x\ny"),
        id="joined-by-line-feeds",
    ),
]


@pytest.mark.parametrize(("judged", "expected"), VERDICTS)
def test_verdict(judged: list[conditions.Condition], expected: tuple[str, str]) -> None:
    assert configuration_state.verdict(judged) == expected


def test_a_thousand_problems_fit() -> None:
    found = configuration_state.validity(configuration_state.POOLS, [f"problem {number}" for number in range(1000)])
    assert found.message.endswith("\nand 950 more")
    assert len(configuration_state.validity(configuration_state.POOLS, ["x" * 100_000]).message) <= 16_384
