"""A whole controller against a whole API server, both simulated, driven by a seeded random source.

- The simulated controller uses configuration, ledger and decisions as the real one does: it decides on what its informer shows, which lags; it
  reserves, it patches on a version; patches succeed, conflict, fail, or succeed without an answer; it restarts from what is observed.
- Users create, change and delete Services, edit pools (well and badly), and relabel namespaces, at any moment.
- After each step and whenever all is quiet, the invariants below are checked; each is written by enumeration, apart from the code under test.
- A failure prints the seed of its episode and its last actions. Replay it alone: METALLB_MODEL_SEED=seed METALLB_MODEL_STEPS=1.
"""

import collections
import dataclasses
import os
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from metallb_core.allocation import converge, ledger, request
from metallb_core.api import meta, v1beta1
from metallb_core.config import compiled
from metallb_core.domain import addresses, namespaces, pools, services
from metallb_core.testing import builders, simulation

EPISODE_STEPS = 500
STEPS = int(os.environ.get("METALLB_MODEL_STEPS", "3000"))
SEED = int(os.environ.get("METALLB_MODEL_SEED", "0"))
MOST_SERVICES = 12
POLICIES = (
    ((4,), services.FamilyPolicy.SINGLE_STACK),
    ((6,), services.FamilyPolicy.SINGLE_STACK),
    ((4,), services.FamilyPolicy.PREFER_DUAL_STACK),
    ((4, 6), services.FamilyPolicy.PREFER_DUAL_STACK),
    ((6, 4), services.FamilyPolicy.PREFER_DUAL_STACK),
    ((4, 6), services.FamilyPolicy.REQUIRE_DUAL_STACK),
    ((6, 4), services.FamilyPolicy.REQUIRE_DUAL_STACK),
    ((4,), services.FamilyPolicy.REQUIRE_DUAL_STACK),
)
# What each pool is made of, most of the time; and what brings trouble: overlaps, addresses to avoid, what cannot be read.
OWN = {
    "a": ("10.0.0.0/30", "10.0.0.4/31", "2001:db8::/127", "2001:db8::2/127"),
    "b": ("10.0.1.0/30", "10.0.0.252-10.0.0.255", "2001:db8::10-2001:db8::12"),
    "c": ("10.0.2.0/30", "2001:db8::20/127", "2001:db8::22/128"),
}
TROUBLE = ("10.0.0.0-10.0.0.5", "10.0.0.254-10.0.1.1", "2001:db8::/126", "10.0.0.2/31", "rubbish")
WISHES = ("10.0.0.1", "10.0.0.3", "10.0.0.255", "2001:db8::1", "10.0.0.2 2001:db8::3", "10.9.9.9", "any")
Key = services.ServiceKey


class BrokenError(AssertionError):
    """An invariant does not hold."""


def may_share(one: services.Service, other: services.Service) -> bool:
    keys = {each.annotations.get(request.PREFIX + request.SHARE, "") for each in (one, other)}
    local = [each.selector for each in (one, other) if each.traffic_policy is services.TrafficPolicy.LOCAL]
    same_pods = not local or (len(local) == 2 and local[0] == local[1])
    return len(keys) == 1 and "" not in keys and same_pods and not set(one.ports) & set(other.ports)


def home(config: compiled.Config, address: addresses.Address) -> str | None:
    return next((pool.name for pool in config.pools.values() if address in pool), None)


class Model:
    """The world, its random steps, and what must always be true of it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.server = simulation.Server()
        self.names = 0
        # Services whose user changed something since all was quiet: their addresses may change.
        self.dirty: set[Key] = set()
        self.trace: collections.deque[str] = collections.deque(maxlen=40)
        self.controller = simulation.Controller(self.server, compiled.EMPTY, ())
        for _ in range(4):
            self.edit_pool()
        self.restart()
        self.steps: list[tuple[float, Callable[[], None]]] = [
            (4, self.create),
            (3, self.update),
            (2, self.delete),
            (0.5, self.recreate),
            (0.5, self.meddle),
            (1, self.edit_pool),
            (0.3, self.delete_pool),
            (0.4, self.relabel),
            (12, self.deliver),
            (0.5, self.relist),
            (3, self.configure),
            (24, self.reconcile),
            (10, self.handle),
            (10, self.answer),
            (0.5, self.restart),
            (0.7, self.settle),
        ]

    def run(self, steps: int) -> None:
        weights = [weight for weight, _ in self.steps]
        for number in range(steps):
            step = self.random.choices(self.steps, weights)[0][1]
            step()
            if number % 10 == 0:
                self.check_counters()
        self.settle()
        for key in list(self.server.services):
            self.server.delete(key)
        self.settle()
        for name, counts in self.controller.book.usages().items():
            require(
                counts.assigned_ipv4 == counts.assigned_ipv6 == counts.services == 0, f"{name} still counts {counts}"
            )

    def log(self, text: str) -> None:
        self.trace.append(text)

    # Users

    def pick(self) -> services.Service | None:
        found = list(self.server.services.values())
        return self.random.choice(found) if found else None

    def create(self) -> None:
        if len(self.server.services) >= MOST_SERVICES:
            return
        self.names += 1
        key = Key(self.random.choice(("red", "blue")), f"s{self.names}")
        self.server.put(self.fresh(key))
        self.dirty.add(key)
        self.log(f"create {tell(self.server.services[key])}")

    def fresh(self, key: Key) -> services.Service:
        families, policy = self.random.choice(POLICIES)
        return builders.service(
            key.name,
            namespace=key.namespace,
            families=families,
            policy=policy,
            labelled=self.random.choice(("app=web", "app=db")),
            # All created at once, some a second later: ties happen.
            created=f"2026-01-01T00:00:{self.random.randrange(3):02}Z",
            **self.wishes(),
        )

    def wishes(self) -> dict[str, Any]:
        return {
            "asks": self.random.choice(WISHES) if self.random.random() < 0.25 else "",
            "asks_pool": self.random.choice("aabbc*") if self.random.random() < 0.25 else "",
            "share": self.random.choice(("", "k", "k", "l")),
            "on": self.random.choice(("TCP/80", "TCP/81", "TCP/82", "UDP/80", "TCP/80 TCP/81")),
        }

    def update(self) -> None:
        old = self.pick()
        if old is None:
            return
        new = self.fresh(old.key)
        annotations = dict(old.annotations)
        changes: dict[str, object] = {}
        match self.random.choice(("asks", "pool", "share", "ports", "families", "labels", "type", "policy")):
            case "families":
                changes = {
                    "cluster_ips": new.cluster_ips,
                    "families": new.families,
                    "family_policy": new.family_policy,
                }
            case "ports":
                changes = {"ports": new.ports}
            case "labels":
                changes = {"labels": new.labels}
            case "type":
                # Back to a load balancer only once its status is cleared: until then what it shows may be another's already.
                changes = {"is_load_balancer": not old.is_load_balancer and not old.ingress}
            case "policy":
                local = old.traffic_policy is services.TrafficPolicy.LOCAL
                changes = {"traffic_policy": services.TrafficPolicy.CLUSTER if local else services.TrafficPolicy.LOCAL}
            case wish:
                name = {"asks": request.ADDRESSES, "pool": request.POOL, "share": request.SHARE}[wish]
                annotations.pop(request.PREFIX + name, None)
                if request.PREFIX + name in new.annotations:
                    annotations[request.PREFIX + name] = new.annotations[request.PREFIX + name]
        updated = dataclasses.replace(old, annotations=annotations, **changes)  # type: ignore[arg-type]
        self.server.put(updated)
        self.dirty.add(old.key)
        self.log(f"update {tell(self.server.services[old.key])}")

    def delete(self) -> None:
        service = self.pick()
        if service is not None:
            self.server.delete(service.key)
            self.log(f"delete {service.key}")

    def recreate(self) -> None:
        service = self.pick()
        if service is not None:
            self.server.delete(service.key)
            self.server.put(self.fresh(service.key))
            self.dirty.add(service.key)
            self.log(f"recreate {tell(self.server.services[service.key])}")

    def meddle(self) -> None:
        """Somebody else adds an entry to the status, or removes the annotation: ours are put back."""
        service = self.pick()
        if service is None:
            return
        if self.random.random() < 0.5:
            self.server.put(dataclasses.replace(service, ingress_extra=True))
        else:
            kept = {name: text for name, text in service.annotations.items() if name != request.ALLOCATED_FROM}
            self.server.put(dataclasses.replace(service, annotations=kept))
        self.log(f"meddle {service.key}")

    def edit_pool(self) -> None:
        name = self.random.choice("abc")
        allocation = None
        if self.random.random() < 0.3:
            allocation = v1beta1.ServiceAllocation(
                priority=self.random.randrange(3),
                namespaces=self.random.choice((None, None, ["red"])),
                namespace_selectors=self.random.choice((None, None, [meta.LabelSelector(match_labels={"team": "x"})])),
                service_selectors=self.random.choice((None, None, [meta.LabelSelector(match_labels={"app": "web"})])),
            )
        self.server.pools[name] = builders.pool_object(
            name,
            *self.random.sample(OWN[name], self.random.randrange(1, len(OWN[name]) + 1)),
            *(self.random.choice(TROUBLE) for _ in range(self.random.random() < 0.2)),
            auto_assign=self.random.random() < 0.9,
            avoid_buggy_ips=self.random.random() < 0.2,
            allocation=allocation,
        )
        self.log(f"pool {self.server.pools[name].spec}")

    def delete_pool(self) -> None:
        if self.server.pools:
            name = self.random.choice(sorted(self.server.pools))
            del self.server.pools[name]
            self.log(f"delete pool {name}")

    def relabel(self) -> None:
        name = self.random.choice(sorted(self.server.namespaces))
        labels = self.random.choice(({}, {"team": "x"}))
        self.server.namespaces[name] = namespaces.Namespace(name=name, labels=labels)
        self.log(f"relabel {name} {labels}")

    # The controller and what is between it and the server

    def deliver(self) -> None:
        if self.server.stream:
            key, service = self.server.stream.popleft()
            self.log(f"deliver {key} {service.resource_version if service else 'gone'}")
            self.controller.observe(key, service)

    def relist(self) -> None:
        """The watch broke: of all that happened the informer shows only how things are now."""
        self.log("relist")
        self.server.stream.clear()
        for key in [key for key in self.controller.cache if key not in self.server.services]:
            self.controller.observe(key, None)
        for key, service in self.server.services.items():
            if self.controller.cache.get(key) != service:
                self.controller.observe(key, service)

    def configure(self) -> None:
        self.log("configure")
        self.controller.configure()

    def reconcile(self) -> None:
        ready = [key for key in self.controller.queue if key not in self.controller.patches]
        if ready:
            key = self.random.choice(ready)
            self.controller.reconcile(key)
            patch = self.controller.patches.get(key)
            self.log(f"reconcile {key} {[*map(str, patch.plan.addresses)] if patch else 'no write'}")

    def handle(self) -> None:
        waiting_for = [patch for patch in self.controller.patches.values() if patch.answer is None]
        if waiting_for:
            self.serve(self.random.choice(waiting_for), reliable=False)

    def serve(self, patch: simulation.Patch, *, reliable: bool) -> None:
        """The server handles a patch, or does not, and answers, or does not."""
        fate = "served" if reliable else self.random.choices(("served", "not served", "unanswered"), (8, 1, 1))[0]
        now = self.server.services.get(patch.service.key)
        fits = now is not None and now.resource_version == patch.service.resource_version
        if fate == "not served":
            patch.answer = "silence"
        else:
            if fits:
                self.check_write(patch)
                self.server.put(builders.written(patch.service, patch.plan))
            unchanged = fits and self.server.services[patch.service.key] == now
            patch.answer = "silence" if fate == "unanswered" else "unchanged" if unchanged else "yes" if fits else "no"
        if patch.answer == "silence":
            # The decision stands, even if what caused it is undone before it is repeated: it may have been carried out.
            self.dirty.add(patch.service.key)
        self.log(f"{fate} {patch.service.key} {patch.answer}")

    def answer(self) -> None:
        done = [key for key, patch in self.controller.patches.items() if patch.answer is not None]
        if done:
            key = self.random.choice(done)
            self.log(f"answer {key}")
            self.controller.answered(key)

    def restart(self) -> None:
        """A new life: it remembers no configuration and no reservation. Writes under way arrive first, or never."""
        self.log("restart")
        for patch in self.controller.patches.values():
            if patch.answer is None and self.random.random() < 0.5:
                self.serve(patch, reliable=False)
        self.server.stream.clear()
        observed = sorted(
            self.server.services.values(),
            key=lambda each: (bool(each.annotations.get(request.PREFIX + request.SHARE)), each.created, each.key),
        )
        clashing = set(self.clashes())
        # Whose change made two clash is not written anywhere, so after a restart either may have to move.
        self.dirty |= clashing
        if not clashing:
            self.random.shuffle(observed)
        self.controller = simulation.Controller(
            self.server, compiled.compile(simulation.resources(self.server)), observed
        )

    def settle(self) -> None:
        """Let everything arrive, with nobody interfering; then check all that is promised of a quiet cluster."""
        self.log("settle")
        self.controller.configure()
        for _ in range(400):
            while self.server.stream:
                self.deliver()
            for key, patch in list(self.controller.patches.items()):
                if patch.answer is None:
                    self.serve(patch, reliable=True)
                self.controller.answered(key)
            for key in list(self.controller.queue):
                if key not in self.controller.patches:
                    self.controller.reconcile(key)
            if not (self.server.stream or self.controller.patches or self.controller.queue):
                break
        else:
            raise BrokenError("never comes to rest")
        self.check_quiet()
        self.dirty.clear()

    # Invariants

    def clashes(self) -> Iterator[Key]:
        """Services that have an address they may not have beside another."""
        found = list(self.server.services.values())
        for one in found:
            for other in found:
                both = one.key != other.key and one.is_load_balancer and other.is_load_balancer
                if both and set(one.ingress) & set(other.ingress) and not may_share(one, other):
                    yield one.key

    def check_write(self, patch: simulation.Patch) -> None:
        """No write gives an address that another has, and none takes one without cause."""
        before = patch.service
        for address in set(patch.plan.addresses) - set(before.ingress):
            for other in self.server.services.values():
                # One that is no load balancer any more is not announced, whatever its status still says.
                if other.key != before.key and other.is_load_balancer and address in other.ingress:
                    # Its user may have changed it since this was decided; then it is the one that moves.
                    allowed = any(may_share(before, form) for form in self.server.history[other.key])
                    require(allowed, f"{address} given to {before.key} while {other.key} has it")
        for address in set(before.ingress) - set(patch.plan.addresses):
            require(self.may_go(before, address, patch.config), f"{before.key} loses {address} without cause")

    def may_go(self, service: services.Service, address: addresses.Address, config: compiled.Config) -> bool:
        where = home(config, address)
        asked = request.parse(service)
        return (
            service.key in self.dirty
            or (where is None and service.annotations.get(request.ALLOCATED_FROM) not in config.left_out)
            or len({home(config, each) for each in service.ingress}) > 1
            or (
                isinstance(asked, request.Request)
                and (asked.pool not in ("", where) or not set(asked.addresses) <= set(service.ingress))
            )
        )

    def check_counters(self) -> None:
        """The ledger's counters are what one counts by hand."""
        book = self.controller.book
        held: dict[addresses.Address, set[Key]] = {}
        for key, service in self.controller.cache.items():
            for address in service.ingress if service.is_load_balancer else ():
                held.setdefault(address, set()).add(key)
        for key, patch in self.controller.reserved.items():
            for address in patch.plan.addresses:
                held.setdefault(address, set()).add(key)
        counts = book.usages()
        for name, pool in self.controller.config.pools.items():
            mine = {address: users for address, users in held.items() if address in pool}
            got = counts[name]
            expected = (
                sum(address.family == addresses.Family.IPV4 for address in mine),
                sum(address.family == addresses.Family.IPV6 for address in mine),
                len(set().union(*mine.values())),
            )
            require((got.assigned_ipv4, got.assigned_ipv6, got.services) == expected, f"{name}: {got}, not {expected}")
        require(counts.keys() == self.controller.config.pools.keys(), "counts of pools that are not in force")

    def check_quiet(self) -> None:
        controller, config = self.controller, self.controller.config
        require(controller.cache == self.server.services, "the informer shows something else")
        require(not controller.reserved, f"reservations are left: {sorted(controller.reserved)}")
        require(not list(self.clashes()), f"addresses clash: {sorted(set(self.clashes()))}")
        self.check_counters()
        if not config.problems:
            anew = compiled.compile(simulation.resources(self.server))
            require(anew == config, "a new controller would have another configuration")
        others = list(self.server.services.values())
        fresh = ledger.Ledger()
        fresh.set_pools(config.pools)
        self.random.shuffle(others)
        for service in others:
            fresh.observe(service)
        for service in others:
            for book, whose in ((controller.book, "the same"), (fresh, "a new")):
                plan = converge.converge(service, book, config.pools.values(), left_out=config.left_out)
                require(
                    not plan.write,
                    f"{whose} controller would write {[*map(str, plan.addresses)]} of {plan.pool} to {tell(service)}",
                )
            self.check_satisfied(service, config)

    def check_satisfied(self, service: services.Service, config: compiled.Config) -> None:
        """What the Service lacks really cannot be had."""
        if not service.is_load_balancer:
            require(not service.ingress, f"{service.key} is no load balancer and has an address")
            return
        present = [address.family for address in service.cluster_ips]
        policy = service.family_policy
        asked = request.parse(service)
        if not isinstance(asked, request.Request) or (
            policy is services.FamilyPolicy.REQUIRE_DUAL_STACK and len(present) < 2
        ):
            return
        require({each.family for each in service.ingress} <= set(present), f"{service.key} has a family too many")
        names = {home(config, address) for address in service.ingress}
        if None in names and service.annotations.get(request.ALLOCATED_FROM) in config.left_out:
            return
        require(None not in names and len(names) < 2, f"{service.key} has addresses of the pools {names}")
        lenient = policy is services.FamilyPolicy.PREFER_DUAL_STACK
        has = bool(service.ingress)
        content = asked.pool in ("", *names) and set(asked.addresses) <= set(service.ingress)
        if not has or not content:
            for pool in config.pools.values():
                require(
                    not self.could_serve(service, asked, pool, present, lenient=lenient),
                    f"{tell(service)} could be served by pool {pool.name}",
                )
        if has and content and len(service.ingress) < len(present):
            (name,) = names
            pool = config.pools[name or ""]
            (missing,) = set(present) - {each.family for each in service.ingress}
            require(
                not (meant(pool, service) and self.offers(service, pool, missing)),
                f"{tell(service)} could have {missing.name}",
            )

    def could_serve(
        self,
        service: services.Service,
        asked: request.Request,
        pool: pools.Pool,
        present: list[addresses.Family],
        *,
        lenient: bool,
    ) -> bool:
        if not meant(pool, service) or asked.pool not in ("", pool.name):
            return False
        fixed = {address.family: address for address in asked.addresses}
        if not fixed.keys() <= set(present):
            return False
        if not asked.pool and not fixed and not pool.auto_assign:
            return False
        if not all(address in pool and self.fits(service, address) for address in fixed.values()):
            return False
        rest = [self.offers(service, pool, family) for family in present if family not in fixed]
        return all(rest) or (lenient and (bool(fixed) or any(rest)))

    def offers(self, service: services.Service, pool: pools.Pool, family: addresses.Family) -> bool:
        return any(
            self.fits(service, addresses.Address(family, value))
            for interval in pool.intervals
            if interval.family == family
            for value in range(interval.first, interval.last + 1)
            if addresses.Address(family, value) in pool
        )

    def fits(self, service: services.Service, address: addresses.Address) -> bool:
        return all(
            other.key == service.key or address not in other.ingress or may_share(service, other)
            for other in self.server.services.values()
        )


def tell(service: services.Service) -> str:
    """What matters of a Service, for a trace."""
    families = "".join(str(int(each.family)) for each in service.cluster_ips)
    wishes = {name.partition("/")[2]: text for name, text in service.annotations.items()}
    return (
        f"{service.key} v{service.resource_version} {families} {service.family_policy.value} {service.traffic_policy.value}"
        f" {'' if service.is_load_balancer else 'ClusterIP '}{' '.join(map(str, service.ports))} {dict(service.labels)} {wishes}"
        f" has [{' '.join(map(str, service.ingress))}]"
    )


def meant(pool: pools.Pool, service: services.Service) -> bool:
    allocation = pool.allocation
    if allocation is None:
        return True
    in_namespace = allocation.namespaces is None or service.key.namespace in allocation.namespaces
    chosen = allocation.service_selectors
    return in_namespace and (not chosen or any(each.matches(service.labels) for each in chosen))


def require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise BrokenError(otherwise)


def explore(steps: int, seed: int) -> None:
    """Episodes of fresh worlds until so many steps are done."""
    for number in range(-(-steps // EPISODE_STEPS)):
        model = Model(seed + number)
        try:
            model.run(EPISODE_STEPS)
        except Exception as error:
            last = "\n  ".join(model.trace)
            raise BrokenError(f"METALLB_MODEL_SEED={seed + number}: {error!r}, after\n  {last}") from error


def test_a_controller_among_careless_users() -> None:
    explore(STEPS, SEED)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_controller_among_careless_users_for_long() -> None:
    explore(int(os.environ.get("METALLB_MODEL_STEPS", "100000")), SEED + 1_000_000)
