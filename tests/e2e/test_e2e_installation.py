"""What a user sees after the documented installation: addresses that answer, and where they came from."""

import base64
import ipaddress

import pytest

from demo import steps, workload
from lab import cluster

NAMESPACE = workload.CHART_NAMESPACE


def test_answers_over_ipv4_ipv6_and_udp(do: steps.Steps) -> None:
    web, echo = do.addresses(workload.WEB), do.addresses(workload.ECHO)
    assert [ipaddress.ip_address(address).version for address in web] == [4, 6]
    for address in web:
        assert do.fetch(address).startswith("web-")
    for address in echo:
        assert do.ask_udp(address, "hello").endswith("hello")


@pytest.mark.parametrize("name", [workload.WEB, workload.ECHO], ids=str)
def test_service_tells_its_story(do: steps.Steps, name: str) -> None:
    """Address, pool and node are where a user looks first."""
    owner = do.wait_owner(name)
    told = do.lab.kubectl("describe", "service", name)
    first, second = do.addresses(name)
    assert f'Assigned IP ["{first}", "{second}"]' in told
    assert "metallb.io/ip-allocated-from-pool: demo" in told
    do.wait_event("Service", name, "IPAllocated", first)
    do.wait_event("Service", name, "nodeAssigned", owner, "layer2")


@pytest.mark.parametrize("name", [workload.WEB, workload.ECHO], ids=str)
def test_status_names_the_node_that_really_answers(do: steps.Steps, name: str) -> None:
    assert len({do.wait_announced(name, address) for address in do.addresses(name)}) == 1


def test_pool_counts(do: steps.Steps) -> None:
    """Two Services of two addresses each; one more changes the count, and its end changes it back."""

    def wait_counts(assigned_ipv4: int, assigned_ipv6: int) -> None:
        wanted = {
            "assignedIPv4": assigned_ipv4,
            "assignedIPv6": assigned_ipv6,
            "availableIPv4": 64 - assigned_ipv4,
            "availableIPv6": 128 - assigned_ipv6,
        }
        steps.wait_for(
            f"counts {wanted}",
            10,
            lambda: do.get("ipaddresspool", "demo", NAMESPACE).get("status") == wanted,
        )

    wait_counts(2, 2)
    do.apply(workload.service("one-more"))
    do.wait_addresses("one-more", 1)
    wait_counts(3, 2)
    do.lab.kubectl("delete", "service", "one-more")
    wait_counts(2, 2)


def test_membership_is_encrypted_with_a_key_the_controller_made(lab: cluster.Cluster, do: steps.Steps) -> None:
    secret = do.get("secret", "metallb-memberlist", NAMESPACE)
    text = base64.b64decode(secret["data"]["secretkey"])
    assert len(base64.b64decode(text + b"==")) == 16
    assert [owner["kind"] for owner in secret["metadata"]["ownerReferences"]] == ["Deployment"]
    do.wait_members()
    for pod in do.items("pods", "--selector=app.kubernetes.io/component=speaker", namespace=NAMESPACE):
        assert "not encrypted" not in lab.kubectl("logs", "--namespace", NAMESPACE, pod["metadata"]["name"])


def test_a_stranger_without_the_key_is_not_heard(lab: cluster.Cluster, do: steps.Steps) -> None:
    """A plain membership packet changes nothing: the key is in use, not only present."""
    before = do.wait_announced(workload.ECHO, do.addresses(workload.ECHO)[0])
    # A "dead" message of the protocol (type 5, then a map) about the owner, unencrypted, to every speaker.
    name = bytes([0xA0 | len(before)]) + before.encode()
    packed = b"\x05\x83\xabIncarnation\xce\x7f\xff\xff\xff" + b"\xa4Node" + name + b"\xa4From" + name
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
        "for address in sys.argv[2:]: s.sendto(bytes.fromhex(sys.argv[1]), (address, 7946))\n"
    )
    targets = [lab.node_addresses(node)[0] for node in lab.nodes]
    with do.probing(do.addresses(workload.ECHO)[0], 3) as probe:
        lab.client_exec(["python3", "-c", script, packed.hex(), *targets])
        steps.pause(2)
    assert probe.silence is not None
    assert {turn.mac for turn in probe.silence.turns} == {do.node_mac(before)}
