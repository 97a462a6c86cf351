"""The lab's command line: `python -m lab up | down | status | exec | client | kubeconfig | load | freeze | thaw`.

Rules: one line for each thing done, with the seconds it took; an expected failure is one message and exit status 1;
`exec` and `client` replace this process, so that exit status, terminal and signals are the program's own.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab import cluster, namespaces, packages, pki, processes
from tools import build

EXPECTED = (
    build.BuildError,
    cluster.LabError,
    namespaces.NamespaceError,
    packages.PackageError,
    pki.CertificateError,
    processes.ProcessError,
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description="a Kubernetes cluster in network namespaces")
    parser.add_argument("--name", default="lab", help="the lab's name, one to eight lower-case letters and digits")
    commands = parser.add_subparsers(dest="command", required=True)

    def add(command: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(command, help=text)
        sub.add_argument("--name", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return sub

    up = add("up", "bring the lab up")
    up.add_argument("--nodes", type=int, default=3)
    up.add_argument("--image", type=Path, action="append", default=[], help="an OCI archive to import; may be repeated")
    up.add_argument("--keep", action="store_true", help="leave a lab that did not come up as it is, to be looked at")
    add("down", "take the lab down and remove all of it")
    add("status", "what runs, and on which addresses")
    add("kubeconfig", "print the path of the administrator's kubeconfig")
    load = add("load", "import OCI archives into every node")
    load.add_argument("archive", type=Path, nargs="+")
    for command, text in (("freeze", "cut a node's power"), ("thaw", "give a node its power back")):
        add(command, text).add_argument("node")
    run = add("exec", "run a program on a node: exec NODE -- PROGRAM ...")
    run.add_argument("node")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    add("client", "run a program on the client: client -- PROGRAM ...").add_argument("argv", nargs=argparse.REMAINDER)
    return parser


def _replace(argv: Sequence[str | Path]) -> None:
    arguments = [str(argument) for argument in argv]
    os.execvp(arguments[0], arguments)


def _program(arguments: list[str]) -> list[str]:
    arguments = arguments[1:] if arguments[:1] == ["--"] else arguments
    return arguments or ["bash"]


def _status(lab: cluster.Cluster) -> int:
    try:
        plan = lab.plan
    except cluster.LabError as error:
        others = ", ".join(cluster.names())
        print(f"{error}" + (f" (there are: {others})" if others else ""))
        return 1
    print(f"lab {lab.name}: LAN {plan.lan_ipv4} {plan.lan_ipv6}, pools {plan.pool_ipv4} {plan.pool_ipv6}")
    print(f"  kubeconfig {lab.kubeconfig}, logs {lab.state / 'logs'}, client {' '.join(plan.client)}")
    for process in lab.ledger.all():
        address = " ".join(lab.node_addresses(process.name)) if process.name in lab.nodes else ""
        print(f"  {process.name:<24} {'runs' if process.alive() else 'ENDED':<6} pid {process.pid:<8} {address}")
    if lab.running():
        print(lab.kubectl("get", "nodes", "--output=wide").rstrip())
        return 0
    return 1


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(argv)
    if options.command in ("up", "down"):
        # Also where the caller started us with interrupts ignored: an `up` that is stopped must clean up.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
    try:
        lab = cluster.Cluster(options.name)
        started = time.monotonic()
        if options.command == "up":
            lab.up(options.nodes, options.image, keep=options.keep)
            print(f"lab {lab.name} is up, {len(lab.nodes)} nodes Ready ({time.monotonic() - started:.1f} s)")
            print(f"export KUBECONFIG={lab.kubeconfig}")
        elif options.command == "down":
            lab.down()
            print(f"lab {lab.name} is gone ({time.monotonic() - started:.1f} s)")
        elif options.command == "status":
            return _status(lab)
        elif options.command == "kubeconfig":
            print(lab.kubeconfig)
        elif options.command == "load":
            for archive in options.archive:
                lab.load_image(archive)
                print(f"{archive} is on every node ({time.monotonic() - started:.1f} s)")
        elif options.command == "freeze":
            lab.freeze_node(options.node)
        elif options.command == "thaw":
            lab.thaw_node(options.node)
        elif options.command == "exec":
            _replace(lab.node_argv(options.node, _program(options.argv)))
        elif options.command == "client":
            _replace(lab.client_argv(_program(options.argv)))
    except EXPECTED as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(f"error: {error}\n{error.stderr or ''}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
