"""The API server that integration tests use: it starts, keeps data over a power cut, and dies with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import apiserver, controlplane

pytestmark = [pytest.mark.apiserver, pytest.mark.timeout(300)]

OWNER = """
import os, signal
from lab import apiserver
server = apiserver.ApiServer().start()
print(server.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[apiserver.ApiServer]:
    reader = {"reader": controlplane.Identity(user="reader", groups=("readers",))}
    with apiserver.ApiServer(identities=reader) as running:
        yield running


def test_it_serves_the_default_namespace(server: apiserver.ApiServer) -> None:
    assert server.kubectl("get", "namespace", "default", "--output=name").strip() == "namespace/default"


def test_services_are_dual_stack(server: apiserver.ApiServer) -> None:
    manifest = (
        '{"apiVersion":"v1","kind":"Service","metadata":{"name":"two"},'
        '"spec":{"ipFamilyPolicy":"RequireDualStack","ports":[{"port":80}]}}'
    )
    server.kubectl("apply", "--filename=-", input=manifest)
    assert server.kubectl("get", "service", "two", "--output=jsonpath={.spec.ipFamilies}") == '["IPv4","IPv6"]'


def test_data_and_credentials_outlive_a_power_cut(server: apiserver.ApiServer) -> None:
    server.kubectl("create", "configmap", "kept")
    server.kill_apiserver()
    with pytest.raises(subprocess.CalledProcessError):
        server.kubectl("get", "configmap", "kept")
    server.start_apiserver()
    assert server.kubectl("get", "configmap", "kept", "--output=name").strip() == "configmap/kept"


def test_another_identity_has_no_rights(server: apiserver.ApiServer) -> None:
    status = controlplane.http_status(
        f"{server.url}/api/v1/namespaces/default/secrets", server.ca_file, server.token_for("reader")
    )
    assert status == 403


def test_errors_carry_what_kubectl_said(server: apiserver.ApiServer) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        server.kubectl("get", "configmap", "absent")
    assert "not found" in caught.value.__notes__[0]


def test_it_dies_with_its_owner() -> None:
    hack = Path(apiserver.__file__).resolve().parent.parent
    owner = subprocess.run(
        [sys.executable, "-c", OWNER],
        env={**os.environ, "PYTHONPATH": str(hack)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert owner.returncode == -signal.SIGKILL, owner.stderr
    directory = owner.stdout.strip()
    deadline = time.monotonic() + 10

    def remains() -> bool:
        commands = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
        return directory in commands or Path(directory).exists()

    while remains():
        assert time.monotonic() < deadline, f"{directory} is still in use"
        time.sleep(0.05)
