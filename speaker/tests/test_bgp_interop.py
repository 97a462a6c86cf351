"""BGP with real routers, each in a network namespace: FRR, BIRD, GoBGP and OpenBGPD are the peers of a confined process with our sessions."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from bench import bgp_driver, pair
from lab.routers import bird, frr, gobgp, openbgpd, router
from tools import build

ROUTERS: dict[str, type[router.Router]] = {
    "frr": frr.Router,
    "bird": bird.Router,
    "gobgp": gobgp.Router,
    "openbgpd": openbgpd.Router,
}
NEEDED = ("ip", "setpriv", *(each.program for each in ROUTERS.values()))
MISSING = [each for each in NEEDED if shutil.which(each) is None]

pytestmark = [
    pytest.mark.netns,
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0 or bool(MISSING), reason=f"needs root and {', '.join(MISSING) or 'nothing'}"),
]

each_router = pytest.mark.parametrize("kind", ROUTERS)
OURS, THEIRS = 4200000002, 4200000001  # numbers of four octets, on both sides
V4, V6 = "198.51.100.1/32", "2001:db8:1::1/128"
TABLE: dict[str, list[Any]] = {
    V4: [None, "64513:7", "64513:8", "large:64513:1:2"],
    "198.51.100.16/28": [200],
    V6: [None, "64513:7", "large:4200000002:1:2"],
}


class Bench:
    """A router at one end of a cable, our process at the other."""

    def __init__(self, cabling: pair.Pair, closing: contextlib.ExitStack) -> None:
        self.cabling = cabling
        self._closing = closing

    def router(
        self, kind: str, *neighbours: router.Neighbour, where: pair.Namespace | None = None, kernel: bool = False
    ) -> Any:
        settings = router.Settings(asn=THEIRS, router_id="192.0.2.1", neighbours=neighbours, kernel=kernel)
        made = ROUTERS[kind]((where or self.cabling.peer).name, settings)
        self._closing.callback(made.close)
        made.start()
        return made

    def asker(self, file: pathlib.Path) -> "Asker":
        if build.installed(build.TOOLS["gobgp"], "gobgp-peer") is None and shutil.which("go") is None:
            pytest.skip("gobgp-peer is not built and there is no Go compiler")
        made = Asker(self.cabling.peer, build.ensure("gobgp")["gobgp-peer"], file)
        self._closing.callback(made.close)
        wait(lambda: bool(made.heard("ready")), "it listens")
        return made

    def process(self, **options: Any) -> bgp_driver.Driver:
        return self._closing.enter_context(bgp_driver.Driver(self.cabling.node, **options))


@pytest.fixture
def bench() -> Iterator[Bench]:
    with contextlib.ExitStack() as closing:
        cabling = pair.Pair("bgi")
        closing.callback(cabling.close)
        cabling.node.ip("addr", "add", "192.0.2.2/24", "dev", "lan0")
        cabling.node.ip("addr", "add", "2001:db8::2/64", "dev", "lan0", "nodad")
        yield Bench(cabling, closing)


def peer(**fields: Any) -> dict[str, Any]:
    return {"my_asn": OURS, "peer_asn": THEIRS, "address": "192.0.2.1", "connect_time": 1, "dual_stack": True, **fields}


def neighbour(**fields: Any) -> router.Neighbour:
    return router.Neighbour(**{"asn": OURS, "address": "192.0.2.2", **fields})


def wait(condition: Any, what: str, seconds: float = 15.0) -> None:
    router.wait_until(condition, what, seconds)


def wait_routes(of: Any, count: int, family: str = router.IPV4) -> dict[str, router.Route]:
    wait(lambda: len(of.routes(family)) == count, f"{count} {family} routes")
    found = of.routes(family)
    assert all(len(paths) == 1 for paths in found.values())
    return {prefix: paths[0] for prefix, paths in found.items()}


@pytest.mark.parametrize("external", [True, False], ids=["ebgp", "ibgp"])
@each_router
def test_every_attribute_arrives(bench: Bench, kind: str, external: bool) -> None:
    ours = OURS if external else THEIRS
    there = bench.router(kind, neighbour(asn=ours, password="s3cret"))
    here = bench.process()
    here.tell(configure={"tor": peer(my_asn=ours, password="s3cret")}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    v4, v6 = wait_routes(there, 2), wait_routes(there, 1, router.IPV6)
    assert v4[V4].communities == {"64513:7", "64513:8"}
    assert v4[V4].large_communities == {"64513:1:2"}
    assert v4[V4].next_hops == ("192.0.2.2",)
    assert v6[V6].communities == {"64513:7"}
    assert v6[V6].large_communities == {"4200000002:1:2"}
    assert v6[V6].next_hops[0] == "2001:db8::2"
    for each in (*v4.values(), *v6.values()):
        assert each.as_path == ((OURS,) if external else ())
        assert not each.med
        assert not each.stale
    if not external:
        assert v4["198.51.100.16/28"].local_pref == 200
        assert v4[V4].local_pref == 100
    # A change of one attribute, a withdrawal and a new route are updates of the same session.
    here.tell(change={"tor": {V4: [None, "64513:9"], "198.51.100.16/28": None, "198.51.100.32/32": [None]}})
    wait(lambda: set(there.routes()) == {V4, "198.51.100.32/32"}, "the change")
    assert there.routes()[V4][0].communities == {"64513:9"}
    assert here.show()["tor"]["established"] == 1


@each_router
def test_a_session_over_ipv6(bench: Bench, kind: str) -> None:
    there = bench.router(kind, neighbour(address="2001:db8::2", password="s3cret"))
    here = bench.process()
    fields = peer(address="2001:db8::1", password="s3cret", source_address="2001:db8::2")
    here.tell(configure={"tor": fields}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    assert wait_routes(there, 1, router.IPV6)[V6].next_hops[0] == "2001:db8::2"
    # GoBGP takes IPv6 next hops of IPv4 routes without being told to (RFC 8950).
    assert wait_routes(there, 2)[V4].next_hops == ("2001:db8::2" if kind == "gobgp" else "192.0.2.2",)


@each_router
def test_a_router_keeps_the_routes_of_a_process_that_restarts(bench: Bench, kind: str) -> None:
    there = bench.router(kind, neighbour(graceful_restart=True))
    here = bench.process()
    fields = peer(graceful_restart=True)
    here.tell(configure={"tor": fields}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    wait_routes(there, 2)
    here.kill()
    wait(lambda: not there.established(neighbour()), "the session's end")
    if there.marks_stale:
        wait(lambda: all(path.stale for paths in there.routes().values() for path in paths), "the routes are stale")
    time.sleep(0.5)  # what the router does about it, it does at once
    assert set(there.routes()) == {V4, "198.51.100.16/28"}
    assert set(there.routes(router.IPV6)) == {V6}
    again = bench.process(restarting=True)
    again.tell(configure={"tor": fields})
    again.wait_state("tor")
    again.tell(change={"tor": {V4: TABLE[V4]}})
    wait(lambda: not there.routes()[V4][0].stale, "the route is fresh")
    assert set(there.routes()) == {V4, "198.51.100.16/28"}, "nothing is taken away before End-of-RIB"
    again.tell(complete=True)
    wait(lambda: set(there.routes()) == {V4}, "what was not said again goes with End-of-RIB")
    wait(lambda: not there.routes(router.IPV6), "of both families")


@pytest.mark.parametrize("kind", sorted(ROUTERS.keys() - {"gobgp"}))  # GoBGP's daemon never asks; see below
def test_a_router_that_asks_gets_all_routes_again(bench: Bench, kind: str) -> None:
    there = bench.router(kind, neighbour())
    here = bench.process()
    here.tell(configure={"tor": peer()}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    before = wait_routes(there, 2)
    sent = here.show()["tor"]["updates_sent"]
    there.refresh(neighbour())
    here.wait(lambda: here.show()["tor"]["updates_sent"] >= sent + 2, "routes are sent again")
    assert wait_routes(there, 2) == before
    assert here.show()["tor"]["established"] == 1


class Asker:
    """A router on GoBGP's library of messages, which asks when it is told to. It writes what it hears to a file, one object a line."""

    def __init__(self, where: pair.Namespace, program: pathlib.Path, file: pathlib.Path) -> None:
        self._file = file
        enter = ("nsenter", f"--net=/run/netns/{where.name}")
        with file.open("wb") as output:
            self._process = subprocess.Popen(
                [*enter, program, "-listen", "192.0.2.1:179", "-asn", str(THEIRS)],
                stdin=subprocess.PIPE,
                stdout=output,
                text=True,
            )

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def ask(self, family: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{family}\n")
        self._process.stdin.flush()

    def heard(self, event: str, since: int = 0) -> list[dict[str, Any]]:
        """What came of that kind after the first `since` lines."""
        lines = self._file.read_text().splitlines(keepends=True)[since:]
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [each for each in found if each["event"] == event]

    def lines(self) -> int:
        return self._file.read_text().count("\n")

    def routes(self, since: int = 0) -> dict[tuple[str, str], list[str]]:
        """Attributes by family and prefix; `since` as in `heard`."""
        return {
            (each["family"], prefix): each["attributes"]
            for each in self.heard("update", since)
            for prefix in each["announced"]
        }


def test_a_router_on_gobgps_library_gets_a_familys_routes_again(bench: Bench, tmp_path: pathlib.Path) -> None:
    there = bench.asker(tmp_path / "heard")
    here = bench.process()
    here.tell(configure={"tor": peer()}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    wait(lambda: len(there.heard("end-of-rib")) == 2, "the end of both families")
    families = ("ipv4-unicast", "ipv6-unicast")
    before = there.routes()
    assert before.keys() == {(families[":" in prefix], prefix) for prefix in TABLE}
    assert "{Communities: 64513:7, 64513:8}" in before["ipv4-unicast", V4]
    for family in families:
        since = there.lines()
        there.ask(family)
        wait(lambda: len(there.heard("asked", since)) == 1, "the question")  # noqa: B023
        again = {route: said for route, said in before.items() if route[0] == family}
        wait(lambda: there.routes(since) == again, f"the routes of {family}, and no others")  # noqa: B023
    told = [(each["family"], prefix) for each in there.heard("update") for prefix in each["announced"]]
    assert sorted(told) == sorted([*before, *before])
    assert [each["withdrawn"] for each in there.heard("update") if each["withdrawn"]] == []
    for event, times in {"open": 1, "notification": 0, "end": 0, "error": 0}.items():
        assert len(there.heard(event)) == times
    assert here.show()["tor"]["established"] == 1


@each_router
def test_a_router_that_dies_is_found_again(bench: Bench, kind: str) -> None:
    there = bench.router(kind, neighbour())
    here = bench.process()
    here.tell(configure={"tor": peer()}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    wait_routes(there, 2)
    there.kill()
    here.wait_problem("tor", "B301")
    there.start()
    here.wait_state("tor")
    wait_routes(there, 2)


@each_router
def test_a_router_that_shuts_the_session_down_says_so(bench: Bench, kind: str) -> None:
    there = bench.router(kind, neighbour())
    here = bench.process()
    here.tell(configure={"tor": peer()})
    here.wait_state("tor")
    there.shutdown(neighbour())
    here.wait_problem("tor", "B308")


@each_router
def test_a_cut_cable_is_noticed_and_recovered_from(bench: Bench, kind: str) -> None:
    there = bench.router(kind, neighbour(hold_time=3))
    here = bench.process()
    here.tell(configure={"tor": peer(hold_time=3)}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    wait_routes(there, 2)
    # What either end sends goes to a station that is not there; neither is told.
    ends = ((bench.cabling.node, "192.0.2.1"), (bench.cabling.peer, "192.0.2.2"))
    for where, other in ends:
        where.ip("neigh", "replace", other, "lladdr", "02:00:00:00:00:99", "dev", "lan0", "nud", "permanent")
    here.wait(lambda: here.state["tor"] != "Established", "the loss is noticed", 8)
    assert any(f"[{code} " in (here.problem["tor"] or "") for code in ("B304", "B311"))
    for where, other in ends:
        where.ip("neigh", "del", other, "dev", "lan0")
    here.wait_state("tor")
    wait_routes(there, 2)


@pytest.mark.parametrize("kind", ["frr", "bird"])  # these drop a session together with its link
def test_a_link_that_goes_down_and_comes_back(bench: Bench, kind: str) -> None:
    there = bench.router(kind, neighbour(hold_time=90))
    here = bench.process()
    here.tell(configure={"tor": peer(hold_time=90)}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    wait_routes(there, 2)
    bench.cabling.peer.ip("link", "set", "lan0", "down")
    wait(lambda: not there.established(neighbour()), "the router drops the session")
    bench.cabling.peer.ip("link", "set", "lan0", "up")
    # Neither end was told by the other; the hold time is far away.
    here.wait(lambda: here.show()["tor"]["established"] == 2, "a new session", 10)
    wait_routes(there, 2)


@each_router
def test_the_wrong_autonomous_system_is_named(bench: Bench, kind: str) -> None:
    bench.router(kind, neighbour())
    here = bench.process()
    here.tell(configure={"tor": peer(peer_asn=65099)})
    here.wait_problem("tor", "B302")


def test_a_wrong_password_is_suspected_and_harms_no_other_session(bench: Bench) -> None:
    there = bench.router("frr", neighbour(password="s3cret"), neighbour(address="2001:db8::2", password="s3cret"))
    here = bench.process()
    good = peer(password="s3cret")
    bad = peer(password="wr0ng", address="2001:db8::1")
    here.tell(configure={"good": good, "bad": bad}, routes={"good": TABLE}, complete=True)
    here.wait_state("good")
    here.wait_problem("bad", "B303")
    assert "wr0ng" not in str(here.history)
    assert "s3cret" not in str(here.history)
    # The right one restarts that session alone.
    here.tell(configure={"good": good, "bad": {**bad, "password": "s3cret"}})
    here.wait_state("bad")
    assert here.show()["good"]["established"] == 1
    wait_routes(there, 2)


@pytest.mark.parametrize("kind", ["frr", "bird"])
def test_routes_carry_the_warning_before_they_are_withdrawn(bench: Bench, kind: str) -> None:
    there = bench.router(kind, neighbour())
    here = bench.process()
    here.tell(configure={"tor": peer()}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    wait_routes(there, 2)
    here.tell(stop=2)
    wait(lambda: "65535:0" in there.routes()[V4][0].communities, "GRACEFUL_SHUTDOWN", 1.9)
    wait(lambda: not there.routes(), "the withdrawal", 4)
    here.wait(lambda: {"stopped": True} in here.history, "the end")


@pytest.mark.parametrize("kind", ["frr", "bird"])
def test_ipv4_routes_with_an_ipv6_next_hop(bench: Bench, kind: str) -> None:
    bench.cabling.node.ip("addr", "del", "192.0.2.2/24", "dev", "lan0")
    there = bench.router(kind, neighbour(address="2001:db8::2", extended_next_hop=True))
    here = bench.process()
    here.tell(configure={"tor": peer(address="2001:db8::1")}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    assert wait_routes(there, 2)[V4].next_hops[0] == "2001:db8::2"
    assert wait_routes(there, 1, router.IPV6)[V6].next_hops[0] == "2001:db8::2"


def test_an_unnumbered_peer_is_found_by_its_advertisements(bench: Bench) -> None:
    for each in ("192.0.2.2/24", "2001:db8::2/64"):
        bench.cabling.node.ip("addr", "del", each, "dev", "lan0")
    unnumbered = router.Neighbour(asn=OURS, interface="lan0", passive=False)
    there = bench.router("frr", unnumbered)
    here = bench.process()
    fields = peer(interface="lan0", dynamic_asn="external", peer_asn=0)
    del fields["address"]
    here.tell(
        configure={"leaf": fields, "none": {**fields, "interface": "lan7"}}, routes={"leaf": TABLE}, complete=True
    )
    here.wait_state("leaf")
    local = bench.cabling.node.ip("-6", "-o", "addr", "show", "dev", "lan0", "scope", "link").split()[3].split("/")[0]
    assert wait_routes(there, 2)[V4].next_hops[0] == local
    assert wait_routes(there, 1, router.IPV6)[V6].next_hops[0] == local
    assert "[B313 " in here.show()["none"]["problem"]
    # The link is made anew, with another index and other link-local addresses at both ends.
    bench.cabling.node.ip("link", "del", "lan0")
    here.wait(lambda: here.state["leaf"] != "Established", "the link is gone", 30)
    bench.cabling.cable("lan0")
    here.wait_state("leaf", seconds=40)
    wait_routes(there, 2)


@pytest.mark.parametrize("kind", ["frr", "bird"])
def test_a_router_several_hops_away(bench: Bench, kind: str) -> None:
    middle = bench.cabling.peer
    far = pair.Namespace(f"bgi{os.getpid()}f")
    try:
        middle.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
        middle.ip("link", "add", "far0", "type", "veth", "peer", "name", "far0", "netns", far.name)
        for where, address in ((middle, "203.0.113.1/24"), (far, "203.0.113.9/24")):
            where.ip("addr", "add", address, "dev", "far0")
            where.ip("link", "set", "far0", "up")
        far.ip("route", "add", "default", "via", "203.0.113.1")
        bench.cabling.node.ip("route", "add", "default", "via", "192.0.2.1")
        there = bench.router(kind, neighbour(hops=5, local="203.0.113.9"), where=far)
        here = bench.process()
        here.tell(configure={"tor": peer(address="203.0.113.9")})
        here.wait_problem("tor", "B301", naming="ebgpMultiHop")
        here.tell(configure={"tor": peer(address="203.0.113.9", multihop=True)}, routes={"tor": TABLE}, complete=True)
        here.wait_state("tor")
        assert wait_routes(there, 2)[V4].next_hops == ("192.0.2.2",)
        there.close()
    finally:
        far.close()


def test_other_ways_to_name_the_systems(bench: Bench) -> None:
    there = bench.router("frr", neighbour(asn=65010))
    here = bench.process()
    fields = peer(my_asn=65001, local_asn=65010, peer_asn=0, dynamic_asn="external")
    here.tell(configure={"tor": fields}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    assert wait_routes(there, 2)[V4].as_path == (65010,)


def test_the_source_address(bench: Bench) -> None:
    bench.cabling.node.ip("addr", "add", "192.0.2.77/24", "dev", "lan0")
    there = bench.router("frr", neighbour(address="192.0.2.77"))
    here = bench.process()
    here.tell(configure={"tor": peer(source_address="192.0.2.78")}, routes={"tor": TABLE}, complete=True)
    here.wait_problem("tor", "B312")
    assert "sourceAddress 192.0.2.78" in (here.problem["tor"] or "")
    here.tell(configure={"tor": peer(source_address="192.0.2.77")})
    here.wait_state("tor")
    assert wait_routes(there, 2)[V4].next_hops == ("192.0.2.77",), "routes outlive the restart of the session"


def test_a_session_that_is_bound_to_a_device(bench: Bench) -> None:
    there = bench.router("frr", neighbour())
    here = bench.process()
    here.tell(configure={"tor": peer(vrf="red")}, routes={"tor": TABLE}, complete=True)
    here.wait_problem("tor", "B313")
    assert "vrf 'red'" in (here.problem["tor"] or "")
    # For the socket a VRF is a device as any other; not every kernel has real ones.
    here.tell(configure={"tor": peer(vrf="lan0")})
    here.wait_state("tor")
    wait_routes(there, 2)


def test_a_removed_peer_is_told_and_its_routes_go(bench: Bench) -> None:
    there = bench.router("frr", neighbour(graceful_restart=True))
    here = bench.process()
    here.tell(configure={"tor": peer(graceful_restart=True)}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    wait_routes(there, 2)
    here.tell(configure={})
    wait(lambda: not there.established(neighbour()), "the end")
    # Well before the time for which the router would keep them through a restart.
    wait(lambda: not there.routes(), "a peer that is removed for good to leave nothing behind")
    assert there.neighbour(neighbour())["lastNotificationReason"] == "Cease/Peer De-configured"


@pytest.mark.parametrize("kind", ["frr", "bird"])
def test_settings_change_without_a_gap_where_restart_is_graceful(bench: Bench, kind: str) -> None:
    there = bench.router(kind, neighbour(graceful_restart=True))
    here = bench.process()
    here.tell(configure={"tor": peer(graceful_restart=True)}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    wait_routes(there, 2)
    here.tell(configure={"tor": peer(graceful_restart=True, keepalive_time=1)})
    here.wait(lambda: here.state["tor"] != "Established", "the restart")
    for _ in range(20):
        assert len(there.routes()) == 2
    here.wait_state("tor")
    wait(lambda: not there.routes()[V4][0].stale, "the routes are fresh")


def test_bfd_holds_a_session_down(bench: Bench) -> None:
    there = bench.router("frr", neighbour())
    here = bench.process()
    here.tell(configure={"tor": peer(bfd_profile="fast")}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    wait_routes(there, 2)
    here.tell(bfd=["tor", False])
    here.wait_problem("tor", "B307")
    wait(lambda: not there.routes(), "the routes are gone")
    here.tell(bfd=["tor", True])
    here.wait_state("tor", seconds=5)
    wait_routes(there, 2)


@pytest.mark.parametrize("kind", ["frr", "bird"])
def test_a_router_forwards_by_what_it_was_told(bench: Bench, kind: str) -> None:
    bench.router(kind, neighbour(), kernel=True)
    here = bench.process()
    here.tell(configure={"tor": peer()}, routes={"tor": TABLE}, complete=True)
    here.wait_state("tor")
    there = bench.cabling.peer
    wait(lambda: "via 192.0.2.2" in there.ip("-4", "route", "show", V4), "the IPv4 route in the kernel")
    wait(lambda: "2001:db8:1::1" in there.ip("-6", "route", "show", V6), "the IPv6 route in the kernel")
    here.tell(routes={"tor": {}})
    wait(lambda: not there.ip("-4", "route", "show", V4), "no IPv4 route")


def test_both_ends_of_a_link_find_each_other_without_a_router(bench: Bench) -> None:
    ends = (bench.cabling.node, bench.cabling.peer)
    local = [
        each.ip("-6", "-o", "addr", "show", "dev", "lan0", "scope", "link").split()[3].split("/")[0] for each in ends
    ]
    fields = {"my_asn": OURS, "peer_asn": THEIRS, "interface": "lan0", "connect_time": 1}
    with bgp_driver.Driver(ends[0]) as one:
        one.tell(configure={"leaf": fields})
        one.wait_problem("leaf", "B313")
        assert "no router has been heard" in (one.problem["leaf"] or "")
        with bgp_driver.Driver(ends[1]) as two:
            two.tell(configure={"leaf": fields})
            # Nobody listens, so that an attempt names whom it found. One that found it only just before it ended does not.
            one.wait_problem("leaf", "B301", naming=f"[{local[1]}%lan0]:179")
            two.wait_problem("leaf", "B301", naming=f"[{local[0]}%lan0]:179")
