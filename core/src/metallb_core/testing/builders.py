"""Short ways to write pools, Services and what is announced in a test.

- Text in, domain values out: addresses are written as people write them, and a test states only what matters to it.
- What a builder fills in by itself is a Service that can be served: type LoadBalancer, one IPv4 cluster address, port TCP/80.
"""

import dataclasses
from collections.abc import Iterable, Mapping

from metallb_core.allocation import converge, ledger, request
from metallb_core.api import meta, v1beta1, v1beta2
from metallb_core.domain import addresses, namespaces, pools, selectors, services

CLUSTER_IPS = {
    addresses.Family.IPV4: addresses.Address.parse("172.20.0.1"),
    addresses.Family.IPV6: addresses.Address.parse("fd00::1"),
}


def listed(text: str) -> tuple[addresses.Address, ...]:
    """Addresses separated by blanks, in that order."""
    return tuple(addresses.Address.parse(each) for each in text.split())


def selector(text: str) -> selectors.Selector:
    """`a=b,c=d` as a selector; the empty text selects everything."""
    return selectors.Selector.of(labels(text))


def labels(text: str) -> dict[str, str]:
    """`a=b,c=d` as labels."""
    return dict(each.split("=", 1) for each in text.split(",") if each)


def pool(
    name: str,
    *texts: str,
    auto_assign: bool = True,
    avoid_buggy_ips: bool = False,
    priority: int | None = None,
    only_namespaces: Iterable[str] | None = None,
    only_services: str | None = None,
) -> pools.Pool:
    """A compiled pool of the prefixes and ranges `texts`. Any of the last three gives it a serviceAllocation."""
    restricted = priority is not None or only_namespaces is not None or only_services is not None
    return pools.Pool(
        name=name,
        intervals=tuple(addresses.Interval.parse(each) for each in texts),
        auto_assign=auto_assign,
        avoid_buggy_ips=avoid_buggy_ips,
        allocation=pools.ServiceAllocation(
            priority=priority or 0,
            namespaces=None if only_namespaces is None else frozenset(only_namespaces),
            service_selectors=() if only_services is None else (selector(only_services),),
        )
        if restricted
        else None,
    )


def ports(text: str) -> tuple[services.Port, ...]:
    """`TCP/80 UDP/53` as ports."""
    return tuple(
        services.Port(protocol, int(number)) for protocol, _, number in (each.partition("/") for each in text.split())
    )


def service(
    name: str = "web",
    *,
    namespace: str = "default",
    families: tuple[int, ...] = (4,),
    policy: services.FamilyPolicy = services.FamilyPolicy.SINGLE_STACK,
    holds: str = "",
    held_from: str = "",
    asks: str = "",
    asks_pool: str = "",
    share: str = "",
    on: str = "TCP/80",
    local: str | None = None,
    labelled: str = "",
    annotations: Mapping[str, str] | None = None,
    created: str = "2026-01-01T00:00:00Z",
) -> services.Service:
    """A Service. `holds` is its status, `held_from` the pool in its annotation; `local`: its selector, under policy Local."""
    wanted = {
        request.PREFIX + request.ADDRESSES: asks.replace(" ", ","),
        request.PREFIX + request.POOL: asks_pool,
        request.PREFIX + request.SHARE: share,
        request.ALLOCATED_FROM: held_from,
    }
    present = tuple(addresses.Family(each) for each in families)
    return services.Service(
        key=services.ServiceKey(namespace, name),
        created=created,
        resource_version="1",
        cluster_ips=tuple(CLUSTER_IPS[each] for each in present),
        families=present,
        family_policy=policy,
        traffic_policy=services.TrafficPolicy.CLUSTER if local is None else services.TrafficPolicy.LOCAL,
        selector=tuple(sorted(labels(local or "app=web").items())),
        ports=ports(on),
        labels=labels(labelled),
        annotations={key: value for key, value in wanted.items() if value} | dict(annotations or {}),
        ingress=listed(holds),
    )


def written(service: services.Service, plan: converge.Plan) -> services.Service:
    """The Service once the plan's write took place."""
    annotations = {key: value for key, value in service.annotations.items() if key != request.ALLOCATED_FROM}
    if plan.pool:
        annotations[request.ALLOCATED_FROM] = plan.pool
    return dataclasses.replace(service, ingress=plan.addresses, ingress_extra=False, annotations=annotations)


def book(known: Iterable[pools.Pool], observed: Iterable[services.Service] = ()) -> ledger.Ledger:
    """A ledger with these pools in force that saw these Services, in this order."""
    made = ledger.Ledger()
    made.set_pools({each.name: each for each in known})
    for each in observed:
        made.observe(each)
    return made


# Objects as the API has them


def label_selector(text: str = "", *expressions: tuple[str, str, list[str] | None]) -> meta.LabelSelector:
    """`matchLabels` from text, `matchExpressions` from (key, operator, values)."""
    return meta.LabelSelector(
        match_labels=labels(text) or None,
        match_expressions=[
            meta.LabelSelectorRequirement(key, operator, values) for key, operator, values in expressions
        ]
        or None,
    )


def pool_object(
    name: str,
    *texts: str,
    labelled: str = "",
    created: str = "2026-01-01T00:00:00Z",
    auto_assign: bool = True,
    avoid_buggy_ips: bool = False,
    allocation: v1beta1.ServiceAllocation | None = None,
) -> v1beta1.IPAddressPool:
    """An IPAddressPool with the entries `texts`, which need not be valid."""
    return v1beta1.IPAddressPool(
        metadata=meta.ObjectMeta(
            name=name,
            namespace="metallb-system",
            uid=f"uid-{name}",
            creation_timestamp=created,
            labels=labels(labelled) or None,
        ),
        spec=v1beta1.IPAddressPoolSpec(
            addresses=list(texts),
            auto_assign=auto_assign,
            avoid_buggy_ips=avoid_buggy_ips,
            service_allocation=allocation,
        ),
    )


def l2_object(name: str, spec: v1beta1.L2AdvertisementSpec | None = None) -> v1beta1.L2Advertisement:
    """An L2Advertisement."""
    return v1beta1.L2Advertisement(
        metadata=meta.ObjectMeta(name=name, namespace="metallb-system", uid=f"uid-{name}"),
        spec=spec or v1beta1.L2AdvertisementSpec(),
    )


def _metadata(name: str, created: str) -> meta.ObjectMeta:
    return meta.ObjectMeta(name=name, namespace="metallb-system", uid=f"uid-{name}", creation_timestamp=created)


def peer_object(name: str, *, created: str = "2026-01-01T00:00:00Z", **fields: object) -> v1beta2.BGPPeer:
    """A BGPPeer with these fields of its spec; by itself it is an external peer that is in order."""
    usual: dict[str, object] = {"my_asn": 64500, "peer_asn": 64501, "peer_address": "192.0.2.1"}
    return v1beta2.BGPPeer(
        metadata=_metadata(name, created),
        spec=v1beta2.BGPPeerSpec(**(usual | fields)),  # type: ignore[arg-type]
    )


def bgp_object(name: str, *, created: str = "2026-01-01T00:00:00Z", **fields: object) -> v1beta1.BGPAdvertisement:
    """A BGPAdvertisement with these fields of its spec."""
    return v1beta1.BGPAdvertisement(
        metadata=_metadata(name, created),
        spec=v1beta1.BGPAdvertisementSpec(**fields),  # type: ignore[arg-type]
    )


def bfd_object(name: str, **fields: object) -> v1beta1.BFDProfile:
    """A BFDProfile with these fields of its spec."""
    return v1beta1.BFDProfile(
        metadata=_metadata(name, "2026-01-01T00:00:00Z"),
        spec=v1beta1.BFDProfileSpec(**fields),  # type: ignore[arg-type]
    )


def community_object(name: str, text: str, *, created: str = "2026-01-01T00:00:00Z") -> v1beta1.Community:
    """A Community from `alias=value alias=value`; the values need not be valid."""
    pairs = [each.split("=", 1) for each in text.split()]
    return v1beta1.Community(
        metadata=_metadata(name, created),
        spec=v1beta1.CommunitySpec(communities=[v1beta1.CommunityAlias(name=n, value=v) for n, v in pairs]),
    )


def namespace(name: str, labelled: str = "") -> namespaces.Namespace:
    """A Namespace."""
    return namespaces.Namespace(name=name, labels=labels(labelled))
