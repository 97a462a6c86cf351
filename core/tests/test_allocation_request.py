"""What a Service asks for, read from annotations of both prefixes and from spec.loadBalancerIP."""

import dataclasses

import pytest

from metallb_core.allocation import request
from metallb_core.domain import reasons
from metallb_core.testing import builders

NEW, OLD = "metallb.io/", "metallb.universe.tf/"
IPS, POOL, SHARE = "loadBalancerIPs", "address-pool", "allow-shared-ip"


@pytest.mark.parametrize(
    ("annotations", "field", "expected"),
    [
        pytest.param({}, "", ("", "", ""), id="nothing"),
        pytest.param({NEW + IPS: "192.0.2.1"}, "", ("192.0.2.1", "", ""), id="one-address"),
        pytest.param({OLD + IPS: "192.0.2.1"}, "", ("192.0.2.1", "", ""), id="older-prefix"),
        pytest.param(
            {NEW + IPS: "192.0.2.1", OLD + IPS: "192.0.2.2"}, "", ("192.0.2.1", "", ""), id="newer-prefix-wins"
        ),
        pytest.param({NEW + IPS: "", OLD + IPS: "192.0.2.2"}, "", ("", "", ""), id="newer-prefix-wins-even-empty"),
        pytest.param({NEW + POOL: "", OLD + POOL: "gold"}, "", ("", "", ""), id="empty-pool-wins"),
        pytest.param({NEW + SHARE: "", OLD + SHARE: "k"}, "", ("", "", ""), id="empty-key-wins"),
        pytest.param({NEW + IPS: " 192.0.2.1 , 2001:db8::1 "}, "", ("192.0.2.1 2001:db8::1", "", ""), id="blanks"),
        pytest.param({NEW + IPS: "2001:db8::1,192.0.2.1"}, "", ("2001:db8::1 192.0.2.1", "", ""), id="order-is-kept"),
        pytest.param({NEW + IPS: "::ffff:192.0.2.1"}, "", ("192.0.2.1", "", ""), id="mapped"),
        pytest.param({NEW + IPS: "   "}, "", ("", "", ""), id="only-blanks-is-nothing"),
        pytest.param({}, "192.0.2.9", ("192.0.2.9", "", ""), id="spec-field"),
        pytest.param({NEW + IPS: ""}, "192.0.2.9", ("192.0.2.9", "", ""), id="spec-field-beside-empty-annotation"),
        pytest.param({}, "192.0.2.9,2001:db8::1", ("192.0.2.9 2001:db8::1", "", ""), id="two-in-the-spec-field"),
        pytest.param({NEW + POOL: " gold "}, "", ("", "gold", ""), id="pool"),
        pytest.param({OLD + POOL: "gold", NEW + SHARE: "k"}, "", ("", "gold", "k"), id="mixed-prefixes"),
        pytest.param({NEW + SHARE: " k"}, "", ("", "", " k"), id="a-key-is-taken-as-it-is"),
        pytest.param({"example.com/" + POOL: "gold"}, "", ("", "", ""), id="strangers-are-skipped"),
    ],
)
def test_what_is_asked_for(annotations: dict[str, str], field: str, expected: tuple[str, str, str]) -> None:
    service = dataclasses.replace(builders.service(annotations=annotations), load_balancer_ip=field)
    asked = request.parse(service)
    assert isinstance(asked, request.Request)
    assert (" ".join(map(str, asked.addresses)), asked.pool, asked.sharing_key) == expected


@pytest.mark.parametrize(
    ("annotations", "field", "fragments"),
    [
        pytest.param({NEW + IPS: "192.0.2.1"}, "192.0.2.1", ["both spec.loadBalancerIP", NEW + IPS], id="both-places"),
        pytest.param(
            {OLD + IPS: "192.0.2.1"}, "192.0.2.1", ["both spec.loadBalancerIP"], id="both-places-older-prefix"
        ),
        pytest.param({NEW + IPS: "192.0.2.1,192.0.2.2"}, "", ["two IPv4 addresses"], id="two-of-ipv4"),
        pytest.param({NEW + IPS: "192.0.2.1,192.0.2.1"}, "", ["two IPv4 addresses"], id="the-same-twice"),
        pytest.param(
            {NEW + IPS: "192.0.2.1,::ffff:192.0.2.2"}, "", ["two IPv4 addresses"], id="two-of-ipv4-one-mapped"
        ),
        pytest.param({NEW + IPS: "2001:db8::1,2001:db8::2"}, "", ["two IPv6 addresses"], id="two-of-ipv6"),
        pytest.param({NEW + IPS: "192.0.2.1,2001:db8::2,192.0.2.3"}, "", ["two IPv4"], id="three"),
        pytest.param({NEW + IPS: "any"}, "", ["'any'", "not an IP address", NEW + IPS], id="garbage"),
        pytest.param({NEW + IPS: "192.0.2.1,"}, "", ["not an IP address"], id="trailing-comma"),
        pytest.param({NEW + IPS: "192.0.2.1;192.0.2.2"}, "", ["not an IP address"], id="other-separator"),
        pytest.param({NEW + IPS: "192.0.2.0/32"}, "", ["not an IP address"], id="prefix"),
        pytest.param({NEW + IPS: "fe80::1%eth0"}, "", ["zone"], id="zone"),
        pytest.param({}, "garbage", ["spec.loadBalancerIP", "'garbage'"], id="garbage-in-the-spec-field"),
    ],
)
def test_what_cannot_be_read(annotations: dict[str, str], field: str, fragments: list[str]) -> None:
    service = dataclasses.replace(builders.service(annotations=annotations), load_balancer_ip=field)
    refusal = request.parse(service)
    assert isinstance(refusal, reasons.Refusal)
    assert refusal.reason is reasons.Reason.INVALID_REQUEST
    for fragment in fragments:
        assert fragment in refusal.detail


@pytest.mark.parametrize(("key", "legacy"), [(OLD + POOL, True), (NEW + POOL, False), (OLD + "anything", True)])
def test_the_older_prefix_is_noticed(key: str, legacy: bool) -> None:
    assert request.uses_legacy(builders.service(annotations={key: "x"})) is legacy
