"""Bring up a real cluster, install the chart as documented, let one Service answer, cut its node's power, and show the figures.

    python -m demo            do it all, and take everything down again
    python -m demo --keep     leave it up, and say how to use it
    python -m demo --bgp      also a router that learns the Services over BGP
    python -m demo --down     end a demo that was kept

Each step prints one line as it ends; the table at the end is the result. An interrupted demo takes itself down.
"""

import argparse
import contextlib
import pathlib
import sys
import tempfile
import time
from collections.abc import Iterator

import rich.box
import rich.console
import rich.markup
import rich.table
import rich.text

from demo import bgp, bundle, repository, steps, workload
from lab import cluster as clusters
from tools import build as tools

ROOT = pathlib.Path(__file__).parents[2]
LAB = "demo"
FAILOVER_SECONDS = 12.0


class Story:
    """What is told while it happens, and the table at the end."""

    def __init__(self) -> None:
        self._console = rich.console.Console(highlight=False)
        if not self._console.is_terminal:
            # A log has no width of its own; without one, lines would break at 80.
            self._console.width = 132
        self._started = time.monotonic()
        self._rows: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """One step: its name when it begins, its duration when it ends."""
        started = time.monotonic()
        self._console.print(f"[dim]{started - self._started:6.1f} s[/dim]  {rich.markup.escape(what)} ...")
        yield
        self._console.print(f"{'':8}  [green]done[/green] in {time.monotonic() - started:.1f} s")

    def row(self, what: str, result: str) -> None:
        """A line of the table."""
        self._rows.append((what, result))

    def table(self) -> None:
        """Print the table."""
        table = rich.table.Table(box=rich.box.SIMPLE, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for what, result in self._rows:
            # Text, not markup: an IPv6 address in brackets would pass for a style.
            table.add_row(rich.text.Text(what), rich.text.Text(result))
        table.add_row("whole demo", f"{time.monotonic() - self._started:.0f} s")
        self._console.print(table)

    def say(self, text: str) -> None:
        """A line of text."""
        self._console.print(text, markup=False, soft_wrap=True)


def tell(lab: clusters.Cluster, story: Story, home: pathlib.Path, *, with_bgp: bool) -> None:
    """The demo on a lab that is not up yet."""
    with story.step("build the controller and speaker images"):
        built = bundle.build()
    with story.step("bring up Kubernetes: three nodes and a client on one LAN"):
        lab.up(nodes=3, archives=built.archives)
    story.row("cluster", f"Kubernetes {steps.server_version(lab)}, {len(lab.nodes)} nodes, kube-proxy in nftables mode")

    do = steps.Steps(lab, tools.program("helm"), home)
    plan = workload.Plan(
        image_tag=built.tag,
        pools=(str(lab.plan.pool_ipv4), str(lab.plan.pool_ipv6)),
        more=bgp.values(lab) if with_bgp else {},
    )
    with (
        repository.serving(tools.program("helm"), ROOT / "charts" / "metallb", ROOT / "build" / "charts") as url,
        story.step("helm repo add; helm install -f values.yaml, with pools and an L2Advertisement inside"),
    ):
        started = time.monotonic()
        do.install(url, workload.values(plan))
    story.row("helm install", f"{time.monotonic() - started:.1f} s, first time, pools and advertisement in values.yaml")

    with story.step("deploy a web page and a UDP echo, dual stack"):
        lab.kubectl("apply", "--filename", "-", input=workload.manifests())
        web = do.wait_addresses(workload.WEB, 2)
        echo = do.wait_addresses(workload.ECHO, 2)
        for name in (workload.WEB, workload.ECHO):
            do.wait_rollout(name)
    story.row("addresses", f"web {' '.join(web)}; echo {' '.join(echo)}")

    with story.step("ask for them from the client"):
        for address in web:
            story.row(f"http://{address}" if ":" not in address else f"http://[{address}]", do.fetch(address))
        for address in echo:
            story.row(f"udp {address}", do.ask_udp(address, f"hello {address}"))

    with story.step("cut the power of the node that answers"):
        owner = do.wait_owner(workload.ECHO)
        # What is measured is the address, not the pod: the echo runs on a node that keeps its power.
        do.pin(workload.ECHO, next(node for node in lab.nodes if node != owner))
        do.ask_udp(echo[0], "before")
        with do.probing(echo[0], FAILOVER_SECONDS) as probe:
            time.sleep(1.0)
            lab.freeze_node(owner)
            time.sleep(FAILOVER_SECONDS - 2.0)
        assert probe.silence is not None
        heir = do.wait_owner(workload.ECHO, other_than=owner)
        do.fetch(web[0])
    story.row("power cut", f"{owner} answered for {echo[0]}, then {heir}")
    story.row(
        "silent for",
        f"{probe.silence.arp:.2f} s as ARP sees it, {probe.silence.udp:.2f} s for UDP traffic (20 ms probe)",
    )

    with story.step(f"give {owner} its power back"):
        lab.thaw_node(owner)
        lab.wait_nodes_ready()
        do.wait_owner(workload.ECHO)
        do.ask_udp(echo[0], "after")

    if with_bgp:
        edge = bgp.Edge(lab)
        tell_bgp(lab, story, do, edge, web, echo)


def tell_bgp(
    lab: clusters.Cluster, story: Story, do: steps.Steps, edge: bgp.Edge, web: list[str], echo: list[str]
) -> None:
    """The same Services, reached through a router that knows them over BGP only."""
    with story.step("put an FRR router on the LAN, and a client behind it"):
        started = time.monotonic()
        edge.start()
        sessions = edge.wait_established()
        edge.wait_paths()
        story.row(
            "BGP sessions",
            f"{len(sessions)} with FRR, established and watched by BFD {time.monotonic() - started:.1f} s after it was started",
        )
        for address in (*web, *echo):
            edge.wait_next_hops(address, lab.nodes)
        for address in web:
            (communities,) = {path.communities for path in edge.route(address).values()}
            hops = ", ".join(edge.next_hops(address))
            story.row(f"route to {address}", f"next hops {hops}; community {', '.join(sorted(communities))}")

    with story.step("ask for pages from behind the router"):
        for address in web:
            edge.pages(address, 3)
            with edge.counting(address) as arrivals:
                pages = edge.pages(address, 48)
            pods = len({page.split()[0] for page in pages})
            ways = ", ".join(f"{count} by {node}" for node, count in arrivals.items())
            story.row(f"{len(pages)} pages of {address}", f"{ways}; from {pods} pods")

    with story.step("cut the power of a next hop"):
        home = do.items("pods", f"--selector=app={workload.ECHO}")[0]["spec"]["nodeName"]
        victim = next(node for node in lab.nodes if node != home)
        with edge.probing(echo[0], 6.0) as flows:
            time.sleep(1.0)
            lab.freeze_node(victim)
            time.sleep(4.0)
            left = edge.next_hops(echo[0])
        lab.thaw_node(victim)
        edge.wait_established()
    story.row("power cut of a next hop", f"{victim}; left are {', '.join(left)}")
    story.row(
        "silent for",
        f"{flows.worst:.2f} s, {flows.hit} of {bgp.FLOWS} flows (BFD 300 ms x 3; 20 ms probe from behind the router)",
    )


def main() -> int:
    """Run the demo."""
    parser = argparse.ArgumentParser(
        prog="python -m demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--keep", action="store_true", help="leave the cluster up")
    parser.add_argument("--bgp", action="store_true", help="also a router that learns the Services over BGP")
    parser.add_argument("--down", action="store_true", help="take a kept cluster down")
    arguments = parser.parse_args()
    if arguments.down and (arguments.keep or arguments.bgp):
        parser.error("--down takes no other option")
    lab, story = clusters.Cluster(LAB), Story()
    if arguments.down:
        with story.step("take the cluster down"):
            lab.down()
        return 0
    try:
        with tempfile.TemporaryDirectory(prefix="metallb-demo-") as home:
            tell(lab, story, pathlib.Path(home), with_bgp=arguments.bgp)
    except BaseException as error:
        if arguments.keep and isinstance(error, steps.StepError):
            story.say(f"The cluster is left up, to be looked at: export KUBECONFIG={lab.kubeconfig}")
        else:
            with story.step("something went wrong; take the cluster down"):
                lab.down()
        raise
    if arguments.keep:
        story.table()
        story.say(f"export KUBECONFIG={lab.kubeconfig}")
        story.say("  kubectl get services,servicel2statuses --all-namespaces")
        story.say("  kubectl --namespace metallb-system logs daemonset/metallb-speaker")
        story.say(f"  {sys.executable} -m lab --name {LAB} client -- curl http://ADDRESS/")
        if arguments.bgp:
            story.say(
                f"  nsenter --net=/run/netns/mlb-{LAB}-{bgp.ROUTER} vtysh --vty_socket {lab.state}/frr -c 'show bgp summary'"
            )
            story.say(f"  nsenter --net=/run/netns/mlb-{LAB}-{bgp.BEHIND} curl http://ADDRESS/")
        story.say("make demo-down ends it.")
        return 0
    with story.step("take the cluster down"):
        lab.down()
    story.table()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
