"""Which address a Service gets, and what its user is told when it gets none."""

import pathlib
import subprocess
from typing import Any

import pytest

from demo import steps, workload
from lab import cluster

NAMESPACE = workload.CHART_NAMESPACE
SAMPLES = pathlib.Path(__file__).with_name("samples")
POOL, ADDRESSES = "metallb.io/address-pool", "metallb.io/loadBalancerIPs"


def free(lab: cluster.Cluster, first: int, last: int | None = None) -> str:
    """A range of the LAN outside the installation's pool: addresses number `first` to `last`, counted from 64."""
    every = lab.plan.pool_ipv4
    return f"{every[first]}-{every[last or first]}"


def sample(lab: cluster.Cluster, name: str) -> str:
    """A sample with addresses of this LAN in the place of the printed ones."""
    ipv4, ipv6 = lab.plan.pool_ipv4, lab.plan.pool_ipv6
    text = (SAMPLES / name).read_text()
    for printed, ours in {
        "192.168.10.0/24": f"{ipv4[64]}/27",
        "192.168.9.1-192.168.9.5": f"{ipv4[96]}-{ipv4[100]}",
        "fc00:f853:0ccd:e799::/124": f"{ipv6[0x100]}/124",
        "172.16.12.64/30": f"{ipv4[104]}/30",
        # The page listens on another port than the printed Service has.
        "{port: 80}": "{port: 80, targetPort: 8080}",
    }.items():
        text = text.replace(printed, ours)
    return text


def refusal(lab: cluster.Cluster, text: str) -> str:
    """What kubectl says to an object that the API server does not take."""
    with pytest.raises(subprocess.CalledProcessError) as caught:
        lab.kubectl("apply", "--filename", "-", input=text)
    return str(caught.value.stderr)


def pool_of(do: steps.Steps, name: str) -> str | None:
    found: str | None = (
        do.get("service", name)["metadata"].get("annotations", {}).get("metallb.io/ip-allocated-from-pool")
    )
    return found


# Bad configuration


def signal(do: steps.Steps, name: str) -> None:
    """Send a signal to the processes of the controllers."""
    for pod in do.items("pods", "--selector=app.kubernetes.io/component=controller", namespace=NAMESPACE):
        do.signal(pod["metadata"]["name"], name)


def store(do: steps.Steps, item: dict[str, Any]) -> None:
    """Write what the webhook refuses while the controllers stand still: the policy is Ignore, so the API server stores it unchecked."""
    with pytest.raises(subprocess.CalledProcessError, match="returned non-zero") as caught:
        do.apply(item)
    assert "overlaps with already defined CIDR" in caught.value.stderr
    signal(do, "SIGSTOP")
    try:
        do.apply(item)
    finally:
        signal(do, "SIGCONT")


def test_bad_range_is_refused_by_its_field(lab: cluster.Cluster) -> None:
    text = sample(lab, "pools.yaml").replace("/27", "/270")
    assert "spec.addresses[0]" in refusal(lab, text)
    lab.kubectl("delete", "l2advertisement", "example", "--namespace", NAMESPACE, "--ignore-not-found")


def test_lost_indentation_is_told_by_line_or_field(lab: cluster.Cluster) -> None:
    """As it is printed the text is not YAML of a pool; a paste is met with where it went wrong."""
    said = refusal(lab, (SAMPLES / "small-pool-as-printed.yaml").read_text())
    assert "line" in said or "metadata.name" in said or "spec" in said, said


def test_overlap_is_set_aside_and_mended(lab: cluster.Cluster, do: steps.Steps) -> None:
    """The newer pool is the bad one; nothing else is touched, and mending it takes effect at once."""
    do.apply(workload.service("bystander"))
    before = do.wait_addresses("bystander", 1)
    store(do, workload.pool("overlapping", f"{lab.plan.pool_ipv4[10]}/32", free(lab, 64, 69)))
    event = do.wait_event("IPAddressPool", "overlapping", "InvalidConfiguration", "demo", namespace=NAMESPACE)
    assert event.type == "Warning"
    assert "overlapping" in event.message
    do.apply(workload.service("hopeful", annotations={POOL: "overlapping"}))
    do.wait_event("Service", "hopeful", "AllocationFailed", "overlapping")
    do.apply(workload.service("fresh"))
    do.wait_addresses("fresh", 1)
    assert do.addresses("bystander") == before
    do.apply(workload.pool("overlapping", free(lab, 64, 69)))
    assert do.wait_addresses("hopeful", 1, 10) == [str(lab.plan.pool_ipv4[64])]
    assert do.addresses("bystander") == before


def test_a_pool_that_turns_bad_keeps_its_last_good_form(lab: cluster.Cluster, do: steps.Steps) -> None:
    do.apply(workload.pool("turning", free(lab, 64, 69)), workload.service("tenant", annotations={POOL: "turning"}))
    before = do.wait_addresses("tenant", 1)
    store(do, workload.pool("turning", free(lab, 64, 69), f"{lab.plan.pool_ipv4[10]}/32"))
    do.wait_event("IPAddressPool", "turning", "InvalidConfiguration", "stays in force", namespace=NAMESPACE)
    do.apply(workload.service("newcomer", annotations={POOL: "turning"}))
    do.wait_addresses("newcomer", 1)
    assert do.addresses("tenant") == before


# Services that wait


def test_outside_every_pool_until_one_holds_it(lab: cluster.Cluster, do: steps.Steps) -> None:
    wanted = str(lab.plan.pool_ipv4[70])
    do.apply(workload.service("early", annotations={ADDRESSES: wanted}))
    do.wait_event("Service", "early", "AllocationFailed", wanted)
    assert do.addresses("early") == []
    do.apply(workload.pool("late", free(lab, 70)))
    assert do.wait_addresses("early", 1, 10) == [wanted]
    assert pool_of(do, "early") == "late"


def test_unknown_pool_until_it_exists(lab: cluster.Cluster, do: steps.Steps) -> None:
    do.apply(workload.service("early", annotations={POOL: "later"}))
    do.wait_event("Service", "early", "AllocationFailed", "later")
    assert do.addresses("early") == []
    do.apply(workload.pool("later", free(lab, 70, 79)))
    do.wait_addresses("early", 1, 10)
    assert pool_of(do, "early") == "later"


def test_wrong_family_until_the_wish_is_changed(lab: cluster.Cluster, do: steps.Steps) -> None:
    wanted = str(lab.plan.pool_ipv6[0x20])
    do.apply(workload.service("crossed", annotations={ADDRESSES: wanted}, ipFamilies=["IPv4"]))
    do.wait_event("Service", "crossed", "AllocationFailed", wanted)
    assert do.addresses("crossed") == []
    mended = str(lab.plan.pool_ipv4[32])
    lab.kubectl("annotate", "--overwrite", "service", "crossed", f"{ADDRESSES}={mended}")
    assert do.wait_addresses("crossed", 1, 10) == [mended]


@pytest.mark.parametrize("clears", ["holder deleted", "holder no load balancer", "holder elsewhere"])
def test_taken_until_it_is_free(lab: cluster.Cluster, do: steps.Steps, clears: str) -> None:
    """The Event names the Service that has the address; the address comes when it is free, without anybody's help."""
    wanted, other = str(lab.plan.pool_ipv4[40]), str(lab.plan.pool_ipv4[41])
    do.apply(workload.service("holder", annotations={ADDRESSES: wanted}))
    assert do.wait_addresses("holder", 1) == [wanted]
    do.apply(workload.service("hopeful", annotations={ADDRESSES: wanted}))
    do.wait_event("Service", "hopeful", "AllocationFailed", wanted, "default/holder")
    assert do.addresses("hopeful") == []
    assert do.addresses("holder") == [wanted]
    if clears == "holder deleted":
        lab.kubectl("delete", "service", "holder")
    elif clears == "holder elsewhere":
        lab.kubectl("annotate", "--overwrite", "service", "holder", f"{ADDRESSES}={other}")
    else:
        lab.kubectl("patch", "service", "holder", "--patch", '{"spec":{"type":"ClusterIP"}}')
    assert do.wait_addresses("hopeful", 1, 10) == [wanted]
    do.fetch(wanted)
    if clears != "holder deleted":
        assert do.addresses("holder") == ([other] if clears == "holder elsewhere" else [])


def test_a_wish_that_cannot_be_met_costs_nothing(lab: cluster.Cluster, do: steps.Steps) -> None:
    """An assigned Service asks for what it cannot have: it is told so, and keeps what it has."""
    do.apply(workload.service("greedy"))
    before = do.wait_addresses("greedy", 1)
    taken = do.addresses(workload.WEB)[0]
    lab.kubectl("annotate", "service", "greedy", f"{ADDRESSES}={taken}")
    do.wait_event("Service", "greedy", "LoadBalancerFailed", "default/web")
    assert do.addresses("greedy") == before
    do.fetch(before[0])


def test_sharing_an_address(lab: cluster.Cluster, do: steps.Steps) -> None:
    """Same key and other ports: one address, on one node. A clash of ports is told with the other's name."""
    share = {"metallb.io/allow-shared-ip": "together"}
    wanted = {ADDRESSES: str(lab.plan.pool_ipv4[42])}
    do.apply(
        workload.service("page", annotations={**share, **wanted}),
        workload.service("datagrams", app=workload.ECHO, annotations={**share, **wanted}),
    )
    assert do.wait_addresses("page", 1) == do.wait_addresses("datagrams", 1) == list(wanted.values())
    do.fetch(wanted[ADDRESSES])
    do.ask_udp(wanted[ADDRESSES], "shared")
    assert do.wait_owner("page") == do.wait_owner("datagrams")
    do.apply(workload.service("clash", annotations={**share, **wanted}))
    do.wait_event("Service", "clash", "AllocationFailed", "default/page", "80")
    assert do.addresses("clash") == []


# The samples


def test_sample_pools(lab: cluster.Cluster, do: steps.Steps) -> None:
    text = sample(lab, "pools.yaml")
    try:
        lab.kubectl("apply", "--filename", "-", input=text)
        do.apply(workload.service("sampled", annotations={POOL: "first-pool"}, ipFamilyPolicy="RequireDualStack"))
        first, second = do.wait_addresses("sampled", 2)
        assert (first, second) == (str(lab.plan.pool_ipv4[64]), str(lab.plan.pool_ipv6[0x100]))
        for address in (first, second):
            do.fetch(address)
    finally:
        lab.kubectl("delete", "--ignore-not-found", "service", "sampled")
        lab.kubectl("delete", "--ignore-not-found", "--filename", "-", input=text)


def test_sample_big_and_small(lab: cluster.Cluster, do: steps.Steps) -> None:
    """Addresses come from the big pool by themselves, and from the small one for whoever asks, by the older annotation too."""
    text = sample(lab, "big-and-small.yaml")
    legacy = {"metallb.universe.tf/address-pool": "small-pool"}
    try:
        lab.kubectl("apply", "--filename", "-", input=text)
        (asked,) = do.wait_addresses("my-lb-service", 1)
        assert pool_of(do, "my-lb-service") == "small-pool"
        do.wait_event("Service", "my-lb-service", "deprecatedAnnotation")
        do.apply(workload.service("unasked"))
        (unasked,) = do.wait_addresses("unasked", 1)
        assert pool_of(do, "unasked") == "big-pool"
        for address in (asked, unasked):
            do.fetch(address)
        # The small pool holds four; the fifth waits for one of them to go.
        more: list[dict[str, Any]] = [workload.service(f"more-{number}", annotations=legacy) for number in range(3)]
        do.apply(*more)
        for item in more:
            do.wait_addresses(item["metadata"]["name"], 1)
        do.apply(workload.service("fifth", annotations=legacy))
        do.wait_event("Service", "fifth", "AllocationFailed", "small-pool")
        (freed,) = do.addresses("more-1")
        lab.kubectl("delete", "service", "more-1")
        assert do.wait_addresses("fifth", 1, 10) == [freed]
    finally:
        lab.kubectl("delete", "--ignore-not-found", "--filename", "-", input=text)
