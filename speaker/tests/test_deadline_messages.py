"""The stream between the two processes."""

import hypothesis
import pytest
from hypothesis import strategies

from metallb_core.domain import addresses
from metallb_speaker.deadline import messages
from metallb_speaker.layer2 import link

V4 = addresses.Address.parse("192.0.2.10")
V6 = addresses.Address.parse("2001:db8::10")

TO_CHILD: list[messages.ToChild] = [
    messages.Configure(intervals=((b"\0" * 4, b"\xff" * 4),), exclude=("^lo$",)),
    messages.Announce(address=V4.packed(), interfaces=None),
    messages.Announce(address=V6.packed(), interfaces=("eth0", "eth1")),
    messages.Withdraw(address=V6.packed()),
    messages.StartMembership(
        name="n1",
        bind_address="127.0.0.1",
        advertise_address="",
        port=7946,
        profile="fast",
        override="",
        keys=(b"k" * 32,),
    ),
    messages.Join(addresses=("n2:7946",)),
    messages.SetKeys(keys=()),
    messages.Leave(),
    messages.Ping(),
    messages.Stop(linger=1.5),
]
TABLE = link.Table(
    revision=7,
    links={
        "eth0": link.Link(
            name="eth0",
            index=2,
            mac=b"\2\0\0\0\0\1",
            up=True,
            carrier=True,
            arp=True,
            broadcast=True,
            master="blue",
            master_kind="vrf",
            addresses=frozenset({(V4, 24), (V6, 64)}),
            has_link_local=True,
            answering=False,
        )
    },
)
TO_PARENT: list[messages.ToParent] = [
    messages.from_table(TABLE),
    messages.Members(entries=(("n1", b""), ("n2", b"\x01eth0"))),
    messages.Counters(entries=((V4.packed(), 1, 2, 3),)),
    messages.Conflict(address=V4.packed(), interface="eth0", mac=b"\2" * 6),
    messages.Warned(text="ü"),
    messages.Pong(),
]


@pytest.mark.parametrize(
    "piece", [pytest.param(1, id="bytewise"), pytest.param(7, id="sevens"), pytest.param(1 << 20, id="whole")]
)
def test_round_trip(piece: int) -> None:
    down = b"".join(messages.encode(each) for each in TO_CHILD)
    reader = messages.ChildReader()
    found = [each for at in range(0, len(down), piece) for each in reader.feed(down[at : at + piece])]
    assert found == TO_CHILD
    up = b"".join(messages.encode(each) for each in TO_PARENT)
    parent = messages.ParentReader()
    said = [each for at in range(0, len(up), piece) for each in parent.feed(up[at : at + piece])]
    assert said == TO_PARENT


def test_table_round_trip() -> None:
    assert messages.to_table(messages.from_table(TABLE)) == TABLE


@pytest.mark.parametrize(
    "text", [pytest.param(t, id=t) for t in ("192.0.2.0/24", "0.0.0.0/0", "::/0", "2001:db8::1-2001:db8::9")]
)
def test_interval_round_trip(text: str) -> None:
    interval = addresses.Interval.parse(text)
    assert messages.to_interval(messages.from_interval(interval)) == interval


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xff\xff\xff\xff", id="too long"),
        pytest.param(b"\0\0\0\x01\xc1", id="no msgpack"),
        pytest.param(b"\0\0\0\x02\x91\xa0", id="unknown tag"),
        pytest.param(b"\0\0\0\0", id="empty body"),
    ],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(messages.MalformedStreamError):
        messages.ChildReader().feed(data)
    with pytest.raises(messages.MalformedStreamError):
        messages.ParentReader().feed(data)


@hypothesis.given(data=strategies.binary(max_size=60))
def test_garbage_raises_only_its_own_error(data: bytes) -> None:
    framed = len(data).to_bytes(4, "big") + data
    for reader in (messages.ChildReader(), messages.ParentReader()):
        try:
            reader.feed(framed)
        except messages.MalformedStreamError:
            continue
