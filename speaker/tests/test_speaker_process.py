"""The whole speaker as a process of its own, against the fake API server: it starts, says what keeps it, and ends in order.

No link is usable for it (every name is excluded by the settings it runs with), so it announces to nobody.
"""

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from metallb_core.testing import fake_apiserver, kubeconfigs

NAMESPACE = "metallb-system"
pytestmark = pytest.mark.slow
METALLB = "metallb.io"
STARTING = """
import pathlib, sys
from metallb_speaker.layer2 import exclusions
exclusions.load = lambda: (".*",)
from metallb_speaker import main
sys.exit(main.main())
"""


class Speaker:
    """A running speaker and what it logs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self._reader = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            with contextlib.suppress(ValueError):
                self.lines.append(json.loads(line))

    async def wait_logged(self, text: str) -> dict[str, Any]:
        """The first line whose message is `text`."""
        async with asyncio.timeout(20):
            while True:
                for line in self.lines:
                    if line["msg"] == text:
                        return line
                await asyncio.sleep(0.02)

    async def stop(self) -> int:
        """As the kubelet does; the exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(self.process.wait(), 20)
        await self._reader
        return status


@contextlib.asynccontextmanager
async def running(server: str, folder: pathlib.Path, **environment: str) -> AsyncIterator[Speaker]:
    """A speaker on node n1."""
    kubeconfig = kubeconfigs.write(folder, server)
    arguments = [
        "--node-name=n1",
        f"--namespace={NAMESPACE}",
        "--port=0",
        "--health-probe-port=0",
        f"--kubeconfig={kubeconfig}",
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        STARTING,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **environment},
    )
    speaker = Speaker(process)
    try:
        yield speaker
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await speaker.stop()


@pytest.fixture
async def server() -> AsyncIterator[fake_apiserver.FakeApiServer]:
    async with fake_apiserver.FakeApiServer(bookmark_seconds=0.5) as one:
        one.put("", "nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})
        yield one


def status(node: str, service: str) -> dict[str, Any]:
    labels = {
        "metallb.io/node": node,
        "metallb.io/service-name": service,
        "metallb.io/service-namespace": "default",
    }
    return {
        "apiVersion": "metallb.io/v1beta1",
        "kind": "ServiceL2Status",
        "metadata": {"name": f"l2-{node}-{service}", "namespace": NAMESPACE, "labels": labels},
        "status": {"node": node, "serviceName": service, "serviceNamespace": "default"},
    }


async def test_a_stop_is_in_order(server: fake_apiserver.FakeApiServer, tmp_path: pathlib.Path) -> None:
    environment = {"METALLB_ML_BIND_ADDR": "127.0.0.77", "METALLB_ML_BIND_PORT": "17977", "METALLB_ML_LABELS": "app=x"}
    async with running(server.url, tmp_path, **environment) as speaker:
        await speaker.wait_logged("members")
        assert await speaker.stop() == 0
        assert [line for line in speaker.lines if line["level"] == "error"] == []


async def test_what_it_said_before_a_restart_stays_until_it_is_known_what_is_right(
    server: fake_apiserver.FakeApiServer, tmp_path: pathlib.Path
) -> None:
    server.put(METALLB, "servicel2statuses", status("n1", "gone"))
    server.put(METALLB, "servicel2statuses", status("n2", "other"))
    # A peer that cannot be reached: membership's word counts only after a few seconds.
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": NAMESPACE, "labels": {"app": "x"}}}
    server.put("", "pods", {**pod, "status": {"podIP": "127.0.0.79"}})
    environment = {"METALLB_ML_BIND_ADDR": "127.0.0.78", "METALLB_ML_BIND_PORT": "17978", "METALLB_ML_LABELS": "app=x"}
    async with running(server.url, tmp_path, **environment) as speaker:
        await asyncio.sleep(1.0)
        assert server.get(METALLB, "servicel2statuses", "l2-n1-gone", NAMESPACE) is not None
        await speaker.wait_logged("members")
        async with asyncio.timeout(10):
            while server.get(METALLB, "servicel2statuses", "l2-n1-gone", NAMESPACE) is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert server.get(METALLB, "servicel2statuses", "l2-n2-other", NAMESPACE) is not None


async def test_an_absent_server_is_told(tmp_path: pathlib.Path) -> None:
    async with running("http://127.0.0.1:9", tmp_path) as speaker:
        told = await speaker.wait_logged("cannot be followed; what is known stays in force")
        assert "127.0.0.1:9" in told["problem"]
        assert await speaker.stop() == 0


async def test_a_key_that_comes_late_is_waited_for(
    server: fake_apiserver.FakeApiServer, tmp_path: pathlib.Path
) -> None:
    environment = {
        "METALLB_ML_BIND_ADDR": "127.0.0.76",
        "METALLB_ML_BIND_PORT": "17976",
        "METALLB_ML_LABELS": "app=x",
        "METALLB_ML_SECRET_KEY_PATH": str(tmp_path / "secret"),
    }
    async with running(server.url, tmp_path, **environment) as speaker:
        await speaker.wait_logged("cannot read the membership key; waiting for it")
        (tmp_path / "secret").mkdir()
        (tmp_path / "secret" / "secretkey").write_text("key")
        await speaker.wait_logged("members")
