"""An API server and a controller in miniature, for tests that drive both by hand.

- The server keeps Services with versions and a stream of what changed; a write on an old version is refused, one that changes nothing makes no
  new version.
- The controller uses configuration, ledger and decisions as the real one does. It decides on what it was shown, reserves, and writes on the
  version it decided on; whoever drives it says when a write arrives, and when its answer does.
- A write that was refused as out of date does not end its reservation: an earlier attempt without an answer may have taken place. What is
  shown next ends it.
"""

import collections
import dataclasses
from collections.abc import Iterable

from metallb_core.allocation import converge, ledger, request, waiting
from metallb_core.api import v1beta1
from metallb_core.config import compiled
from metallb_core.domain import namespaces, services

Key = services.ServiceKey


@dataclasses.dataclass
class Patch:
    """A write under way, and what it was decided on.

    `answer` is None until the server has handled it; then yes, no, unchanged (yes, but nothing was new) or silence.
    """

    service: services.Service
    plan: converge.Plan
    config: compiled.Config
    answer: str | None = None


class Server:
    """The API server: objects with versions, and the stream of what changed."""

    def __init__(self) -> None:
        self.version = 0
        self.services: dict[Key, services.Service] = {}
        # All forms that each Service has had since it was created.
        self.history: dict[Key, list[services.Service]] = {}
        self.pools: dict[str, v1beta1.IPAddressPool] = {}
        self.namespaces = {name: namespaces.Namespace(name=name) for name in ("red", "blue")}
        self.stream: collections.deque[tuple[Key, services.Service | None]] = collections.deque()

    def put(self, service: services.Service) -> None:
        now = self.services.get(service.key)
        if now is not None and now == service:
            return  # A write that changes nothing makes no new version.
        self.version += 1
        stored = dataclasses.replace(service, resource_version=str(self.version))
        self.services[service.key] = stored
        self.history.setdefault(service.key, []).append(stored)
        self.stream.append((service.key, stored))

    def delete(self, key: Key) -> None:
        del self.services[key], self.history[key]
        self.stream.append((key, None))


class Controller:
    """One life of the controller, from one restart to the next."""

    def __init__(self, server: Server, config: compiled.Config, order: Iterable[services.Service]) -> None:
        self.server = server
        self.config = config
        self.book = ledger.Ledger()
        self.book.set_pools(config.pools)
        self.cache = dict(server.services)
        self.reserved: dict[Key, Patch] = {}
        self.written_on: dict[Key, str] = {}
        self.waiting = waiting.Waiting()
        self.patches: dict[Key, Patch] = {}
        for service in order:
            self.book.observe(service)
        # A dictionary for its order: a queue that holds each key once.
        self.queue: dict[Key, None] = dict.fromkeys(self.cache)

    def touched(self, names: Iterable[str]) -> None:
        if names := frozenset(names):
            self.queue |= dict.fromkeys(self.waiting.for_pools(names))

    def observe(self, key: Key, service: services.Service | None) -> None:
        self.reserved.pop(key, None)
        if service is None:
            self.cache.pop(key, None)
            names = self.book.forget(key)
            self.waiting.remove(key)
            self.written_on.pop(key, None)
        else:
            self.cache[key] = service
            names = self.book.observe(service)
        self.touched(names)
        self.queue[key] = None

    def configure(self) -> None:
        former, self.config = self.config, compiled.compile(resources(self.server), self.config)
        changed = self.book.set_pools(self.config.pools) | (former.left_out ^ self.config.left_out)
        if not changed:
            return
        for key, service in self.cache.items():
            homes = [self.book.pool_of(address) for address in service.ingress]
            if (service.ingress and request.annotation(service, request.ORIGIN) in changed) or any(
                home is None or home.name in changed for home in homes
            ):
                self.queue[key] = None
        self.queue |= dict.fromkeys(self.waiting.all())

    def reconcile(self, key: Key) -> None:
        self.queue.pop(key, None)
        service = self.cache.get(key)
        if service is None or self.written_on.get(key) == service.resource_version:
            return
        plan = converge.converge(service, self.book, self.config.pools.values(), left_out=self.config.left_out)
        if plan.waits_for is not None and not plan.waits_for:
            self.waiting.remove(key)
        else:
            self.waiting.put(key, service.created, plan.waits_for)
        open_write = self.reserved.get(key)
        if not plan.write and (open_write is None or open_write.plan.addresses == plan.addresses):
            return
        patch = Patch(service, plan, self.config)
        # A write without an answer may yet have taken place. Where it is not repeated, one that changes nothing settles it.
        if plan.write and plan.addresses:
            self.book.reserve(service, plan.addresses)
            self.reserved[key] = patch
        self.written_on[key] = service.resource_version
        self.patches[key] = patch

    def answered(self, key: Key) -> None:
        patch = self.patches.pop(key)
        if patch.answer == "no":
            # It changed meanwhile, or an earlier write without an answer took place: the informer tells which, and ends the reservation.
            self.written_on.pop(key, None)
        elif patch.answer == "unchanged":
            # Nothing will be shown, so this is the end of it; unless something newer was shown meanwhile, which ended it already.
            shown = self.cache.get(key)
            if shown is not None and shown.resource_version == patch.service.resource_version:
                self.written_on.pop(key, None)
                self.observe(key, shown)
        elif patch.answer == "silence":
            self.written_on.pop(key, None)
            self.queue[key] = None


def resources(server: Server) -> compiled.Resources:
    return compiled.Resources(pools=tuple(server.pools.values()), namespaces=tuple(server.namespaces.values()))
