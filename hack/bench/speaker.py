"""The speaker's layer 2 rows of the budget, in the lab: three nodes, the chart, real power cuts.

    python -m bench.speaker [--runs 5] [--services 2000]

- idle: resident memory of a speaker pod without Services (both of its processes), and what of it is its own (PSS)
- takeover: the node that answers for most of 20 addresses loses power; until all 20 answer again, as a 20 ms ARP probe on the LAN sees it
- memory: the same with 2,000 Services
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from bench import figures, limits
from demo import bundle, repository, steps, workload
from lab import cluster as clusters
from tools import build as tools

ROOT = pathlib.Path(__file__).parents[2]
SWEEP = pathlib.Path(__file__).with_name("sweep.py")
ADDRESSES = 20
WATCH_SECONDS = 8.0


def services(first: int, count: int, kind: str) -> str:
    """Services of type LoadBalancer in front of the echo pod, as one list."""
    items = [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": f"{kind}-{number}", "labels": {"bench": kind}},
            "spec": {
                "type": "LoadBalancer",
                "allocateLoadBalancerNodePorts": False,
                "selector": {"app": workload.ECHO},
                "ports": [{"port": workload.ECHO_PORT, "targetPort": bundle.PORT, "protocol": "UDP"}],
            },
        }
        for number in range(first, first + count)
    ]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": items})


def memory(lab: clusters.Cluster, node: str) -> tuple[float, float]:
    """Resident and proportional size, in MB, of the speaker's processes on a node."""
    script = (
        "import pathlib\n"
        "rss = pss = 0\n"
        "for each in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "    try:\n"
        "        if b'metallb_speaker' in (each / 'cmdline').read_bytes():\n"
        "            for line in (each / 'smaps_rollup').read_text().splitlines():\n"
        "                rss += int(line.split()[1]) if line.startswith('Rss:') else 0\n"
        "                pss += int(line.split()[1]) if line.startswith('Pss:') else 0\n"
        "    except OSError:\n"
        "        pass\n"
        "print(rss, pss)\n"
    )
    rss, pss = lab.node_exec(node, [sys.executable, "-c", script]).stdout.split()
    return int(rss) / 1024, int(pss) / 1024


def owners(lab: clusters.Cluster, kind: str) -> dict[str, str]:
    """The node that announces each Service of a kind."""
    listed = json.loads(
        lab.kubectl("get", "servicel2statuses", "--namespace", workload.CHART_NAMESPACE, "--output=json")
    )
    said = [item.get("status", {}) for item in listed["items"]]
    return {each["serviceName"]: each["node"] for each in said if each.get("serviceName", "").startswith(f"{kind}-")}


def addresses(lab: clusters.Cluster, kind: str, count: int, seconds: float = 240) -> list[str]:
    """The addresses of the Services of a kind, once all have one."""

    def look() -> list[str]:
        listed = json.loads(lab.kubectl("get", "services", "--selector", f"bench={kind}", "--output=json"))
        found = [entry["ip"] for item in listed["items"] for entry in item["status"]["loadBalancer"].get("ingress", [])]
        return found if len(found) == count else []

    found = steps.wait_for(f"{count} addresses", seconds, look)
    assert isinstance(found, list)
    return found


def take_over(lab: clusters.Cluster, where: list[str], into: figures.Figures) -> None:
    """Cut the power of the node that answers for most addresses, once."""
    steps.wait_for("every address announced", 60, lambda: len(owners(lab, "few")) == len(where))
    held = list(owners(lab, "few").values())
    echo = json.loads(lab.kubectl("get", "pods", "--selector", f"app={workload.ECHO}", "--output=json"))
    spared = echo["items"][0]["spec"]["nodeName"]
    victim = max((node for node in lab.nodes if node != spared), key=held.count)
    argv: list[str | pathlib.Path] = [
        sys.executable, SWEEP, "--own", lab.client_address[0], "--seconds", str(WATCH_SECONDS), *where,
    ]  # fmt: skip
    with subprocess.Popen(lab.client_argv(argv), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:
        time.sleep(1.0)
        lab.freeze_node(victim)
        report = json.loads(probe.communicate(timeout=60)[0]) if probe.wait(WATCH_SECONDS + 20) == 0 else {}
    into.add("takeover", f"owner loses power, {len(where)} addresses, until all answer", "s", max(report.values()))
    lab.thaw_node(victim)
    lab.wait_nodes_ready()
    time.sleep(3.0)


def run(lab: clusters.Cluster, helm: pathlib.Path, home: pathlib.Path, runs: int, many: int) -> figures.Figures:
    """All rows."""
    found = figures.Figures()
    figures.progress("images and cluster")
    built = bundle.build()
    lab.up(nodes=3, archives=built.archives)
    do = steps.Steps(lab, helm, home)
    plan = workload.Plan(
        image_tag=built.tag, pools=(str(lab.plan.pool_ipv4), str(lab.plan.routed_pool_ipv4), str(lab.plan.pool_ipv6))
    )
    with repository.serving(helm, ROOT / "charts" / "metallb", ROOT / "build" / "charts") as url:
        do.install(url, workload.values(plan))
    lab.kubectl("apply", "--filename", "-", input=workload.manifests())
    do.wait_rollout(workload.ECHO)
    time.sleep(5)
    for node in lab.nodes:
        rss, pss = memory(lab, node)
        found.add("idle", "speaker memory, next to idle, both processes, resident", "MB", rss)
        found.add("idle-pss", "the same, proportional (shared pages counted once)", "MB", pss)
    lab.kubectl("apply", "--filename", "-", input=services(0, ADDRESSES, "few"))
    where = addresses(lab, "few", ADDRESSES)
    for number in range(runs):
        figures.progress(f"power cut {number + 1} of {runs}")
        take_over(lab, where, found)
    figures.progress(f"{many} Services")
    for first in range(0, many, 500):
        lab.kubectl("create", "--filename", "-", input=services(first, min(500, many - first), "many"))
    addresses(lab, "many", many)
    time.sleep(10)
    for node in lab.nodes:
        rss, pss = memory(lab, node)
        found.add("memory", f"speaker memory, {many} Services, both processes, resident", "MB", rss)
        found.add("memory-pss", "the same, proportional (shared pages counted once)", "MB", pss)
    return found


def main() -> int:
    """Print the rows."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.speaker", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=limits.at_least(1), default=5, help="power cuts (default: %(default)s)")
    parser.add_argument("--services", type=limits.at_least(1), default=2000, help="Services (default: %(default)s)")
    arguments = parser.parse_args()
    lab = clusters.Cluster("bench")
    try:
        with tempfile.TemporaryDirectory(prefix="metallb-bench-") as home:
            run(lab, tools.program("helm"), pathlib.Path(home), arguments.runs, arguments.services).show()
    finally:
        lab.down()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
