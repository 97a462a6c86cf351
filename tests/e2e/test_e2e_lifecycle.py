"""Removal, and the other documented way in: the manifest."""

import json
import pathlib
import subprocess

from demo import bundle, steps, workload
from lab import cluster

NAMESPACE = workload.CHART_NAMESPACE
ROOT = pathlib.Path(__file__).parents[2]
MANIFEST = ROOT / "config/manifests/metallb-native.yaml"
DEFINITION = "ipaddresspools.metallb.io"


def test_uninstall_keeps_definitions_and_own_objects(lab: cluster.Cluster, do: steps.Steps) -> None:
    every = lab.plan.pool_ipv4
    do.apply(workload.pool("own", f"{every[110]}-{every[111]}"))
    before = do.every_address()
    do.helm("uninstall", "metallb", "--namespace", NAMESPACE, "--wait", "--timeout", "2m")
    steps.wait_for("our pods are gone", 60, lambda: not do.items("pods", namespace=NAMESPACE))
    names = lab.kubectl("get", "ipaddresspools,l2advertisements", "--namespace", NAMESPACE, "--output=name").split()
    assert names == ["ipaddresspool.metallb.io/own"]
    assert DEFINITION in lab.kubectl("get", "crds", "--output=name")
    # Its owner, a role of the chart, takes it along.
    steps.wait_for(
        "no webhook is left behind",
        60,
        lambda: "metallb" not in lab.kubectl("get", "validatingwebhookconfigurations", "--output=name"),
    )
    # A Service keeps what it has been given for whoever comes next; nobody answers for it.
    assert do.every_address() == before
    for addresses in before.values():
        do.wait_silent(addresses[0])


def test_manifest_takes_over(lab: cluster.Cluster, do: steps.Steps) -> None:
    """`kubectl apply` of the manifest, then pools: the Services that had addresses keep them, and they answer again."""
    apply_manifest_then_pools(lab, do)


def apply_manifest_then_pools(lab: cluster.Cluster, do: steps.Steps) -> None:
    before = do.every_address()
    lab.kubectl("apply", "--filename", MANIFEST)
    do.wait_rollout("controller", NAMESPACE)
    do.wait_rollout("speaker", NAMESPACE, "daemonset")
    steps.pause(2)
    assert do.every_address() == before, "no pool yet is no reason to take an address away"
    ranges = json.loads(workload.values(workload.Plan(image_tag=bundle.chart_version(), pools=pool_ranges(lab))))
    pool = {**workload.pool("kept", *ranges["ipAddressPools"][0]["spec"]["addresses"])}
    advertisement = workload.advertisement("kept")
    for item in (pool, advertisement):
        item["metadata"] = {"name": "kept", "namespace": NAMESPACE}
    do.apply(pool, advertisement, workload.service("newcomer"))
    for name, addresses in before.items():
        assert do.wait_addresses(name, len(addresses)) == addresses
    (new,) = do.wait_addresses("newcomer", 1)
    do.fetch(new)
    for address in before[workload.WEB]:
        do.fetch(address)
        do.wait_announced(workload.WEB, address)


def pool_ranges(lab: cluster.Cluster) -> tuple[str, str]:
    ipv4, ipv6 = lab.plan.pool_ipv4, lab.plan.pool_ipv6
    return f"{ipv4[0]}-{ipv4[63]}", f"{ipv6[0]}-{ipv6[0x7F]}"


def test_manifest_does_not_drift(lab: cluster.Cluster, do: steps.Steps) -> None:
    """What is applied stays as it was written, which is what GitOps tools compare: nothing of ours edits it."""
    try:
        assert lab.kubectl("diff", "--filename", MANIFEST) == ""
    except subprocess.CalledProcessError as error:
        raise AssertionError(error.stdout) from None


def test_manifest_applies_again_without_a_ripple(lab: cluster.Cluster, do: steps.Steps) -> None:
    before, pods = do.every_address(), lab.kubectl("get", "pods", "--namespace", NAMESPACE, "--output=name")
    lab.kubectl("apply", "--filename", MANIFEST)
    steps.pause(1)
    assert do.every_address() == before
    assert lab.kubectl("get", "pods", "--namespace", NAMESPACE, "--output=name") == pods


def test_nothing_was_forbidden(lab: cluster.Cluster, do: steps.Steps) -> None:
    """The manifest's roles name its own objects, not the chart's."""
    for pod in do.items("pods", namespace=NAMESPACE):
        assert "forbidden" not in lab.kubectl("logs", pod["metadata"]["name"], "--namespace", NAMESPACE).lower()
    assert do.get("lease", "controller", NAMESPACE)["spec"]["holderIdentity"].startswith("controller-")
    assert do.get("secret", "memberlist", NAMESPACE)


def test_removal_of_the_manifest_takes_no_address(lab: cluster.Cluster, do: steps.Steps) -> None:
    """It takes the pools, while the controller may still run. What is installed next goes on with what Services have."""
    before = do.every_address()
    assert all(before.values())
    lab.kubectl("delete", "--filename", MANIFEST, "--timeout=120s")
    assert DEFINITION not in lab.kubectl("get", "crds", "--output=name")
    assert do.every_address() == before
    apply_manifest_then_pools(lab, do)
