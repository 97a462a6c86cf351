"""What the wire structs promise beyond their fields: secrets stay out of sight, conditions are written whole and read whatever they lack."""

import msgspec
import pytest

from metallb_core.api import kubernetes, meta, v1beta1, v1beta2, workloads
from metallb_core.kube import resources


def test_a_secret_is_never_shown() -> None:
    text = b'{"metadata": {"name": "s"}, "type": "kubernetes.io/basic-auth", "data": {"password": "b3BlbiBzZXNhbWU="}}'
    secret = msgspec.json.decode(text, type=workloads.Secret)
    assert secret.data == {"password": "b3BlbiBzZXNhbWU="}
    assert "b3Blb" not in repr(secret)
    assert "data=..." in repr(secret)
    assert "kubernetes.io/basic-auth" in repr(secret)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("{}", meta.Condition(), id="nothing"),
        pytest.param('{"type": "a", "lastTransitionTime": null}', meta.Condition(type="a"), id="null-time"),
        pytest.param(
            '{"type": "a", "status": "True", "observedGeneration": 3, "lastTransitionTime": "2026-01-01T00:00:00Z",'
            ' "reason": "R", "message": "m", "more": 1}',
            meta.Condition(
                type="a",
                status="True",
                observed_generation=3,
                last_transition_time="2026-01-01T00:00:00Z",
                reason="R",
                message="m",
            ),
            id="all",
        ),
    ],
)
def test_conditions_of_a_service_are_read(text: str, expected: meta.Condition) -> None:
    wire = msgspec.json.decode(
        f'{{"metadata": {{"name": "web"}}, "status": {{"conditions": [{text}]}}}}', type=kubernetes.Service
    )
    assert wire.status.conditions == [expected]


def test_a_condition_is_written_whole() -> None:
    written = msgspec.to_builtins(meta.Condition(type="a", status="True"))
    assert written == {
        "type": "a",
        "status": "True",
        "observedGeneration": 0,
        "lastTransitionTime": None,
        "reason": "",
        "message": "",
    }


@pytest.mark.parametrize(
    ("resource", "path", "wire"),
    [
        (resources.BGP_PEERS, "/apis/metallb.io/v1beta2/bgppeers", v1beta2.BGPPeer),
        (resources.BGP_ADVERTISEMENTS, "/apis/metallb.io/v1beta1/bgpadvertisements", v1beta1.BGPAdvertisement),
        (resources.BFD_PROFILES, "/apis/metallb.io/v1beta1/bfdprofiles", v1beta1.BFDProfile),
        (resources.COMMUNITIES, "/apis/metallb.io/v1beta1/communities", v1beta1.Community),
        (resources.SERVICE_BGP_STATUSES, "/apis/metallb.io/v1beta1/servicebgpstatuses", v1beta1.ServiceBGPStatus),
        (resources.CONFIGURATION_STATES, "/apis/metallb.io/v1beta1/configurationstates", v1beta1.ConfigurationState),
    ],
    ids=lambda value: value.kind if isinstance(value, resources.Resource) else "",
)
def test_where_kinds_are_kept(resource: resources.Resource[object, object, object], path: str, wire: type) -> None:  # type: ignore[type-var]
    assert resource.path() == path
    assert resource.wire is wire
    assert resource.kind == wire.__name__
