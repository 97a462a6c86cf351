"""The rights of the installation against what all the tests before made it do: nothing is refused, and nothing is granted for nothing.

The API server of the lab notes every request of a service account. This runs when everything else was tried, and before the installation ends,
since while it is removed its pods outlive their rights for a moment.
"""

import dataclasses
import json
from collections.abc import Callable

import pytest

from demo import steps, workload
from lab import audit, cluster

NAMESPACE = workload.CHART_NAMESPACE
CONTROLLER, SPEAKER = "metallb-controller", "metallb-speaker"
BEFORE = ("installation", "allocation", "layer2", "failover", "controller", "access", "bgp")
"""The files whose tests together make the components do all that they can."""
Tell = Callable[[str], None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Excuse:
    """A right that need not have been used, and why it is there all the same."""

    account: str
    verb: str
    resource: str
    why: str


EXCUSES = (
    Excuse(
        account=CONTROLLER,
        verb="create",
        resource="validatingwebhookconfigurations.admissionregistration.k8s.io",
        why="the API server asks for it too when an apply makes the object; the log has the apply alone",
    ),
    Excuse(
        account=CONTROLLER,
        verb="create",
        resource="configurationstates.metallb.io",
        why="the API server asks for it too when an apply makes the object; the log has the apply alone",
    ),
    Excuse(
        account=SPEAKER,
        verb="create",
        resource="configurationstates.metallb.io",
        why="the API server asks for it too when an apply makes the object; the log has the apply alone",
    ),
    Excuse(
        account=CONTROLLER,
        verb="delete",
        resource="validatingwebhookconfigurations.admissionregistration.k8s.io",
        why="what another version registered is removed first; nothing was installed before",
    ),
    Excuse(
        account=CONTROLLER,
        verb="patch",
        resource="events",
        why="the same Event once more raises its count; a controller says most things once",
    ),
)


@pytest.fixture(scope="module")
def requests(lab: cluster.Cluster, do: steps.Steps) -> list[audit.Request]:
    """What our accounts asked for since the cluster began."""
    found = [each for each in audit.requests(lab.log("audit")) if each.account.startswith(f"{NAMESPACE}:")]
    assert {each.account for each in found} >= {f"{NAMESPACE}:{CONTROLLER}", f"{NAMESPACE}:{SPEAKER}"}
    return found


@pytest.fixture(scope="module")
def rights(lab: cluster.Cluster, do: steps.Steps) -> set[audit.Right]:
    """What our accounts may do."""

    def items(kinds: str) -> list[dict[str, object]]:
        listed: list[dict[str, object]] = json.loads(lab.kubectl("get", kinds, "--all-namespaces", "--output=json"))[
            "items"
        ]
        return listed

    roles, bindings = items("clusterroles,roles"), items("clusterrolebindings,rolebindings")
    return set(audit.rights(roles, bindings, NAMESPACE))


def test_no_request_lacked_a_right(requests: list[audit.Request], rights: set[audit.Right], tell: Tell) -> None:
    """An API server that was just started answers before it has read its roles, and refuses what they allow; that is no right we lack."""
    refused = [each for each in requests if each.code == 403]
    tell(f"requests to the API server by the components so far: {len(requests)}, refused: {len(refused)}")
    for each in refused:
        tell(f"refused: {each}")
    assert sorted({str(each) for each in refused if not any(right.serves(each) for right in rights)}) == []
    # It does so for a moment, and each of our watches may ask once or twice meanwhile: refusals are of one moment, or something else is wrong.
    assert max((each.at for each in refused), default=0.0) - min((each.at for each in refused), default=0.0) < 30


def test_no_right_went_unused(
    request: pytest.FixtureRequest, requests: list[audit.Request], rights: set[audit.Right], tell: Tell
) -> None:
    """A right that the tests before did not need has an excuse, or goes from the chart."""
    ran = {item.path.stem for item in request.session.items}
    if missing := [name for name in BEFORE if f"test_e2e_{name}" not in ran]:
        pytest.skip(f"left out of this run: {', '.join(missing)}")
    # There are tens of thousands, most of them alike.
    asked = {dataclasses.replace(each, code=0, reason="", at=0.0) for each in requests}
    unused = [right for right in rights if not any(right.serves(each) for each in asked)]
    excused = {(f"{NAMESPACE}:{excuse.account}", excuse.verb, excuse.resource) for excuse in EXCUSES}
    for right in sorted(unused, key=str):
        tell(f"right that nothing used: {right}")
    assert [str(right) for right in unused if (right.account, right.verb, right.resource) not in excused] == []


def test_every_excuse_is_for_a_right(rights: set[audit.Right]) -> None:
    held = {(right.account, right.verb, right.resource) for right in rights}
    for excuse in EXCUSES:
        assert (f"{NAMESPACE}:{excuse.account}", excuse.verb, excuse.resource) in held, excuse


def test_no_right_is_given_twice(rights: set[audit.Right]) -> None:
    assert [f"{one} gives {other}" for one in rights for other in rights if one != other and one.includes(other)] == []
