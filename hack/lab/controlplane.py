"""The command lines of etcd and kube-apiserver, their credentials, and how to tell that they serve.

Rules: one place says how the API server is started, so that the light one of the tests and the lab's answer alike.
Clients authenticate with static bearer tokens: no signing request, no controller, no wait. What differs between the
two uses (addresses, networks, state) is in `Settings`; everything else is fixed here.
"""

from __future__ import annotations

import dataclasses
import json
import secrets
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lab import pki, processes

READY_POLL_SECONDS = 0.05
ADMIN = "admin"
# What programs in pods asked for, and the answer's code; the first rule that fits counts. Kubernetes' own are in kube-system.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "omitManagedFields": True,
    "rules": [
        {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
        {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
        {"level": "None"},
    ],
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user behind a bearer token."""

    user: str
    groups: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where one control plane lives.

    `address` is what clients dial and what the API server binds; `service_ranges` are CIDRs, IPv4 first. `identities`
    maps a short name (also the name of the token's kubeconfig) to a user. `audit_log`, if set, gets a line of JSON for each
    request of a service account.
    """

    directory: Path
    etcd_data: Path
    address: str
    api_port: int
    etcd_port: int
    etcd_peer_port: int
    service_ranges: tuple[str, ...]
    identities: Mapping[str, Identity]
    alternatives: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    audit_log: Path | None = None

    @property
    def url(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    @property
    def authority_file(self) -> Path:
        return self.directory / "pki" / "ca.crt"

    @property
    def audit_policy(self) -> Path:
        return self.directory / "audit-policy.json"

    def kubeconfig(self, name: str) -> Path:
        return self.directory / f"{name}.kubeconfig"

    def token(self, name: str) -> str:
        return (self.directory / "tokens" / name).read_text()


def prepare(settings: Settings) -> None:
    """Write certificates, tokens and kubeconfigs. What exists already is kept, so that a restart keeps clients."""
    authority = pki.Authority(settings.directory / "pki")
    if not (settings.directory / "pki" / "apiserver.crt").exists():
        first_service = settings.service_ranges[0].split("/")[0].rsplit(".", 1)[0] + ".1"
        authority.issue(
            "apiserver",
            common_name="kube-apiserver",
            alternatives=[
                "DNS:localhost",
                "DNS:kubernetes",
                "DNS:kubernetes.default",
                "DNS:kubernetes.default.svc",
                "DNS:kubernetes.default.svc.cluster.local",
                "IP:127.0.0.1",
                f"IP:{first_service}",
                *settings.alternatives,
            ],
        )
        authority.issue("kubelet-client", common_name="kube-apiserver-kubelet-client", organisation="system:masters")
        authority.signing_key("service-accounts")
    if settings.audit_log is not None:
        settings.audit_policy.write_text(json.dumps(AUDIT_POLICY))
    tokens = settings.directory / "tokens"
    tokens.mkdir(exist_ok=True, mode=0o700)
    lines = []
    for name, identity in settings.identities.items():
        path = tokens / name
        if not path.exists():
            path.write_text(secrets.token_hex(16))
        groups = ",".join(identity.groups)
        lines.append(f'{path.read_text()},{identity.user},{name},"{groups}"\n')
        settings.kubeconfig(name).write_text(_kubeconfig(settings, path.read_text(), name))
        settings.kubeconfig(name).chmod(0o600)
    (settings.directory / "tokens.csv").write_text("".join(lines))


def _kubeconfig(settings: Settings, token: str, name: str) -> str:
    # JSON is YAML, and every client reads it.
    cluster = {"server": settings.url, "certificate-authority": str(settings.authority_file)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "lab",
        "clusters": [{"name": "lab", "cluster": cluster}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": name}}],
    }
    return json.dumps(document, indent=1) + "\n"


def etcd_argv(binary: Path, settings: Settings) -> list[str]:
    """etcd without fsync: its data is lost with the machine, and the lab with it."""
    client = f"http://127.0.0.1:{settings.etcd_port}"
    peer = f"http://127.0.0.1:{settings.etcd_peer_port}"
    return [
        str(binary),
        f"--data-dir={settings.etcd_data}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync=true",
        "--log-level=warn",
    ]


def apiserver_argv(binary: Path, settings: Settings) -> list[str]:
    keys = settings.directory / "pki"
    audit = []
    if settings.audit_log is not None:
        # One file, however large: it goes with the lab.
        audit = [
            f"--audit-policy-file={settings.audit_policy}",
            f"--audit-log-path={settings.audit_log}",
            "--audit-log-maxsize=10000",
        ]
    return [
        str(binary),
        f"--etcd-servers=http://127.0.0.1:{settings.etcd_port}",
        f"--bind-address={settings.address}",
        f"--advertise-address={settings.address}",
        f"--secure-port={settings.api_port}",
        f"--cert-dir={settings.directory}",
        f"--tls-cert-file={keys / 'apiserver.crt'}",
        f"--tls-private-key-file={keys / 'apiserver.key'}",
        f"--client-ca-file={keys / 'ca.crt'}",
        f"--token-auth-file={settings.directory / 'tokens.csv'}",
        f"--kubelet-client-certificate={keys / 'kubelet-client.crt'}",
        f"--kubelet-client-key={keys / 'kubelet-client.key'}",
        f"--service-account-key-file={keys / 'service-accounts.pub'}",
        f"--service-account-signing-key-file={keys / 'service-accounts.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-cluster-ip-range={','.join(settings.service_ranges)}",
        # A node is dialled by address: no resolver knows its name.
        "--kubelet-preferred-address-types=InternalIP",
        "--authorization-mode=Node,RBAC",
        "--allow-privileged=true",
        # Webhooks are dialled at their pods, through the lab's routes: no kube-proxy is needed beside the API server.
        "--enable-aggregator-routing=true",
        "--profiling=false",
        *audit,
        *settings.arguments,
    ]


def free_ports(count: int, address: str = "127.0.0.1") -> list[int]:
    """Ports that nothing listened on a moment ago, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind((address, 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def http_status(url: str, authority: Path | None = None, token: str | None = None, timeout: float = 5.0) -> int | None:
    """The status of a GET, or None when nothing answered. Proxy settings of the environment do not apply."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    try:
        if authority is not None:
            context = ssl.create_default_context(cafile=str(authority))
            handlers.append(urllib.request.HTTPSHandler(context=context))
        with urllib.request.build_opener(*handlers).open(request, timeout=timeout) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except (OSError, ValueError):
        return None


def wait_ready(name: str, probe: Callable[[], bool], running: Sequence[processes.Process], seconds: float) -> None:
    """Wait until `probe` is true. Raises ProcessError at the deadline, or as soon as a needed process has ended."""
    deadline = time.monotonic() + seconds
    while not probe():
        for process in running:
            if not process.alive():
                raise processes.ProcessError(f"{process.name} ended:\n{process.log_tail()}")
        if time.monotonic() >= deadline:
            tails = "\n".join(f"-- {process.name}\n{process.log_tail()}" for process in running)
            raise processes.ProcessError(f"{name} is not ready after {seconds:.0f} s\n{tails}")
        time.sleep(READY_POLL_SECONDS)


def wait_etcd(settings: Settings, process: processes.Process, seconds: float = 60.0) -> None:
    """Wait until etcd has a leader and serves."""
    url = f"http://127.0.0.1:{settings.etcd_port}/health"
    wait_ready("etcd", lambda: http_status(url) == 200, [process], seconds)


def wait_apiserver(settings: Settings, running: Sequence[processes.Process], seconds: float = 120.0) -> None:
    """Wait for `/readyz`, which includes the bootstrap of roles, priority classes and the default namespaces."""
    token = settings.token(ADMIN)
    wait_ready(
        "kube-apiserver",
        lambda: http_status(settings.url + "/readyz", settings.authority_file, token) == 200,
        running,
        seconds,
    )
