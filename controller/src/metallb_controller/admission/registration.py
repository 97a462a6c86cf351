"""What the API server knows of the webhook: one ValidatingWebhookConfiguration, written by the controllers themselves.

- It is applied once a webhook serves, so that there is no moment in which the API server asks and nobody answers; no chart and no manifest
  holds it.
- It is owned by something of the installation that is not namespaced (the controller's ClusterRole, else the namespace), and goes with it.
- Applying is idempotent, and every controller does it. One whose bundle of authorities is smaller than what is registered leaves that
  alone: another controller may be about to serve a certificate of an authority that this one has not seen yet.
- Under `Fail` a webhook that cannot be reached blocks writes. So a new registration says `Ignore` until the Service has an endpoint that is
  ready, and `SETTLE` seconds more, in which the network learns of it; a registration that says `Fail` already is never lowered.
- Entries that are not ours, left by another version, would go unanswered: the configuration is then made anew.
"""

import asyncio
import base64
import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, Final
from urllib import parse

import msgspec

from metallb_controller.admission import kinds
from metallb_core.api import meta, v1beta1, webhooks
from metallb_core.kube import client as clients
from metallb_core.kube import errors, following, informer, resources
from metallb_core.runtime import backoff, log
from metallb_core.runtime import clock as clocks

NAME: Final = "metallb-webhook-configuration"
FIELD_MANAGER: Final = "MetalLB"
SERVICE_PORT: Final = 443
# A writer waits this long at most for a webhook that does not answer.
TIMEOUT_SECONDS: Final = 5
FAIL: Final = "Fail"
IGNORE: Final = "Ignore"
SETTLE: Final = 3.0
# Two controllers that want different things, while one replaces the other, do not write against each other faster than this.
REPAIR_SECONDS: Final = 5.0
RETRY: Final = backoff.Policy(first=0.2, limit=30.0)
LOG: Final = log.get("webhook")
_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the API server finds the webhook, and what it does when it does not. `cluster_role` empty: the namespace is the owner.

    `url` (scheme, name, port) in place of the Service, for a controller that runs outside the cluster.
    """

    namespace: str
    service: str
    failure_policy: str = IGNORE
    cluster_role: str = ""
    url: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The DNS names that the certificate has to be for; the first is the one that is asked for."""
        service = f"{self.service}.{self.namespace}.svc"
        host = parse.urlsplit(self.url).hostname
        return (*((host,) if host else ()), service, f"{service}.cluster.local")


def blocks(*bundles: bytes) -> list[bytes]:
    """The certificates of PEM bundles, each once, in order."""
    found = (one for each in bundles for one in _BLOCK.findall(each))
    return list(dict.fromkeys(b"\n".join(line.strip() for line in one.splitlines()) + b"\n" for one in found))


def entries(target: Target, authorities: bytes, policy: str) -> list[webhooks.ValidatingWebhook]:
    """One entry for each kind. Without authorities the bundle is left to whoever injects it."""
    encoded = base64.b64encode(authorities).decode() if authorities else None
    found = []
    for kind in kinds.ALL:
        service = webhooks.ServiceReference(
            namespace=target.namespace, name=target.service, path=kind.path, port=SERVICE_PORT
        )
        found.append(
            webhooks.ValidatingWebhook(
                name=kind.webhook,
                client_config=webhooks.ClientConfig(
                    url=f"{target.url}{kind.path}" if target.url else None,
                    service=None if target.url else service,
                    ca_bundle=encoded,
                ),
                rules=[
                    webhooks.Rule(
                        api_groups=[v1beta1.GROUP],
                        api_versions=[kind.version],
                        operations=list(kind.operations),
                        resources=[kind.plural],
                        scope="Namespaced",
                    )
                ],
                failure_policy=policy,
                # Older versions of a kind are converted, and asked about too.
                match_policy="Equivalent",
                side_effects="None",
                timeout_seconds=TIMEOUT_SECONDS,
                admission_review_versions=["v1"],
            )
        )
    return found


def strangers(found: webhooks.ValidatingWebhookConfiguration) -> list[str]:
    """Names of entries that are not ours."""
    ours = {kind.webhook for kind in kinds.ALL}
    return [each.name for each in found.webhooks or () if each.name not in ours]


def is_registered(
    found: webhooks.ValidatingWebhookConfiguration | None,
    wanted: Sequence[webhooks.ValidatingWebhook],
    owner_uid: str,
    *,
    exact: bool,
) -> bool:
    """Whether `found` says what is `wanted`; unless `exact`, more authorities than wanted are as good."""
    if found is None or owner_uid not in {each.uid for each in found.metadata.owner_references or ()}:
        return False
    held = {each.name: each for each in found.webhooks or ()}
    if len(held) != len(wanted):
        return False
    for entry in wanted:
        other = held.get(entry.name)
        if other is None or _without_bundle(other) != _without_bundle(entry):
            return False
        if entry.client_config.ca_bundle is None:
            continue
        ours, theirs = set(_certificates(entry)), set(_certificates(other))
        if not (ours == theirs if exact else ours <= theirs):
            return False
    return True


def is_strict(found: webhooks.ValidatingWebhookConfiguration | None) -> bool:
    """Whether writes are blocked already while the webhook is away."""
    held = found.webhooks if found is not None else None
    return bool(held) and all(each.failure_policy == FAIL for each in held or ())


def _without_bundle(entry: webhooks.ValidatingWebhook) -> webhooks.ValidatingWebhook:
    config = msgspec.structs.replace(entry.client_config, ca_bundle=None)
    return msgspec.structs.replace(entry, client_config=config)


def _certificates(entry: webhooks.ValidatingWebhook) -> list[bytes]:
    try:
        return blocks(base64.b64decode(entry.client_config.ca_bundle or ""))
    except ValueError:
        return []


class Registrar:
    """Writes the configuration. One task uses it."""

    def __init__(self, client: clients.Client, target: Target, clock: clocks.Clock) -> None:
        self._client = client
        self._target = target
        self._clock = clock
        self._ready_since: float | None = None
        self._cleaned = False
        self._written: tuple[Sequence[webhooks.ValidatingWebhook], str] | None = None
        self._written_at = 0.0

    async def ensure(
        self, found: webhooks.ValidatingWebhookConfiguration | None, authorities: bytes, *, exact: bool
    ) -> float | None:
        """Make the configuration, of which `found` is our copy, what it should be; seconds after which to look again, if any.

        Raises ApiError, Unreachable.
        """
        owner = await self._owner()
        # Only at first: what a newer controller has registered beside ours, while it replaces this one, is not ours to remove.
        extra = strangers(found) if found is not None and not self._cleaned else []
        if found is not None and extra:
            LOG.warn("entries of another version are removed: nobody would answer them", entries=extra)
            await self._client.delete(resources.VALIDATING_WEBHOOKS, NAME, uid=found.metadata.uid)
            found = None
        self._cleaned = True
        again: float | None = None
        policy = self._target.failure_policy
        if policy == FAIL and not is_strict(found):
            again = await self._wait_reachable()
            policy = IGNORE if again is not None else FAIL
        wanted = entries(self._target, authorities, policy)
        if is_registered(found, wanted, owner.uid, exact=exact):
            return again
        now = self._clock.monotonic()
        if self._written == (wanted, owner.uid) and now < self._written_at + REPAIR_SECONDS:
            return self._written_at + REPAIR_SECONDS - now
        body = {"metadata": {"name": NAME, "ownerReferences": [owner]}, "webhooks": wanted}
        encoded: dict[str, Any] = msgspec.to_builtins(body)
        await self._client.apply(resources.VALIDATING_WEBHOOKS, NAME, None, encoded, field_manager=FIELD_MANAGER)
        self._written, self._written_at = (wanted, owner.uid), now
        LOG.info("registered", failure_policy=policy, authorities=len(blocks(authorities)))
        return again

    async def _owner(self) -> meta.OwnerReference:
        """Raises ApiError (not_found: the installation is being removed, nothing is to be registered)."""
        if self._target.cluster_role:
            role = await self._client.get(resources.CLUSTER_ROLES, self._target.cluster_role)
            version, kind, found = resources.CLUSTER_ROLES.api_version, resources.CLUSTER_ROLES.kind, role.metadata
        else:
            namespace = await self._client.get(resources.NAMESPACES, self._target.namespace)
            version, kind, found = resources.NAMESPACES.api_version, resources.NAMESPACES.kind, namespace.metadata
        return meta.OwnerReference(api_version=version, kind=kind, name=found.name, uid=found.uid)

    async def _wait_reachable(self) -> float | None:
        """None once the Service has led to a webhook for a while; else the seconds after which to ask again."""
        if self._target.url:
            return None
        now = self._clock.monotonic()
        if self._ready_since is None:
            if not await self._has_endpoint():
                return 1.0
            self._ready_since = now
        left = self._ready_since + SETTLE - now
        return left if left > 0 else None

    async def _has_endpoint(self) -> bool:
        selector = f"kubernetes.io/service-name={self._target.service}"
        async for page in self._client.list(resources.ENDPOINT_SLICES, self._target.namespace, selector):
            for piece in page.items:
                if any(each.conditions.ready is not False for each in piece.endpoints or ()):
                    return True
        return False


class Remover:
    """Removes the configuration for as long as it runs, whoever registered it: nobody here would answer.

    A controller that is about to be replaced by this one may still put it back, so once is not enough.
    """

    def __init__(self, client: clients.Client, clock: clocks.Clock, random: backoff.Random) -> None:
        self._client = client
        self._clock = clock
        self._random = random
        self._changed = asyncio.Event()
        self._following = follow(client, clock, self._changed.set)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._following.run())
            group.create_task(self._remove())

    async def _remove(self) -> None:
        await self._following.wait_synced()
        failed = backoff.Backoff(RETRY, self._random)
        while True:
            self._changed.clear()
            found = self._following.store.get(NAME)
            if found is None:
                await self._changed.wait()
                continue
            try:
                if await self._client.delete(resources.VALIDATING_WEBHOOKS, NAME, uid=found.metadata.uid):
                    LOG.info("the webhook is disabled; its registration was removed", name=NAME)
                await self._changed.wait()
                failed.reset()
            except (errors.ApiError, errors.Unreachable) as error:
                LOG.warn("cannot remove the webhook's registration; trying again", name=NAME, problem=error)
                await self._clock.sleep(failed.next())


def follow(
    client: clients.Client, clock: clocks.Clock, on_change: Callable[[], None]
) -> informer.Informer[webhooks.ValidatingWebhookConfiguration, str, webhooks.ValidatingWebhookConfiguration]:
    """An informer of the one configuration."""
    return following.follow(
        client,
        resources.VALIDATING_WEBHOOKS,
        field_selector=f"metadata.name={NAME}",
        on_change=lambda *_: on_change(),
        clock=clock,
        logger=LOG,
    )
