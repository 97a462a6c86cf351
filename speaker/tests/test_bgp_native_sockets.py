"""What is set on a connection before it is opened, what becomes of failures, and which addresses speak for us."""

import asyncio
import contextlib
import dataclasses
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metallb_core.domain import addresses, peers, reasons
from metallb_core.runtime import clock
from metallb_speaker.bgp.native import dialling, discovery, interfaces, sockets

V4, V6 = addresses.Address.parse("127.0.0.1"), addresses.Address.parse("::1")
ROUTER = addresses.Address.parse("fe80::1")
MAC = bytes.fromhex("020000000001")
TIME = clock.SystemClock()


def has_ipv6() -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as tried:
        tried.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on loopback")
both = pytest.mark.parametrize("address", [V4, pytest.param(V6, marks=needs_ipv6)], ids=["ipv4", "ipv6"])


def listener(address: addresses.Address, password: str = "") -> socket.socket:
    family = socket.AF_INET if address.family is addresses.Family.IPV4 else socket.AF_INET6
    bound = socket.socket(family)
    if password:
        sockets.set_md5(bound, address, password)
    bound.bind((str(address), 0))
    bound.listen()
    bound.setblocking(False)
    return bound


@contextlib.asynccontextmanager
async def connected(
    address: addresses.Address, **fields: Any
) -> AsyncIterator[tuple[sockets.Connection, socket.socket]]:
    """A connection of ours and its other end."""
    with listener(address, fields.get("password", "")) as bound:
        target = sockets.Target(address=address, port=bound.getsockname()[1], **fields)
        made = await sockets.open_connection(target, TIME, lambda: None)
        try:
            with (await asyncio.get_running_loop().sock_accept(bound))[0] as other:
                yield made, other
        finally:
            made.abort()


def option(of: sockets.Connection, level: int, name: int) -> int:
    return of._socket.getsockopt(level, name)


@both
async def test_what_is_set_on_a_connection(address: addresses.Address) -> None:
    async with connected(address, hops=1, user_timeout=9.0, source=address) as (made, other):
        assert made.local == made.remote == address
        assert made.ready
        ipv4 = address.family is addresses.Family.IPV4
        level = socket.IPPROTO_IP if ipv4 else socket.IPPROTO_IPV6
        assert option(made, level, socket.IP_TTL if ipv4 else socket.IPV6_UNICAST_HOPS) == 1
        assert option(made, level, socket.IP_TOS if ipv4 else socket.IPV6_TCLASS) == 0xC0
        assert option(made, socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        assert option(made, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 9000
        assert option(made, socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert option(made, socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 3
        made.set_user_timeout(3.0)
        assert option(made, socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3000
        made.send(b"hello")
        assert await asyncio.get_running_loop().sock_recv(other, 16) == b"hello"


@both
async def test_a_password_is_agreed_on(address: addresses.Address) -> None:
    async with connected(address, password="s3cret") as (made, other):
        made.send(b"signed")
        assert await asyncio.get_running_loop().sock_recv(other, 16) == b"signed"


@both
async def test_a_wrong_password_gets_no_answer(address: addresses.Address) -> None:
    with listener(address, "s3cret") as bound:
        target = sockets.Target(
            address=address, port=bound.getsockname()[1], password="wr0ng", connect_timeout=0.3, hops=1
        )
        with pytest.raises(sockets.ConnectError, match="password") as caught:
            await sockets.open_connection(target, TIME, lambda: None)
    assert caught.value.failure is sockets.Failure.TIMED_OUT
    assert "wr0ng" not in str(caught.value)
    assert "wr0ng" not in repr(target)
    assert "ebgpMultiHop" in str(caught.value)


FAILURES: dict[str, tuple[dict[str, Any], sockets.Failure, str]] = {
    "nobody listens": ({}, sockets.Failure.REFUSED, "refused the connection"),
    "source is another node's": (
        {"source": addresses.Address.parse("192.0.2.77")},
        sockets.Failure.SOURCE,
        "sourceAddress 192.0.2.77",
    ),
    "source of another family": ({"source": V6}, sockets.Failure.SOURCE, "one family"),
    "a password that is too long": ({"password": "x" * 81}, sockets.Failure.PASSWORD, "81 bytes"),
    "a link-local address": ({"address": ROUTER}, sockets.Failure.DEVICE, "interface instead"),
    "a VRF that is not there": ({"device": "vrf-nowhere"}, sockets.Failure.DEVICE, "vrf 'vrf-nowhere'"),
}


@pytest.mark.parametrize(("fields", "failure", "text"), FAILURES.values(), ids=FAILURES.keys())
async def test_no_connection(fields: dict[str, Any], failure: sockets.Failure, text: str) -> None:
    with listener(V4) as bound:
        port = bound.getsockname()[1]
    with pytest.raises(sockets.ConnectError, match=text) as caught:
        await sockets.open_connection(sockets.Target(**{"address": V4, "port": port, **fields}), TIME, lambda: None)
    assert caught.value.failure is failure


async def test_a_connection_that_is_closed_says_its_last_word() -> None:
    async with connected(V4) as (made, other):
        loop = asyncio.get_running_loop()
        other.setblocking(False)
        await loop.sock_sendall(other, b"x" * 1000)  # unread bytes make a careless close reset the connection
        made.send(b"goodbye")
        closing = made.close()
        assert closing is not None
        assert await loop.sock_recv(other, 16) == b"goodbye"
        assert await loop.sock_recv(other, 16) == b""
        other.close()
        await closing


async def _send_on(made: sockets.Connection) -> None:
    async with asyncio.timeout(5):
        while True:
            made.send(b"into the void")
            await asyncio.sleep(0.001)


async def test_a_connection_that_is_lost() -> None:
    async with connected(V4) as (made, other):
        assert made.receive(16) is None
        other.close()
        async with asyncio.timeout(5):
            while made.receive(16) is None:  # noqa: ASYNC110
                await asyncio.sleep(0.001)  # the kernel delivers when it does
        with pytest.raises(sockets.LostError, match="reset"):
            await _send_on(made)
        assert made.last_words() == b""


async def test_what_was_said_before_a_connection_was_lost() -> None:
    async with connected(V4) as (made, other):
        await asyncio.get_running_loop().sock_sendall(other, b"the reason")
        other.close()
        with pytest.raises(sockets.LostError):
            await _send_on(made)
        assert made.last_words() == b"the reason"


PEER = peers.Peer(name="tor", my_asn=64513, peer_asn=64512, address=V4)
HOPS: dict[str, tuple[dict[str, Any], int]] = {
    "external": ({}, 1),
    "external, far away": ({"multihop": True}, 255),
    "internal": ({"peer_asn": 64513}, 255),
    "dynamic external": ({"peer_asn": 0, "dynamic_asn": peers.DynamicASN.EXTERNAL}, 1),
    "dynamic internal": ({"peer_asn": 0, "dynamic_asn": peers.DynamicASN.INTERNAL}, 255),
    "internal by its local AS": ({"local_asn": 64512}, 255),
    "external by its local AS": ({"peer_asn": 64513, "local_asn": 64599}, 1),
}


@pytest.mark.parametrize(("fields", "hops"), HOPS.values(), ids=HOPS.keys())
def test_time_to_live(fields: dict[str, Any], hops: int) -> None:
    assert dialling.target(dataclasses.replace(PEER, **fields), V4).hops == hops


def test_times_of_a_target() -> None:
    assert dialling.target(PEER, V4).user_timeout == 90
    assert dialling.target(PEER, V4).connect_timeout == 9.5
    quick = dataclasses.replace(PEER, hold_time=0.0, connect_time=1.0)
    assert dialling.target(quick, V4).user_timeout == 0
    assert dialling.target(quick, V4).connect_timeout == 0.5


REASONS: dict[str, tuple[sockets.Failure, str, reasons.Reason | None]] = {
    "refused": (sockets.Failure.REFUSED, "", None),
    "no answer": (sockets.Failure.TIMED_OUT, "", None),
    "no answer, with a password": (sockets.Failure.TIMED_OUT, "s3cret", reasons.Reason.BGP_AUTH_MISMATCH),
    "password that cannot be": (sockets.Failure.PASSWORD, "s3cret", reasons.Reason.BGP_AUTH_MISMATCH),
    "source": (sockets.Failure.SOURCE, "", reasons.Reason.BGP_SOURCE_ADDRESS),
    "device": (sockets.Failure.DEVICE, "", reasons.Reason.BGP_INTERFACE),
}


@pytest.mark.parametrize(("failure", "password", "reason"), REASONS.values(), ids=REASONS.keys())
def test_reasons(failure: sockets.Failure, password: str, reason: reasons.Reason | None) -> None:
    peer = dataclasses.replace(PEER, password=password)
    found = dialling.refusal(peer, sockets.ConnectError(failure, "the text"))
    if reason is None:
        assert found == "the text"
    else:
        assert isinstance(found, reasons.Refusal)
        assert found.reason is reason
        assert found.detail == "peer 'tor' (127.0.0.1:179): the text"


ADVERTISEMENTS: dict[str, tuple[bytes, addresses.Address, int, bool]] = {
    "ours": (discovery.advertisement(MAC), ROUTER, 255, True),
    "without an address": (discovery.advertisement(b""), ROUTER, 255, True),
    "from another link": (discovery.advertisement(MAC), ROUTER, 254, False),
    "not link-local": (discovery.advertisement(MAC), V6, 255, False),
    "a solicitation": (discovery.solicitation(MAC), ROUTER, 255, False),
    "too short": (discovery.advertisement(b"")[:15], ROUTER, 255, False),
    "another code": (bytes((134, 1)) + bytes(14), ROUTER, 255, False),
    "an option of no length": (discovery.advertisement(b"") + bytes((1, 0, 0, 0, 0, 0, 0, 0)), ROUTER, 255, False),
    "an option cut off": (discovery.advertisement(MAC)[:-1], ROUTER, 255, False),
    "half an option header": (discovery.advertisement(b"") + b"\x01", ROUTER, 255, False),
}


@pytest.mark.parametrize(("message", "source", "hops", "valid"), ADVERTISEMENTS.values(), ids=ADVERTISEMENTS.keys())
def test_router_advertisements(message: bytes, source: addresses.Address, hops: int, valid: bool) -> None:
    assert discovery.is_advertisement(message, source, hops) is valid


def test_ours_is_nobodys_default_router() -> None:
    message = discovery.advertisement(MAC)
    assert message[6:8] == b"\x00\x00"
    assert message[16:] == b"\x01\x01" + MAC


def test_router_solicitations() -> None:
    assert discovery.is_solicitation(discovery.solicitation(MAC), 255)
    assert discovery.is_solicitation(discovery.solicitation(b""), 255)
    assert not discovery.is_solicitation(discovery.solicitation(MAC), 64)
    assert not discovery.is_solicitation(discovery.advertisement(MAC), 255)
    assert not discovery.is_solicitation(discovery.solicitation(MAC)[:7], 255)


def held(index: int, text: str, *, lasting: bool = True) -> interfaces.Held:
    address, _, length = text.partition("/")
    return interfaces.Held(index=index, address=addresses.Address.parse(address), length=int(length), lasting=lasting)


OURS = (
    held(1, "127.0.0.1/8"),
    held(1, "::1/128"),
    held(2, "192.0.2.2/24"),
    held(2, "192.0.2.3/24", lasting=False),
    held(2, "2001:db8::99/64", lasting=False),
    held(2, "2001:db8::2/64"),
    held(2, "fe80::2/64"),
    held(3, "fe80::3/64"),
    held(3, "10.0.0.3/32"),
    held(4, "2001:db8:4::4/64"),
)
FALLBACK = addresses.Address.parse("9.9.9.9")
# Local, remote, index of a found peer: router id, IPv4 and IPv6 next hop, link-local address.
ENDPOINTS: dict[str, tuple[str, str, int, tuple[str, str | None, str | None, str | None]]] = {
    "ipv4 on the link": ("192.0.2.2", "192.0.2.1", 0, ("192.0.2.2", "192.0.2.2", "2001:db8::2", "fe80::2")),
    "ipv4 from the second address": ("192.0.2.3", "192.0.2.1", 0, ("192.0.2.3", "192.0.2.2", "2001:db8::2", "fe80::2")),
    "ipv4 far away": ("192.0.2.2", "203.0.113.1", 0, ("192.0.2.2", "192.0.2.2", "2001:db8::2", None)),
    "ipv6 on the link": ("2001:db8::2", "2001:db8::1", 0, ("192.0.2.2", "192.0.2.2", "2001:db8::2", "fe80::2")),
    "ipv6 without ipv4": ("2001:db8:4::4", "2001:db8:4::1", 0, ("9.9.9.9", None, "2001:db8:4::4", None)),
    "found by its advertisements": ("fe80::3", "fe80::1", 3, ("10.0.0.3", None, None, "fe80::3")),
    "an address that just went": ("192.0.2.200", "192.0.2.1", 0, ("192.0.2.200", None, None, None)),
    "loopback": ("127.0.0.1", "127.0.0.1", 0, ("127.0.0.1", None, None, None)),
}


@pytest.mark.parametrize(("local", "remote", "index", "wanted"), ENDPOINTS.values(), ids=ENDPOINTS.keys())
def test_which_addresses_speak_for_us(
    local: str, remote: str, index: int, wanted: tuple[str, str | None, str | None, str | None]
) -> None:
    made = interfaces.endpoints(
        local=addresses.Address.parse(local),
        remote=addresses.Address.parse(remote),
        ours=OURS,
        index=index,
        fallback=FALLBACK,
    )
    found = (made.router_id, made.next_hop_v4, made.next_hop_v6, made.link_local)
    assert tuple(None if each is None else str(each) for each in found) == wanted


def test_the_kernel_tells_our_addresses() -> None:
    found = interfaces.held()
    loopback = socket.if_nametoindex("lo")
    assert [each.length for each in found if each.address == V4 and each.index == loopback] == [8]
