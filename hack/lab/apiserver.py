"""etcd and kube-apiserver alone, on loopback: what integration tests and benchmarks of API clients need.

    from lab import apiserver

    with apiserver.ApiServer() as server:
        server.kubectl("apply", "-f", "charts/metallb/crds")
        client = make_client(server.url, token=server.token, ca=server.ca_file)   # or KUBECONFIG=server.kubeconfig
        server.kill_apiserver()            # power cut: watches break in the middle
        server.start_apiserver()           # same port, same data, same credentials
        server.restart_apiserver()         # both in one

Rules:
- Real programs, random free ports, data in memory (/dev/shm), credentials of its own: any number run side by side.
- No controller manager: namespaces are not finalised, nothing is garbage collected, no service account appears by
  itself. The ServiceAccount admission plugin is off, so pods can be created all the same.
- The pair dies with its owner, however that dies: all processes share one process group with a shell that waits for
  the end of a pipe whose only other end is in this process.
- No retry hides a failed start, except the one for a port that somebody else took in between.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import controlplane, kubectl, processes
from tools import build

START_ATTEMPTS = 3

# Argument 1 is the directory. `kill 0` ends the whole process group, the shell last.
_LIFELINE = 'cat >/dev/null; rm -rf "$1"; kill -KILL 0'


class ApiServer:
    """A throw-away API server. Sync and blocking; use it as a context manager, or call `start` and `stop`.

    Attributes after `start`: `url`, `port`, `token` (user in system:masters), `ca_file`, `kubeconfig`, `directory`
    (logs in `logs/`). `identities` adds users; each gets `kubeconfig_for(name)` and `token_for(name)`. `arguments` are
    appended to kube-apiserver's.
    """

    def __init__(
        self,
        *,
        arguments: Sequence[str] = (),
        identities: Mapping[str, controlplane.Identity] | None = None,
        service_ranges: tuple[str, ...] = ("10.96.0.0/16", "fd00:10:96::/112"),
    ) -> None:
        self._arguments = tuple(arguments)
        self._identities = {
            controlplane.ADMIN: controlplane.Identity(user="kubernetes-admin", groups=("system:masters",)),
            **(identities or {}),
        }
        self._service_ranges = service_ranges
        self._settings: controlplane.Settings | None = None
        self._etcd: processes.Process | None = None
        self._apiserver: processes.Process | None = None
        self._lifeline: processes.Process | None = None
        self._lifeline_end: int | None = None
        self._kubectl: Path | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def settings(self) -> controlplane.Settings:
        if self._settings is None:
            raise processes.ProcessError("the API server is not started")
        return self._settings

    @property
    def directory(self) -> Path:
        return self.settings.directory

    @property
    def url(self) -> str:
        return self.settings.url

    @property
    def port(self) -> int:
        return self.settings.api_port

    @property
    def token(self) -> str:
        return self.settings.token(controlplane.ADMIN)

    @property
    def ca_file(self) -> Path:
        return self.settings.authority_file

    @property
    def kubeconfig(self) -> Path:
        return self.settings.kubeconfig(controlplane.ADMIN)

    def token_for(self, name: str) -> str:
        return self.settings.token(name)

    def kubeconfig_for(self, name: str) -> Path:
        return self.settings.kubeconfig(name)

    def start(self) -> Self:
        """Start both programs and wait until `/readyz` says ok. Builds the programs when they are missing."""
        if self._settings is not None:
            return self
        binaries = build.ensure("etcd", "kubernetes/kube-apiserver", "kubernetes/kubectl")
        self._kubectl = binaries["kubectl"]
        for attempt in range(START_ATTEMPTS):
            try:
                self._start_once(binaries)
                return self
            except processes.ProcessError as error:
                self.stop()
                if "address already in use" not in str(error) or attempt == START_ATTEMPTS - 1:
                    raise
            except BaseException:
                self.stop()
                raise
        return self

    def _start_once(self, binaries: Mapping[str, Path]) -> None:
        memory = Path("/dev/shm")
        parent = memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())
        directory = Path(tempfile.mkdtemp(prefix="metallb-apiserver-", dir=parent))
        api_port, etcd_port, peer_port = controlplane.free_ports(3)
        self._settings = controlplane.Settings(
            directory=directory,
            etcd_data=directory / "etcd",
            address="127.0.0.1",
            api_port=api_port,
            etcd_port=etcd_port,
            etcd_peer_port=peer_port,
            service_ranges=self._service_ranges,
            identities=self._identities,
            # Nothing could reach the Endpoints of the Service `kubernetes`, and loopback is refused in them.
            arguments=(
                "--endpoint-reconciler-type=none",
                "--disable-admission-plugins=ServiceAccount",
                *self._arguments,
            ),
        )
        self._start_lifeline(directory)
        self._binaries = dict(binaries)
        self.start_etcd(wait=False)
        controlplane.prepare(self._settings)
        self.start_apiserver()

    def _start_lifeline(self, directory: Path) -> None:
        reader, writer = os.pipe()
        self._lifeline_end = writer
        os.set_inheritable(reader, True)
        try:
            argv: list[str | Path] = ["sh", "-c", f"exec <&{reader}; {_LIFELINE}", "lifeline", directory]
            self._lifeline = processes.start("lifeline", argv, directory / "logs" / "lifeline.log", process_group=0)
        finally:
            os.close(reader)

    def _spawn(self, name: str, argv: Sequence[str]) -> processes.Process:
        if self._lifeline is None:
            raise processes.ProcessError("the API server is not started")
        log = self.directory / "logs" / f"{name}.log"
        return processes.start(name, argv, log, process_group=self._lifeline.pid)

    def start_etcd(self, *, wait: bool = True) -> None:
        """Start etcd on its old port and data."""
        if self._etcd is None or not self._etcd.alive():
            self._etcd = self._spawn("etcd", controlplane.etcd_argv(self._binaries["etcd"], self.settings))
        if wait:
            controlplane.wait_etcd(self.settings, self._etcd)

    def kill_etcd(self) -> None:
        """Power cut for etcd; the API server stays and answers errors."""
        if self._etcd is not None:
            self._etcd.stop()

    def start_apiserver(self) -> None:
        """Start kube-apiserver on its old port and wait until it is ready. Running already is success."""
        self.start_etcd()
        if self._etcd is None:
            raise processes.ProcessError("etcd is not started")
        if self._apiserver is None or not self._apiserver.alive():
            argv = controlplane.apiserver_argv(self._binaries["kube-apiserver"], self.settings)
            self._apiserver = self._spawn("kube-apiserver", argv)
        controlplane.wait_apiserver(self.settings, [self._etcd, self._apiserver])

    def kill_apiserver(self) -> None:
        """Power cut for kube-apiserver: SIGKILL, its connections are reset. etcd keeps the data."""
        if self._apiserver is not None:
            self._apiserver.stop()

    def stop_apiserver(self, grace_seconds: float = 20.0) -> None:
        """The orderly way: SIGTERM; watches end, then the process."""
        if self._apiserver is not None:
            self._apiserver.stop(grace_seconds)

    def restart_apiserver(self) -> None:
        """Kill and start again. Resource versions continue, watch caches start empty."""
        self.kill_apiserver()
        self.start_apiserver()

    def kubectl(self, *arguments: str | Path, input: str | None = None) -> str:  # noqa: A002
        """Run kubectl as the administrator and return its output. Raises CalledProcessError with stderr in it."""
        if self._kubectl is None:
            raise processes.ProcessError("the API server is not started")
        return kubectl.run(self._kubectl, self.kubeconfig, *arguments, input=input)

    def stop(self) -> None:
        """End both programs and remove their data. Stopped already, or half started, is success."""
        for process in (self._apiserver, self._etcd, self._lifeline):
            if process is not None:
                process.stop()
        self._apiserver = self._etcd = self._lifeline = None
        if self._lifeline_end is not None:
            with contextlib.suppress(OSError):
                os.close(self._lifeline_end)
            self._lifeline_end = None
        if self._settings is not None:
            shutil.rmtree(self._settings.directory, ignore_errors=True)
            self._settings = None
