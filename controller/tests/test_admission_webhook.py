"""The webhook against the fake API server: in which order things happen, and what is registered."""

import asyncio
import base64
import contextlib
import dataclasses
import io
import json
import pathlib
import random
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import aiohttp
import msgspec
import pytest

from metallb_controller import configuration, controller, flags, main, program
from metallb_controller.admission import authority, kinds, registration, webhook
from metallb_core.api import meta, webhooks
from metallb_core.kube import client as clients
from metallb_core.kube import connection, events, instruments
from metallb_core.runtime import clock as clocks
from metallb_core.runtime import metrics, settings, tls
from metallb_core.testing import fake_apiserver

NAMESPACE = "metallb-system"
ROLE = "metallb:controller"
SECRET = "metallb-webhook-cert"
REGISTRATIONS = ("admissionregistration.k8s.io", "validatingwebhookconfigurations")
DEADLINE = 20.0
CLOCK = clocks.SystemClock()
TARGET = registration.Target(namespace=NAMESPACE, service="metallb-webhook-service", cluster_role=ROLE)
ONE, TWO = (b"-----BEGIN CERTIFICATE-----\n%s\n-----END CERTIFICATE-----\n" % each for each in (b"MQ==", b"Mg=="))
Node = dict[str, Any]


# What is registered.


def found(
    *, owner: str = "uid-1", bundle: bytes = ONE, policy: str = "Ignore", change: Mapping[str, Any] | None = None
) -> webhooks.ValidatingWebhookConfiguration:
    entries = registration.entries(TARGET, bundle, policy)
    if change:
        entries[0] = msgspec.structs.replace(entries[0], **change)
    reference = meta.OwnerReference(api_version="v1", kind="ClusterRole", name=ROLE, uid=owner)
    return webhooks.ValidatingWebhookConfiguration(
        metadata=meta.ObjectMeta(name=registration.NAME, owner_references=[reference]), webhooks=entries
    )


@pytest.mark.parametrize(
    ("there", "exact", "same"),
    [
        pytest.param(found(), True, True, id="the-same"),
        pytest.param(None, False, False, id="absent"),
        pytest.param(found(owner="uid-2"), False, False, id="of-an-owner-that-was-replaced"),
        pytest.param(found(policy="Fail"), False, False, id="another-policy"),
        pytest.param(found(change={"rules": []}), False, False, id="another-rule"),
        pytest.param(found(change={"name": "other.metallb.io"}), False, False, id="another-entry"),
        pytest.param(found(bundle=TWO), False, False, id="another-authority"),
        pytest.param(found(bundle=TWO + ONE), False, True, id="one-authority-more"),
        pytest.param(found(bundle=TWO + ONE), True, False, id="one-authority-too-many"),
        pytest.param(found(bundle=b""), False, False, id="no-authority"),
    ],
)
def test_what_counts_as_registered(
    there: webhooks.ValidatingWebhookConfiguration | None, exact: bool, same: bool
) -> None:
    wanted = registration.entries(TARGET, ONE, "Ignore")
    assert registration.is_registered(there, wanted, "uid-1", exact=exact) is same


def test_a_bundle_that_somebody_else_injects_is_left_to_them() -> None:
    wanted = registration.entries(TARGET, b"", "Ignore")
    assert {each.client_config.ca_bundle for each in wanted} == {None}
    assert registration.is_registered(found(bundle=TWO), wanted, "uid-1", exact=True)


def test_entries_are_those_of_metallb() -> None:
    [peer, *_] = json.loads(msgspec.json.encode(registration.entries(TARGET, ONE, "Fail")))
    assert peer == {
        "name": "bgppeervalidationwebhook.metallb.io",
        "clientConfig": {
            "service": {
                "namespace": NAMESPACE,
                "name": "metallb-webhook-service",
                "path": "/validate-metallb-io-v1beta2-bgppeer",
                "port": 443,
            },
            "caBundle": base64.b64encode(ONE).decode(),
        },
        "rules": [
            {
                "apiGroups": ["metallb.io"],
                "apiVersions": ["v1beta2"],
                "operations": ["CREATE", "UPDATE"],
                "resources": ["bgppeers"],
                "scope": "Namespaced",
            }
        ],
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "sideEffects": "None",
        "timeoutSeconds": 5,
        "admissionReviewVersions": ["v1"],
    }


def test_certificates_of_bundles_appear_once_whatever_their_line_ends() -> None:
    assert registration.blocks(ONE + b"text\n" + TWO, ONE.replace(b"\n", b"\r\n")) == [ONE, TWO]


# The order of things.


@dataclasses.dataclass(frozen=True, slots=True)
class World:
    server: fake_apiserver.FakeApiServer
    client: clients.Client

    def registered(self) -> Node | None:
        return self.server.get(*REGISTRATIONS, registration.NAME)

    def policies(self) -> set[str]:
        return {entry["failurePolicy"] for entry in (self.registered() or {"webhooks": []})["webhooks"]}

    def bundle(self) -> list[bytes]:
        entries = (self.registered() or {"webhooks": []})["webhooks"]
        return registration.blocks(*(base64.b64decode(entry["clientConfig"]["caBundle"]) for entry in entries))

    def secret(self) -> dict[str, str]:
        held = self.server.get("", "secrets", SECRET, NAMESPACE)
        return dict((held or {}).get("data") or {})

    def writes(self) -> list[str]:
        return [seen.path for seen in self.server.requests if seen.verb == "PATCH" and registration.NAME in seen.path]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with fake_apiserver.FakeApiServer() as server:
        server.put("rbac.authorization.k8s.io", "clusterroles", {"metadata": {"name": ROLE}})
        server.put("", "namespaces", {"metadata": {"name": NAMESPACE}})
        async with clients.Client(connection.plain(server.url), user_agent="test") as client:
            yield World(server, client)


@contextlib.asynccontextmanager
async def running(world: World, **changes: Any) -> AsyncIterator[webhook.Webhook]:
    target = dataclasses.replace(TARGET, **{key: changes.pop(key) for key in list(changes) if hasattr(TARGET, key)})
    followed = configuration.Configuration(
        world.client, CLOCK, NAMESPACE, on_changed=lambda: None, on_pool=lambda _name: None
    )
    given = {"told_seconds": 0.1, "trusted_seconds": 0.3, "linger_seconds": 0.0, "port": 0, **changes}
    one = webhook.Webhook(
        webhook.Settings(target=target, address="127.0.0.1", **given),
        client=world.client,
        clock=CLOCK,
        random=random.Random(1),
        known=followed.resources,
        wait_known=followed.wait_synced,
    )
    runs = [*(each.run for each in followed.followed), *(part.run for part in one.parts())]
    tasks = [asyncio.ensure_future(run()) for run in runs]
    try:
        yield one
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(outcome, asyncio.CancelledError)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - conditions here are about servers, which set no event
            await asyncio.sleep(0.01)


async def test_certificate_then_server_then_registration_then_readiness(world: World) -> None:
    order: list[str] = []

    def note(seen: fake_apiserver.Seen) -> None:
        if seen.verb in ("POST", "PATCH"):
            order.append(seen.path.rsplit("/", 1)[1])

    world.server.on_request = note
    async with running(world) as one:
        assert "is not read yet" in one.failing()["webhook"]
        await eventually(lambda: not one.failing())
    assert order == ["secrets", registration.NAME]
    held = world.registered() or {}
    [owner] = held["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("ClusterRole", ROLE)
    assert world.bundle() == registration.blocks(base64.b64decode(world.secret()["ca.crt"]))
    # What is registered stays: it says itself what happens without us.
    assert world.policies() == {"Ignore"}


async def test_an_empty_secret_is_filled_and_what_else_it_holds_stays(world: World) -> None:
    world.server.put("", "secrets", {"metadata": {"name": SECRET, "namespace": NAMESPACE}, "data": {"mine": "eA=="}})
    async with running(world) as one:
        await eventually(lambda: not one.failing())
    assert sorted(world.secret()) == ["ca.crt", "ca.key", "mine", "tls.crt", "tls.key"]


async def test_a_secret_that_is_good_is_not_written(world: World) -> None:
    data = authority.maintain({}, TARGET.names, CLOCK.now()).data
    encoded = {name: base64.b64encode(text).decode() for name, text in data.items()}
    world.server.put("", "secrets", {"metadata": {"name": SECRET, "namespace": NAMESPACE}, "data": encoded})
    async with running(world) as one:
        await eventually(lambda: not one.failing())
    assert world.secret() == encoded


async def test_of_two_that_write_one_wins_and_both_use_it(world: World) -> None:
    async with running(world) as one, running(world) as two:
        await eventually(lambda: not one.failing() and not two.failing())
        assert one._used == two._used
        assert len(world.bundle()) == 1


async def test_both_authorities_are_trusted_while_one_replaces_the_other(world: World) -> None:
    async with running(world) as one:
        await eventually(lambda: not one.failing())
        [before] = world.bundle()
        world.server.remove("", "secrets", SECRET, NAMESPACE)
        await eventually(lambda: len(world.bundle()) == 2)
        assert before in world.bundle()
        await eventually(lambda: len(world.bundle()) == 1)
        assert world.bundle() != [before]
        assert not one.failing()


async def test_a_certificate_that_cannot_be_served_leaves_the_old_one_in_use(
    world: World, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metallb_controller.admission.certificates.FOLDER_SECONDS", 0.05)
    for name, text in authority.maintain({}, TARGET.names, CLOCK.now()).data.items():
        (tmp_path / name).write_bytes(text)
    async with running(world, folder=tmp_path) as one:
        await eventually(lambda: not one.failing())
        before = one._used
        key = (tmp_path / "tls.key").read_bytes()
        (tmp_path / "tls.key").write_bytes(b"junk")
        await asyncio.sleep(0.3)
        assert one._used is before
        (tmp_path / "tls.key").unlink()
        await asyncio.sleep(0.1)
        assert not one.failing()
        (tmp_path / "tls.key").write_bytes(key)
        await asyncio.sleep(0.1)
        assert one._used is before
    assert world.secret() == {}


async def test_an_empty_folder_is_named(world: World, tmp_path: pathlib.Path) -> None:
    async with running(world, folder=tmp_path) as one:
        await eventually(lambda: "tls.crt" in one.failing()["webhook"])


async def test_fail_is_said_only_once_somebody_can_be_reached(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "SETTLE", 0.2)
    async with running(world, failure_policy="Fail") as one:
        await eventually(lambda: not one.failing())
        assert world.policies() == {"Ignore"}
        world.server.put(
            "discovery.k8s.io",
            "endpointslices",
            {
                "metadata": {
                    "name": "webhook-1",
                    "namespace": NAMESPACE,
                    "labels": {"kubernetes.io/service-name": "metallb-webhook-service"},
                },
                "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": True}}],
            },
        )
        await eventually(lambda: world.policies() == {"Fail"})
    world.server.requests.clear()
    world.server.remove("discovery.k8s.io", "endpointslices", "webhook-1", NAMESPACE)
    async with running(world, failure_policy="Fail") as one:
        await eventually(lambda: not one.failing())
    # Nobody is to get a bad object in by restarting us.
    assert world.policies() == {"Fail"}
    assert world.writes() == []


async def test_without_an_owner_nothing_is_registered(world: World) -> None:
    world.server.remove("rbac.authorization.k8s.io", "clusterroles", ROLE)
    async with running(world) as one:
        await eventually(lambda: "cannot be registered" in one.failing()["webhook"])
        assert world.registered() is None


async def test_without_a_role_the_namespace_is_the_owner(world: World) -> None:
    async with running(world, cluster_role="") as one:
        await eventually(lambda: not one.failing())
    [owner] = (world.registered() or {})["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"]) == ("Namespace", NAMESPACE)


async def test_what_was_deleted_or_changed_is_put_right_but_not_in_a_loop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "REPAIR_SECONDS", 0.5)
    async with running(world) as one:
        await eventually(lambda: not one.failing())
        await asyncio.sleep(0.5)
        world.server.remove(*REGISTRATIONS, registration.NAME)
        await eventually(world.registered)
        world.server.requests.clear()
        # Somebody who wants it otherwise, again and again.
        for _ in range(20):
            changed = json.loads(json.dumps(world.registered()))
            changed["webhooks"][0]["failurePolicy"] = "Fail"
            world.server.put(*REGISTRATIONS, changed)
            await asyncio.sleep(0.02)
        assert len(world.writes()) <= 2
        await eventually(lambda: world.policies() == {"Ignore"})


async def test_entries_of_another_version_go(world: World) -> None:
    stranger = {
        "name": "bgppeersvalidationwebhook.metallb.io",
        "clientConfig": {"caBundle": ""},
        "failurePolicy": "Fail",
    }
    world.server.put(*REGISTRATIONS, {"metadata": {"name": registration.NAME}, "webhooks": [stranger]})
    async with running(world) as one:
        await eventually(lambda: not one.failing())
    names = {entry["name"] for entry in (world.registered() or {})["webhooks"]}
    assert names == {kind.webhook for kind in kinds.ALL}


async def test_disabled_removes_it_whoever_puts_it_back(world: World) -> None:
    world.server.put(*REGISTRATIONS, {"metadata": {"name": registration.NAME}})
    task = asyncio.ensure_future(registration.Remover(world.client, CLOCK, random.Random(1)).run())
    try:
        await eventually(lambda: world.registered() is None)
        world.server.fail(503, verb="DELETE", times=8)
        world.server.put(*REGISTRATIONS, {"metadata": {"name": registration.NAME}})
        await eventually(lambda: world.registered() is None)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# The server.


@contextlib.asynccontextmanager
async def asking(world: World, **changes: Any) -> AsyncIterator[tuple[Callable[..., Any], list[bool]]]:
    """What posts a body to a path of a running webhook, verified against what it registered; and which answers closed the connection."""
    ports: list[int] = []
    closing: list[bool] = []
    original = webhook.server.serve

    @contextlib.asynccontextmanager
    async def serve(*arguments: Any, **options: Any) -> AsyncIterator[int]:
        async with original(*arguments, **options) as port:
            ports.append(port)
            yield port

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webhook.server, "serve", serve)
        async with running(world, url="https://localhost", **changes) as one:
            await eventually(lambda: not one.failing())
            context = ssl.create_default_context(cadata=b"".join(world.bundle()).decode())
            async with aiohttp.ClientSession() as session:

                async def post(path: str, body: bytes) -> tuple[int, bytes]:
                    url = f"https://localhost:{ports[0]}{path}"
                    async with session.post(url, data=io.BytesIO(body), ssl=context) as answer:
                        closing.append(answer.headers.get("Connection") == "close")
                        return answer.status, await answer.read()

                yield post, closing


def question(name: str, *addresses: str) -> bytes:
    incoming = {"metadata": {"name": name, "namespace": NAMESPACE}, "spec": {"addresses": list(addresses)}}
    request = {"uid": "1", "operation": "CREATE", "name": name, "namespace": NAMESPACE, "object": incoming}
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}).encode()


POOLS = "/validate-metallb-io-v1beta1-ipaddresspool"


@pytest.mark.parametrize(
    "options", [tls.Options.parse("", "", ""), tls.Options.parse("VersionTLS12", "", "")], ids=["tls13", "tls12"]
)
async def test_answers(world: World, options: tls.Options) -> None:
    async with asking(world, options=options) as (post, closing):
        status, body = await post(POOLS, question("one", "192.0.2.0/28"))
        assert (status, json.loads(body)["response"]["allowed"]) == (200, True)
        # Not in the store yet, perhaps; asked for anew.
        world.server.put(
            "metallb.io",
            "ipaddresspools",
            {"metadata": {"name": "two", "namespace": NAMESPACE}, "spec": {"addresses": ["192.0.2.0/24"]}},
        )
        _, body = await post(POOLS, question("one", "192.0.2.0/28"))
        assert json.loads(body)["response"]["allowed"] is False
        assert (await post(POOLS, b"junk"))[0] == 400
        assert (await post("/validate-metallb-io-v1beta1-service", b"{}"))[0] == 404
        assert (await post(POOLS, b"x" * (8 * 2**20 + 1)))[0] == 413
        # The API server cannot be asked: what is known has to do.
        world.server.fail(500, verb="GET", plural="ipaddresspools", times=1)
        _, body = await post(POOLS, question("one", "192.0.2.0/28"))
        assert json.loads(body)["response"]["allowed"] is False
        assert closing[:2] == [False, False]


async def test_answers_go_on_for_a_while_when_it_stops(world: World) -> None:
    async with asking(world, linger_seconds=1.0) as (post, closing):
        part = next(task for task in asyncio.all_tasks() if "Webhook._run" in repr(task.get_coro()))
        part.cancel()
        await asyncio.sleep(0.1)
        assert (await post(POOLS, question("one", "192.0.2.0/28")))[0] == 200
        assert closing == [True]


# Modes.


@pytest.mark.parametrize(
    ("mode", "names", "without"),
    [
        pytest.param("enabled", {"webhook", "leading"}, {"removing the webhook"}, id="enabled"),
        pytest.param("onlywebhook", {"webhook"}, {"leading", "watch services"}, id="onlywebhook"),
        pytest.param("disabled", {"removing the webhook", "leading"}, {"webhook"}, id="disabled"),
    ],
)
async def test_modes(world: World, mode: str, names: set[str], without: set[str]) -> None:
    registry = metrics.Registry(process=False)
    values = settings.parse(flags.ALL, [f"--webhook-mode={mode}", "--webhook-failure-policy=Fail"], {})
    one = controller.Controller(
        controller.Settings(namespace=NAMESPACE, identity="one", reconciles=mode != "onlywebhook"),
        client=world.client,
        clock=CLOCK,
        random=random.Random(1),
        recorder=events.EventRecorder(world.client, "metallb-controller", "one", CLOCK),
        shared_metrics=instruments.Instruments(registry),
        collectors=registry.collectors,
    )
    whole = program.Program(one, main._checking(values, NAMESPACE, tls.Options(), world.client, CLOCK, one))
    running = {part.name for part in whole.parts()}
    assert names <= running
    assert not without & running
    assert ("webhook" in whole.failing()) is (mode != "disabled")
    assert ("services" in whole.failing()) is (mode != "onlywebhook")


async def test_a_process_that_only_answers_says_that_it_judges_nothing(world: World) -> None:
    registry = metrics.Registry(process=False)
    one = controller.Controller(
        controller.Settings(namespace=NAMESPACE, identity="one", reconciles=False),
        client=world.client,
        clock=CLOCK,
        random=random.Random(1),
        recorder=events.EventRecorder(world.client, "metallb-controller", "one", CLOCK),
        shared_metrics=instruments.Instruments(registry),
        collectors=registry.collectors,
    )
    tasks = {part.name: asyncio.ensure_future(part.run()) for part in one.parts()}
    try:
        async with asyncio.timeout(DEADLINE):
            await tasks["configurationstate"]
        said = world.server.get("metallb.io", "configurationstates", "controller", NAMESPACE)
        assert (said or {})["status"]["result"] == "Unknown"
        world.server.requests.clear()
        await one._say_unknown()
        assert [seen for seen in world.server.requests if seen.verb in ("POST", "PATCH")] == []
        assert not one.failing()
        assert registry.collectors.get_sample_value("metallb_k8s_client_config_loaded_bool") == 1
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)


@pytest.mark.parametrize(
    "argument",
    ["--webhook-mode=off", "--webhook-failure-policy=Maybe", "--disable-cert-rotation=perhaps"],
)
def test_another_value_ends_the_process(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        settings.parse_or_exit(flags.ALL, [argument], {})
    assert caught.value.code == 1
    assert argument.removeprefix("--").split("=")[0] in capsys.readouterr().err


def test_flags_of_metallbs_manifests_are_taken() -> None:
    given = [
        "--cert-service-name=s",
        "--webhook-secret=x",
        "--cert-dir=/d",
        "--webhook-http2",
        "--disable-cert-rotation",
    ]
    values = settings.parse(flags.ALL, given, {"METALLB_WEBHOOK_OWNER": "role"})
    assert values[flags.WEBHOOK_SERVICE] == "s"
    assert values[flags.WEBHOOK_OWNER] == "role"
    assert values[flags.CERT_ROTATION_DISABLED] is True
    assert settings.parse(flags.ALL, [], {})[flags.WEBHOOK_POLICY] == "Ignore"
