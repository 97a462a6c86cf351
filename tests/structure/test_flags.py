"""The flags and environment variables that MetalLB's chart and manifests give to controller and speaker, read by ours."""

from typing import Any

import pytest

from metallb_controller import flags as controller
from metallb_core.runtime import settings
from metallb_speaker import flags as speaker

SHARED = (
    "--port=9120",
    "--log-level=all",
    "--pprof-bind-address=:6060",
    "--health-probe-port=17472",
    "--lb-class=c",
    "--pod-name=p",
)
TLS = (
    "--tls-min-version=VersionTLS12",
    "--tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "--tls-curve-preferences=29",
)
FILES = ("--namespace=n", "--metrics-cert-dir=/d")
CONTROLLER = (
    *SHARED, *TLS, *FILES, "--ml-secret-name=s", "--deployment=d", "--disable-cert-rotation", "--cert-dir=/c", "--cert-service-name=w",
    "--webhook-mode=enabled", "--webhook-secret=x", "--webhook-http2=false",
)  # fmt: skip
SPEAKER = (
    *SHARED, *TLS, *FILES, "--bgp-debounce-timeout=3000", "--host=192.0.2.1", "--ml-bindaddr=192.0.2.1", "--ml-bindport=7946",
    "--ml-labels=app=x", "--ml-secret-key-path=/k", "--ml-wan-config", "--node-name=n1", "--ignore-exclude-lb",
)  # fmt: skip
CASES = [
    *(pytest.param(controller.ALL, each, id=f"controller {each}") for each in CONTROLLER),
    *(pytest.param(speaker.ALL, each, id=f"speaker {each}") for each in SPEAKER),
]
VARIABLES = [
    pytest.param(controller.ALL, controller.NAMESPACE, "METALLB_NAMESPACE", id="controller namespace"),
    pytest.param(controller.ALL, controller.ML_SECRET_NAME, "METALLB_ML_SECRET_NAME", id="secret"),
    pytest.param(controller.ALL, controller.DEPLOYMENT, "METALLB_DEPLOYMENT", id="deployment"),
    pytest.param(controller.ALL, controller.POD_NAME, "METALLB_POD_NAME", id="controller pod"),
    pytest.param(speaker.ALL, speaker.NAMESPACE, "METALLB_NAMESPACE", id="speaker namespace"),
    pytest.param(speaker.ALL, speaker.HOST, "METALLB_HOST", id="host"),
    pytest.param(speaker.ALL, speaker.ML_BIND_ADDRESS, "METALLB_ML_BIND_ADDR", id="bind address"),
    pytest.param(speaker.ALL, speaker.ML_LABELS, "METALLB_ML_LABELS", id="labels"),
    pytest.param(speaker.ALL, speaker.ML_SECRET_KEY_PATH, "METALLB_ML_SECRET_KEY_PATH", id="key"),
    pytest.param(speaker.ALL, speaker.NODE_NAME, "METALLB_NODE_NAME", id="node"),
    pytest.param(speaker.ALL, speaker.POD_NAME, "METALLB_POD_NAME", id="speaker pod"),
]


@pytest.mark.parametrize(("known", "given"), CASES)
def test_a_flag_of_metallb_is_taken(known: tuple[Any, ...], given: str) -> None:
    settings.parse_or_exit(known, [given], {})


@pytest.mark.parametrize(("known", "setting", "variable"), VARIABLES)
def test_a_variable_of_metallb_is_read(known: tuple[Any, ...], setting: Any, variable: str) -> None:
    assert settings.parse(known, [], {variable: "said"})[setting] == "said"


@pytest.mark.parametrize("known", [controller.ALL, speaker.ALL], ids=["controller", "speaker"])
@pytest.mark.parametrize("mode", ["frr", "frr-k8s"])
def test_a_back_end_that_is_not_there_ends_the_process(
    known: tuple[Any, ...], mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rather than advertise nothing."""
    assert settings.parse(known, [], {"METALLB_BGP_TYPE": "native"})
    with pytest.raises(SystemExit) as caught:
        settings.parse_or_exit(known, [], {"METALLB_BGP_TYPE": mode})
    assert caught.value.code == 1
    assert "native" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["--frrk8s-namespace=frr", "--frrk8s-secret-passthrough"])
def test_flags_of_frr_k8s_end_the_process(given: str) -> None:
    with pytest.raises(SystemExit) as caught:
        settings.parse_or_exit(speaker.ALL, [given], {})
    assert caught.value.code != 0
