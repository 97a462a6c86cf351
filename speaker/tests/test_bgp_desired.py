"""Which sessions a node should have: by its labels, with the passwords there are; one peer's trouble is not another's."""

import base64
import dataclasses

import pytest

from metallb_core.api import meta, workloads
from metallb_core.config import compiled
from metallb_core.domain import addresses, bfd, peers, reasons, selectors
from metallb_speaker.bgp import desired

R1 = peers.Peer(name="r1", my_asn=64512, peer_asn=64513, address=addresses.Address.parse("192.0.2.254"))
NAMESPACE = "metallb-system"
FAST = bfd.BFDProfile(name="fast", transmit_interval=100, echo_mode=True, minimum_ttl=250)


def peer(name: str = "r1", **changes: object) -> peers.Peer:
    return dataclasses.replace(R1, name=name, **changes)  # type: ignore[arg-type]


def config(*known: peers.Peer) -> compiled.Config:
    return dataclasses.replace(compiled.EMPTY, peers={each.name: each for each in known}, bfd_profiles={"fast": FAST})


def secret(
    password: str | None = "hush", kind: str = "kubernetes.io/basic-auth", raw: str | None = None
) -> workloads.Secret:
    value = raw if raw is not None else base64.b64encode((password or "").encode()).decode()
    return workloads.Secret(
        metadata=meta.ObjectMeta(name="s", namespace=NAMESPACE), type=kind, data={"password": value} if value else None
    )


def compute(
    *known: peers.Peer,
    labels: dict[str, str] | None = None,
    before: desired.Desired = desired.NOTHING,
    connected: bool = True,
    secrets: dict[str, workloads.Secret] | None = None,
) -> desired.Desired:
    return desired.desired(
        config(*known), labels or {}, secrets or {}, NAMESPACE, before, is_connected=lambda address: connected
    )


def test_only_the_peers_of_this_node() -> None:
    here = peer("here", node_selectors=(selectors.Selector.of({"rack": "a"}),))
    there = peer("there", node_selectors=(selectors.Selector.of({"rack": "b"}),))
    assert set(compute(here, there, peer("all"), labels={"rack": "a"}).wanted) == {"here", "all"}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        pytest.param({}, 'secret ref not found for peer config "metallb-system"/"s"', id="missing"),
        pytest.param({"s": secret(kind="Opaque")}, 'secret type mismatch on "metallb-system"/"s"', id="other-type"),
        pytest.param({"s": secret(None)}, "it has no key 'password'", id="no-key"),
        pytest.param({"s": secret(raw="!")}, "not text in UTF-8", id="not-base64"),
        pytest.param({"s": secret(raw="/w==")}, "not text in UTF-8", id="not-text"),
    ],
)
def test_a_password_that_cannot_be_had_concerns_its_peer_only(found: dict[str, workloads.Secret], words: str) -> None:
    outcome = compute(peer("locked", password_secret="s"), peer("open"), secrets=found)
    assert set(outcome.wanted) == {"open"}
    refusal = outcome.refusals["locked"]
    assert refusal.reason is reasons.Reason.BGP_PASSWORD_UNAVAILABLE
    assert words in refusal.detail


def test_a_password_comes_from_its_secret() -> None:
    outcome = compute(peer(password_secret="s"), secrets={"s": secret("hush")})
    assert outcome.wanted["r1"].peer.password == "hush"
    assert outcome.refusals == {}
    assert "hush" not in repr(outcome)


def test_a_new_password_changes_the_wish_of_those_who_use_it() -> None:
    known = (peer("locked", password_secret="s"), peer("open"), peer("clear", password="p"))
    before, after = compute(*known, secrets={"s": secret("old")}), compute(*known, secrets={"s": secret("new")})
    changed = {name for name in before.wanted if before.wanted[name] != after.wanted[name]}
    assert changed == {"locked"}


def test_a_secret_that_goes_leaves_the_session_alone() -> None:
    locked = peer(password_secret="s")
    before = compute(locked, secrets={"s": secret("hush")})
    after = compute(locked, before=before)
    assert after.wanted == before.wanted
    assert set(after.refusals) == {"r1"}
    # Another Secret's password is another matter.
    assert compute(peer(password_secret="t"), before=after).wanted == {}


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"node_selectors": (selectors.Selector.of({}),)}, id="node-selectors"),
        pytest.param({"password_secret": "s"}, id="where-the-password-is"),
        pytest.param({"bfd_profile": "other"}, id="another-profile"),
    ],
)
def test_what_does_not_make_the_session_restarts_nothing(change: dict[str, object]) -> None:
    plain = peer(password="hush", bfd_profile="fast")
    profiles = {"fast": FAST, "other": dataclasses.replace(FAST, name="other")}
    changed = dataclasses.replace(plain, **change)  # type: ignore[arg-type]
    if changed.password_secret:
        changed = dataclasses.replace(changed, password="")
    outcomes = [
        desired.desired(dataclasses.replace(config(each), bfd_profiles=profiles), {}, {"s": secret("hush")}, NAMESPACE)
        for each in (plain, changed)
    ]
    assert outcomes[0].wanted == outcomes[1].wanted


@pytest.mark.parametrize(
    ("changes", "connected", "multihop"),
    [
        pytest.param({}, False, False, id="external-is-next-door"),
        pytest.param({"multihop": True}, True, True, id="external-multihop"),
        pytest.param({"peer_asn": 64512}, True, False, id="internal-on-a-link"),
        pytest.param({"peer_asn": 64512}, False, True, id="internal-elsewhere"),
        pytest.param({"local_asn": 64513}, False, True, id="internal-by-local-asn"),
        pytest.param({"peer_asn": 0, "dynamic_asn": peers.DynamicASN.INTERNAL}, False, True, id="dynamic-internal"),
    ],
)
def test_bfd_is_multihop_where_the_peer_is_far(changes: dict[str, object], connected: bool, multihop: bool) -> None:
    outcome = compute(dataclasses.replace(peer(bfd_profile="fast", vrf="red"), **changes), connected=connected)  # type: ignore[arg-type]
    assert outcome.wanted["r1"].bfd
    watched = outcome.paths["r1"]
    assert (watched.multihop, watched.echo, watched.vrf) == (multihop, not multihop, "red")
    assert (watched.transmit_interval, watched.receive_interval, watched.minimum_ttl) == (100, 300, 250)


def test_without_a_profile_there_is_no_bfd() -> None:
    outcome = compute(peer())
    assert outcome.paths == {}
    assert not outcome.wanted["r1"].bfd


def test_bfd_of_a_peer_that_is_named_by_interface_waits_for_its_router() -> None:
    outcome = compute(peer(address=None, interface="eth0", bfd_profile="fast"))
    assert outcome.wanted["r1"].bfd
    assert outcome.paths == {}
    assert outcome.profiles == {"r1": FAST}
