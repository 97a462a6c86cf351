"""The alerts, by Prometheus's own unit tests; and what they and the dashboard ask for, which some component has to export.

Each alert is shown series as the components of a mode export them, and has to fire, with the labels and the words that a user gets; and to be
silent when all is well.
"""

import json
import pathlib
import re
import shutil
import subprocess
from typing import Any

import prometheus_client
import pytest
import yaml

from generate import helm, output
from lab import packages
from metallb_controller import gauges as controller_gauges
from metallb_core.kube import instruments
from metallb_core.runtime import metrics
from metallb_speaker import gauges as speaker_gauges
from metallb_speaker.bgp import gauges as bgp_gauges

CHART = output.ROOT / "charts/metallb"
DASHBOARD = CHART / "dashboards/metallb.json"
Node = dict[str, Any]
CONTROLLER = 'instance="10.0.0.1:9120", job="metallb"'
SPEAKER = 'instance="192.0.2.11:9120", job="metallb"'
HEALTHY = (
    (f"metallb_k8s_client_config_stale_bool{{{CONTROLLER}}}", "0x20"),
    (f"metallb_k8s_client_config_loaded_bool{{{CONTROLLER}}}", "1x20"),
    (f"metallb_k8s_client_config_stale_bool{{{SPEAKER}}}", "0x20"),
    (f"metallb_k8s_client_config_loaded_bool{{{SPEAKER}}}", "1x20"),
    (f'metallb_allocator_addresses_in_use_total{{{CONTROLLER}, pool="a"}}', "7x20"),
    (f'metallb_allocator_addresses_total{{{CONTROLLER}, pool="a"}}', "10x20"),
    (f'metallb_bgp_session_up{{{SPEAKER}, peer="192.0.2.1:179"}}', "1x20"),
    (f'frrk8s_bgp_session_up{{{SPEAKER}, peer="192.0.2.1"}}', "1x20"),
    (f'metallb_speaker_address_conflicts_total{{{SPEAKER}, ip="198.51.100.1"}}', "3x20"),
)


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool comes with the Debian package prometheus; hack/lab/install-packages brings it")
    return found


def test_promtool_comes_with_the_packages_of_the_lab() -> None:
    assert "prometheus" in packages.wanted()


@pytest.fixture(scope="session")
def groups(helm_program: pathlib.Path) -> Node:
    settings = [
        "prometheus.prometheusRule.enabled=true",
        "prometheus.prometheusRule.addressPoolExhausted.excludePools=lab.*",
    ]
    settings.append("prometheus.prometheusRule.addressPoolUsage.excludePools=lab.*")
    arguments: list[str | pathlib.Path] = [
        "template",
        "metallb",
        CHART,
        "--show-only",
        "templates/prometheusrules.yaml",
    ]
    for setting in settings:
        arguments += ["--set", setting]
    rendered = yaml.safe_load(helm.run(helm_program, arguments))
    found = rendered["spec"]
    assert isinstance(found, dict)
    return found


def _run(promtool: str, folder: pathlib.Path, groups: Node, tests: list[Node]) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump(groups))
    document = {"rule_files": ["rules.yaml"], "evaluation_interval": "30s", "tests": tests}
    (folder / "tests.yaml").write_text(yaml.safe_dump(document))
    for command in (["check", "rules", "rules.yaml"], ["test", "rules", "tests.yaml"]):
        result = subprocess.run(
            [promtool, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        assert result.returncode == 0, result.stdout + result.stderr


def _series(*pairs: tuple[str, str]) -> list[Node]:
    return [{"series": series, "values": numbers} for series, numbers in pairs]


def _labels(text: str, **more: str) -> dict[str, str]:
    return dict(re.findall(r'(\w+)="([^"]*)"', text)) | more


def test_no_alert_when_all_is_well(promtool: str, groups: Node, tmp_path: pathlib.Path) -> None:
    names = sorted({rule["alert"] for rule in groups["groups"][0]["rules"]})
    checks = [{"eval_time": "15m", "alertname": name, "exp_alerts": []} for name in names]
    _run(promtool, tmp_path, groups, [{"interval": "1m", "input_series": _series(*HEALTHY), "alert_rule_test": checks}])


# Alert, minutes after which it fires, series, labels and summary.
FIRES: tuple[tuple[str, int, tuple[tuple[str, str], ...], dict[str, str], str], ...] = (
    (
        "MetalLBStaleConfig", 3, ((f"metallb_k8s_client_config_stale_bool{{{SPEAKER}}}", "1x20"),),
        _labels(SPEAKER, severity="warning"), "A component of MetalLB on 192.0.2.11:9120 runs on a stale configuration",
    ),
    (
        "MetalLBConfigNotLoaded", 3, ((f"metallb_k8s_client_config_loaded_bool{{{CONTROLLER}}}", "0x20"),),
        _labels(CONTROLLER, severity="warning"), "A component of MetalLB on 10.0.0.1:9120 has no configuration",
    ),
    (
        "MetalLBAddressPoolExhausted", 3,
        (
            (f'metallb_allocator_addresses_in_use_total{{{CONTROLLER}, pool="a"}}', "4x20"),
            (f'metallb_allocator_addresses_total{{{CONTROLLER}, pool="a"}}', "4x20"),
            (f'metallb_allocator_addresses_in_use_total{{{CONTROLLER}, pool="lab-1"}}', "4x20"),
            (f'metallb_allocator_addresses_total{{{CONTROLLER}, pool="lab-1"}}', "4x20"),
        ),
        _labels(CONTROLLER, pool="a", severity="critical"), "Pool a has no address left",
    ),
    (
        "MetalLBAddressPoolUsage85Percent", 1,
        (
            (f'metallb_allocator_addresses_in_use_total{{{CONTROLLER}, pool="a"}}', "86x20"),
            (f'metallb_allocator_addresses_total{{{CONTROLLER}, pool="a"}}', "100x20"),
            (f'metallb_allocator_addresses_in_use_total{{{CONTROLLER}, pool="b"}}', "85x20"),
            (f'metallb_allocator_addresses_total{{{CONTROLLER}, pool="b"}}', "100x20"),
        ),
        _labels(CONTROLLER, pool="a", severity="warning"), "Pool a is more than 85% in use",
    ),
    (
        "MetalLBBGPSessionDown", 3, ((f'metallb_bgp_session_up{{{SPEAKER}, peer="192.0.2.1:179"}}', "1 0x20"),),
        _labels(SPEAKER, peer="192.0.2.1:179", severity="critical"), "The BGP session with 192.0.2.1:179 is down",
    ),
    (
        "MetalLBBGPSessionDown", 3, ((f'frrk8s_bgp_session_up{{{SPEAKER}, peer="192.0.2.1", vrf="default"}}', "1 0x20"),),
        _labels(SPEAKER, peer="192.0.2.1", vrf="default", severity="critical"), "The BGP session with 192.0.2.1 is down",
    ),
    (
        "MetalLBServiceNotAnnounced", 7, ((f'metallb_services_not_announced{{{CONTROLLER}, reason="N201"}}', "2x20"),),
        _labels(CONTROLLER, reason="N201", severity="warning"), "2 Services have an address that no node announces (N201)",
    ),
    (
        "MetalLBAddressConflict", 3, ((f'metallb_speaker_address_conflicts_total{{{SPEAKER}, ip="198.51.100.1"}}', "_ _ 1x20"),),
        _labels(SPEAKER, ip="198.51.100.1", severity="critical"), "Another station claims 198.51.100.1",
    ),
    (
        "MetalLBAddressConflict", 15, ((f'metallb_speaker_address_conflicts_total{{{SPEAKER}, ip="198.51.100.1"}}', "1x12 2x8"),),
        _labels(SPEAKER, ip="198.51.100.1", severity="critical"), "Another station claims 198.51.100.1",
    ),
)  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=f"{row[0]}-{re.split('[_{]', row[2][0][0])[0]}-{row[1]}m") for row in FIRES],
)
def test_alert_fires(
    promtool: str,
    groups: Node,
    tmp_path: pathlib.Path,
    row: tuple[str, int, tuple[tuple[str, str], ...], dict[str, str], str],
) -> None:
    name, minutes, series, labels, summary = row
    (rule,) = (rule for rule in groups["groups"][0]["rules"] if rule["alert"] == name)
    # Its description is compared with what its template gives, which promtool only shows; so it is the summary that is written out.
    words = rule["annotations"]["description"]
    for label, value in labels.items():
        words = words.replace(f"{{{{ $labels.{label} }}}}", value)
    words = words.replace('{{ $value | printf "%.1f" }}', "86.0")
    expected = [{"exp_labels": labels, "exp_annotations": {"summary": summary, "description": words}}]
    checks = [{"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": expected}]
    _run(promtool, tmp_path, groups, [{"interval": "1m", "input_series": _series(*series), "alert_rule_test": checks}])


def test_every_alert_is_seen_firing(groups: Node) -> None:
    alerts = {re.sub(r"\d+Percent", "", rule["alert"]) for rule in groups["groups"][0]["rules"]}
    assert alerts == {re.sub(r"\d+Percent", "", row[0]) for row in FIRES}


def test_claims_of_long_ago_are_over(promtool: str, groups: Node, tmp_path: pathlib.Path) -> None:
    series = ((f'metallb_speaker_address_conflicts_total{{{SPEAKER}, ip="198.51.100.1"}}', "1x40"),)
    checks = [{"eval_time": "30m", "alertname": "MetalLBAddressConflict", "exp_alerts": []}]
    _run(promtool, tmp_path, groups, [{"interval": "1m", "input_series": _series(*series), "alert_rule_test": checks}])


# What is exported

SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture(scope="module")
def exported() -> set[str]:
    """The names of the series of both components."""
    registry = metrics.Registry()
    instruments.Instruments(registry)
    collectors = prometheus_client.CollectorRegistry()
    controller_gauges.Metrics(collectors, dict)
    collectors.register(controller_gauges.NotAnnounced(dict))
    speaker_gauges.Metrics(collectors, "node")
    bgp_gauges.Sessions(collectors)
    families = [*registry.collectors.collect(), *collectors.collect()]
    names = {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))}
    return names | {f"metallb_bfd_{name}" for name, _ in bgp_gauges.BFD_COUNTERS} | {"metallb_bfd_session_up"}


def _asked(expression: str) -> set[str]:
    """The series that an expression names; FRR-K8s's count as ours, whose names they share but for the beginning."""
    return set(re.findall(r"\bmetallb_\w+", expression.replace("(metallb|frrk8s)_", "metallb_")))


def test_alerts_ask_for_what_is_exported(groups: Node, exported: set[str]) -> None:
    asked = {name for rule in groups["groups"][0]["rules"] for name in _asked(rule["expr"])}
    assert asked <= exported
    assert len(asked) >= 7


def test_dashboard_asks_for_what_is_exported(exported: set[str]) -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    asked = {name for panel in panels for target in panel["targets"] for name in _asked(target["expr"])}
    asked |= {name for variable in dashboard["templating"]["list"] for name in _asked(json.dumps(variable))}
    assert asked <= exported
    assert all(_asked(target["expr"]) for panel in panels for target in panel["targets"])


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_dashboards_queries_are_promql(promtool: str, tmp_path: pathlib.Path) -> None:
    """As recording rules, with the variables filled in, for promtool reads rules alone."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = [target["expr"].replace("$job", ".*") for panel in panels for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(expressions)]
    _run(promtool, tmp_path, {"groups": [{"name": "dashboard", "rules": rules}]}, [])
