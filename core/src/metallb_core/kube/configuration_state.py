"""What one component makes of the configuration, in its ConfigurationState: `controller`, or `speaker-<node>`.

- Each part of the component speaks under a field manager of its own and says all it has to say each time (`say`): a condition that it no longer
  says goes. What others wrote into the object stays.
- Written only when the object does not say so already; `lastTransitionTime` moves with the status. A read after a restart dates nothing anew.
- An object that was deleted is made again, with everything in it. The same for labels and owner: a new Pod adopts what the old one left.
- `result` and `errorSummary` are derived from the validity conditions alone: sessions and links are no matter of configuration.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import msgspec

from metallb_core.api import conditions as wires
from metallb_core.api import v1beta1
from metallb_core.domain import addresses, conditions, interfaces
from metallb_core.kube import client as clients
from metallb_core.kube import following, informer, ownership, resources
from metallb_core.runtime import backoff, clock, log, workqueue

COMPONENT_LABEL: Final = "metallb.io/component-type"
NODE_LABEL: Final = "metallb.io/node-name"
OBJECT_MANAGER: Final = "metallb"
PREFIX: Final = "configuration error: "
MOST_PROBLEMS: Final = 50

# A burst of changes is one write.
PAUSE_SECONDS: Final = 0.1
RETRY: Final = backoff.Policy(first=0.5, limit=60.0)

OK: Final = "Reconciled"
CONFIGURATION_ERROR: Final = "ConfigurationError"
UNKNOWN_ERROR: Final = "UnknownError"
LONGEST_MESSAGE: Final = 16_384


@dataclasses.dataclass(frozen=True, slots=True)
class Manager:
    """A part that speaks: its name as field manager, and the conditions that are its own, by the beginning of their type.

    `judges`: it says whether the configuration is valid, so `result` and `errorSummary` are its as well.
    """

    name: str
    prefix: str
    judges: bool = False


POOLS: Final = Manager("poolReconciler", "poolReconcilerValid", judges=True)
CONFIGURATION: Final = Manager("configReconciler", "configReconcilerValid", judges=True)
LINKS: Final = Manager("linkReporter", "interfaces.metallb.io/")
USABLE: Final = "interfaces.metallb.io/usable"
# Its reason where only one family can be announced.
_ONLY: Final = {addresses.Family.IPV4: "UsableForIPv4", addresses.Family.IPV6: "UsableForIPv6"}
SESSIONS: Final = Manager("sessionReporter", "peer.metallb.io/")
SETTINGS: Final = Manager("settingsReporter", "settings.metallb.io/")
IGNORES_EXCLUDE_LABEL: Final = "settings.metallb.io/ignoreExcludeLB"
DRAIN_TAINT: Final = "settings.metallb.io/drainTaint"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The object's name, labels and owner."""

    namespace: str
    name: str
    labels: tuple[tuple[str, str], ...]
    owner: ownership.Owner = ownership.nobody

    @classmethod
    def of_controller(cls, namespace: str) -> "Identity":
        """The controllers' object: one for all of them, owned by none, since the next leader goes on with it."""
        return cls(namespace=namespace, name="controller", labels=((COMPONENT_LABEL, "controller"),))

    @classmethod
    def of_speaker(cls, namespace: str, node: str, owner: ownership.Owner) -> "Identity":
        """The object of the speaker on `node`; it goes with the speaker's Pod, `owner`."""
        labels = ((COMPONENT_LABEL, "speaker"), (NODE_LABEL, node))
        return cls(namespace=namespace, name=f"speaker-{node}", labels=labels, owner=owner)


def validity(manager: Manager, problems: Iterable[object]) -> conditions.Condition:
    """What a judging manager says of the configuration: valid, or each problem on a line."""
    listed = [str(problem) for problem in problems]
    if not listed:
        return conditions.Condition(type=manager.prefix, status=conditions.Status.TRUE, reason=OK)
    more = [f"and {len(listed) - MOST_PROBLEMS} more"] if len(listed) > MOST_PROBLEMS else []
    return conditions.Condition(
        type=manager.prefix,
        status=conditions.Status.FALSE,
        reason=CONFIGURATION_ERROR,
        message=conditions.shortened(PREFIX + "\n".join([*listed[:MOST_PROBLEMS], *more]), LONGEST_MESSAGE),
    )


def unknown(manager: Manager, why: str) -> conditions.Condition:
    """What a judging manager says while it cannot read the configuration."""
    return conditions.Condition(
        type=manager.prefix,
        status=conditions.Status.UNKNOWN,
        reason=UNKNOWN_ERROR,
        message=conditions.shortened(why, LONGEST_MESSAGE),
    )


def links(usable: interfaces.Usable, asked_for: frozenset[str]) -> conditions.Condition:
    """What a speaker says of its interfaces: whether any can announce, and of those that advertisements ask for by name, which can.

    Others are not named: they come and go with every pod. A name that can announce one family alone has it behind it, as in `eth1/IPv4`; so
    has the reason, where that holds for all interfaces together.
    """
    served = [family for family in addresses.Family if usable.of(family)]
    only = _ONLY[served[0]] if len(served) == 1 else "Usable"
    return conditions.Condition(
        type=USABLE,
        status=conditions.Status.TRUE if served else conditions.Status.FALSE,
        reason=only if served else "NoUsableInterface",
        message=conditions.shortened(",".join(_told(name, usable) for name in sorted(usable.any & asked_for))),
    )


def _told(name: str, usable: interfaces.Usable) -> str:
    able = usable.families(name)
    return name if len(able) > 1 else f"{name}{interfaces.SEPARATOR}{next(iter(able)).kubernetes_name}"


def usable_of(held: conditions.Condition) -> interfaces.Usable:
    """What `links` said. That there are interfaces without a name stands here as the empty name, which nobody can ask for."""
    by_family: dict[addresses.Family, frozenset[str]] = {}
    for family in addresses.Family:
        entries = [entry.partition(interfaces.SEPARATOR) for entry in held.message.split(",")]
        named = frozenset(name for name, _, told in entries if name and told in ("", family.kubernetes_name))
        elsewhere = {reason for only, reason in _ONLY.items() if only is not family}
        some = held.status is conditions.Status.TRUE and held.reason not in elsewhere
        by_family[family] = named | {""} if some else named
    return interfaces.Usable(ipv4=by_family[addresses.Family.IPV4], ipv6=by_family[addresses.Family.IPV6])


def settings(*, ignores_exclude_label: bool, drain_taint: str) -> list[conditions.Condition]:
    """What a speaker says of those of its flags by which nodes are candidates or not: nothing of one that is not set.

    Only it knows them for certain, so the controller reads them here, and names the reason that the speaker would name.
    """
    found = {IGNORES_EXCLUDE_LABEL: ""} if ignores_exclude_label else {}
    if drain_taint:
        found[DRAIN_TAINT] = drain_taint
    return [
        conditions.Condition(type=name, status=conditions.Status.TRUE, reason="Set", message=message)
        for name, message in found.items()
    ]


def verdict(judged: Iterable[conditions.Condition]) -> tuple[str, str]:
    """`result` and `errorSummary` for what the judging managers say."""
    found = list(judged)
    if not found or all(each.status is conditions.Status.UNKNOWN for each in found):
        return "Unknown", ""
    wrong = [
        each.message for each in found if each.status is conditions.Status.FALSE and each.reason == CONFIGURATION_ERROR
    ]
    return ("Invalid", "\n".join(wrong)) if wrong else ("Valid", "")


State = v1beta1.ConfigurationState
Informer = informer.Informer[State, tuple[str, str], State]


class Reporter:
    """See the module. Whoever makes it follows the object and passes each change to `shown`; `wait_synced` waits for the first look.

    `on_error(manager, error)` hears of failed writes, which are tried again.
    """

    def __init__(
        self,
        client: clients.Client,
        clock: clock.Clock,
        identity: Identity,
        *,
        wait_synced: Callable[[], Awaitable[None]],
        on_error: Callable[[str, Exception], None],
    ) -> None:
        self._client = client
        self._clock = clock
        self.identity = identity
        self._wait_synced = wait_synced
        self._held: State | None = None
        self._said: dict[str, tuple[Manager, tuple[conditions.Condition, ...]]] = {}
        # One at a time, so that two managers do not both make the object.
        self._queue: workqueue.Workqueue[str] = workqueue.Workqueue(
            clock, workers=1, handler=self._write, on_error=on_error, retry=RETRY
        )

    def say(self, manager: Manager, wanted: Iterable[conditions.Condition]) -> None:
        """All that `manager` says from now on."""
        said = (manager, tuple(sorted(wanted, key=lambda each: each.type)))
        if self._said.get(manager.name) == said:
            return
        self._said[manager.name] = said
        self._queue.add_after(manager.name, PAUSE_SECONDS)

    def shown(
        self,
        key: tuple[str, str],
        _old: State | None,
        new: State | None,
    ) -> None:
        """The informer shows a ConfigurationState anew; others than our own do not matter."""
        if key != (self.identity.namespace, self.identity.name):
            return
        if new is None:
            self._held = None
        elif not self._newer(new):
            return
        for name in self._said:
            self._queue.add_after(name, PAUSE_SECONDS)

    async def run(self) -> None:
        """Write what is said, for ever."""
        await self._wait_synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())

    def _newer(self, found: v1beta1.ConfigurationState) -> bool:
        """Take `found` unless it is older than what we know, from the answer to our own write."""
        held = self._held
        if held is not None and int(found.metadata.resource_version) <= int(held.metadata.resource_version):
            return False
        self._held = found
        return True

    async def _write(self, name: str) -> None:
        manager, wanted = self._said[name]
        await self._ensure()
        assert self._held is not None
        held = wires.read(self._held.status.conditions)
        own = [each for each in held if each.type.startswith(manager.prefix)]
        body: dict[str, Any] = {
            "conditions": [
                wires.write(conditions.dated(each, conditions.named(own, each.type), self._now())) for each in wanted
            ]
        }
        same = len(own) == len(wanted) and not conditions.changed(wanted, own, "")
        if manager.judges:
            result, summary = verdict(wanted)
            same = same and (result, summary) == (self._held.status.result, self._held.status.error_summary)
            body |= {"result": result, "errorSummary": summary}
        if same:
            return
        answer = await self._client.apply(
            resources.CONFIGURATION_STATES,
            self.identity.name,
            self.identity.namespace,
            {"status": body},
            field_manager=manager.name,
            subresource="status",
        )
        self._newer(answer)

    async def _ensure(self) -> None:
        """Make the object, or give it our labels and owner. Raises ApiError, Unreachable."""
        identity, held = self.identity, self._held
        labels, owner = dict(identity.labels), await identity.owner()
        if held is not None:
            has_labels = labels.items() <= (held.metadata.labels or {}).items()
            owners = {each.uid for each in held.metadata.owner_references or ()}
            if has_labels and (owner is None or owner.uid in owners):
                return
        metadata: dict[str, Any] = {"labels": labels}
        if owner is not None:
            metadata["ownerReferences"] = [msgspec.to_builtins(owner)]
        answer = await self._client.apply(
            resources.CONFIGURATION_STATES,
            identity.name,
            identity.namespace,
            {"metadata": metadata},
            field_manager=OBJECT_MANAGER,
        )
        self._newer(answer)

    def _now(self) -> str:
        return clock.rfc3339(self._clock.now())


def follow(
    client: clients.Client,
    clock: clock.Clock,
    identity: Identity,
    *,
    logger: log.Logger,
    on_error: Callable[[str, Exception], None],
) -> tuple[Informer, Reporter]:
    """A reporter of one's own object, and the informer that shows it what stands there; both have to run."""

    def shown(key: tuple[str, str], old: State | None, new: State | None) -> None:
        reporter.shown(key, old, new)

    own = following.follow(
        client,
        resources.CONFIGURATION_STATES,
        namespace=identity.namespace,
        field_selector=f"metadata.name={identity.name}",
        on_change=shown,
        clock=clock,
        logger=logger,
    )
    reporter = Reporter(client, clock, identity, wait_synced=own.wait_synced, on_error=on_error)
    return own, reporter
