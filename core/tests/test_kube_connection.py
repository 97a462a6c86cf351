"""Who we are and where the server is, from what a pod or a kubeconfig says."""

import base64
import json
import os
import pathlib
import ssl
from typing import Any

import pytest

from metallb_core.kube import connection


def pod(tmp_path: pathlib.Path) -> pathlib.Path:
    for name, content in {"ca.crt": authority(), "token": "first\n", "namespace": "metallb-system"}.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def authority() -> str:
    """Any valid certificate."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2050))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("host", "server"),
    [
        pytest.param("10.96.0.1", "https://10.96.0.1:443", id="ipv4"),
        pytest.param("fd00::1", "https://[fd00::1]:443", id="ipv6"),
    ],
)
def test_a_pod_finds_its_server(tmp_path: pathlib.Path, host: str, server: str) -> None:
    environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
    found = connection.in_cluster(environ, pod(tmp_path))
    assert found.server == server
    assert found.namespace == "metallb-system"
    context = found.ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED


def test_outside_of_a_pod_says_what_is_missing(tmp_path: pathlib.Path) -> None:
    with pytest.raises(connection.InvalidConnectionError, match="KUBERNETES_SERVICE_HOST"):
        connection.in_cluster({}, tmp_path)
    environ = {"KUBERNETES_SERVICE_HOST": "a", "KUBERNETES_SERVICE_PORT": "443"}
    with pytest.raises(connection.InvalidConnectionError, match=r"ca\.crt is missing"):
        connection.in_cluster(environ, tmp_path)


def test_a_token_file_is_read_again_when_it_is_replaced(tmp_path: pathlib.Path) -> None:
    # The kubelet writes a folder beside the old one and swaps a link.
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(f"{name}\n")
    link = tmp_path / "token"
    link.symlink_to(tmp_path / "one" / "token")
    credentials = connection.TokenFile(link)
    assert credentials.authorization() == "Bearer one"
    (tmp_path / "next").symlink_to(tmp_path / "two" / "token")
    (tmp_path / "next").rename(link)
    assert credentials.authorization() == "Bearer two"


def test_a_token_file_that_vanishes_or_is_empty_leaves_the_last_token(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    credentials = connection.TokenFile(path)
    assert credentials.authorization() == "Bearer one"
    path.write_text("")
    assert credentials.authorization() == "Bearer one"
    path.unlink()
    assert credentials.authorization() == "Bearer one"


def test_an_invalidated_token_is_read_even_if_the_file_looks_unchanged(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    before = path.stat()
    credentials = connection.TokenFile(path)
    assert credentials.authorization() == "Bearer one"
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert credentials.authorization() == "Bearer one"
    credentials.invalidate()
    assert credentials.authorization() == "Bearer two"


def kubeconfig(**parts: Any) -> dict[str, Any]:
    cluster = {"server": "https://api.example:6443/", **parts.get("cluster", {})}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "main",
        "contexts": [
            {"name": "main", "context": {"cluster": "c", "user": "u", "namespace": "ns"}},
            {"name": "other", "context": {"cluster": "missing", "user": "u"}},
        ],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": parts.get("user", {})}],
    }


def written(tmp_path: pathlib.Path, document: dict[str, Any]) -> pathlib.Path:
    path = tmp_path / "config"
    path.write_text(json.dumps(document))
    return path


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_a_kubeconfig_with_a_token(tmp_path: pathlib.Path) -> None:
    path = written(
        tmp_path,
        kubeconfig(
            user={"token": "secret"},
            cluster={"certificate-authority-data": encoded(authority()), "tls-server-name": "api"},
        ),
    )
    found = connection.from_kubeconfig(path)
    assert found.server == "https://api.example:6443"
    assert found.namespace == "ns"
    assert found.server_name == "api"
    assert found.credentials.authorization() == "Bearer secret"
    context = found.ssl_context()
    assert context is not None
    assert len(context.get_ca_certs()) == 1


def test_a_kubeconfig_in_yaml_with_relative_files(tmp_path: pathlib.Path) -> None:
    import yaml

    (tmp_path / "ca.pem").write_text(authority())
    (tmp_path / "token").write_text("from-file")
    document = kubeconfig(user={"tokenFile": "token"}, cluster={"certificate-authority": "ca.pem"})
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(document))
    found = connection.from_kubeconfig(path)
    assert found.credentials.authorization() == "Bearer from-file"
    assert found.ssl_context() is not None


def test_a_kubeconfig_that_skips_verification(tmp_path: pathlib.Path) -> None:
    context = connection.from_kubeconfig(
        written(tmp_path, kubeconfig(cluster={"insecure-skip-tls-verify": True}))
    ).ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


@pytest.mark.parametrize(
    ("parts", "context", "message"),
    [
        pytest.param({}, "nowhere", "no context named 'nowhere'", id="context"),
        pytest.param({}, "other", "no cluster named 'missing'", id="cluster"),
        pytest.param({"cluster": {"server": ""}}, None, "has no server", id="server"),
        pytest.param({"user": {"username": "a", "password": "b"}}, None, "not accepted", id="password"),
        pytest.param({"user": {"as": "admin"}}, None, "as is not supported", id="impersonation"),
        pytest.param({"cluster": {"proxy-url": "http://p"}}, None, "proxy-url is not supported", id="proxy"),
        pytest.param({"user": {"client-certificate-data": "eA=="}}, None, "needs both", id="no-key"),
        pytest.param({"cluster": {"certificate-authority-data": "*"}}, None, "is not base64", id="base64"),
        pytest.param({"cluster": {"certificate-authority": "missing.pem"}}, None, r"missing\.pem", id="file"),
    ],
)
def test_a_bad_kubeconfig_names_what_is_wrong(
    tmp_path: pathlib.Path, parts: dict[str, Any], context: str | None, message: str
) -> None:
    with pytest.raises(connection.InvalidConnectionError, match=message):
        connection.from_kubeconfig(written(tmp_path, kubeconfig(**parts)), context)


@pytest.mark.parametrize("content", ["", "[]", "a: b: c"], ids=["empty", "list", "not-yaml"])
def test_what_is_no_kubeconfig_is_refused(tmp_path: pathlib.Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content)
    with pytest.raises(connection.InvalidConnectionError, match="config"):
        connection.from_kubeconfig(path)


def test_discovery_prefers_what_is_named(tmp_path: pathlib.Path) -> None:
    path = written(tmp_path, kubeconfig(user={"token": "t"}))
    assert connection.discover(str(path), {}).namespace == "ns"
    assert connection.discover(None, {"KUBECONFIG": str(path)}).namespace == "ns"
    with pytest.raises(connection.InvalidConnectionError, match="not in a pod"):
        connection.discover(None, {})
    with pytest.raises(connection.InvalidConnectionError, match="No such file"):
        connection.discover(str(tmp_path / "missing"), {})


def test_a_plugin_goes_through_the_official_package(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("kubernetes")
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-plugin"},
    }
    plugin = tmp_path / "plugin"
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    plugin.chmod(0o700)
    user = {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": str(plugin),
            "args": [],
            "interactiveMode": "Never",
        }
    }
    found = connection.from_kubeconfig(written(tmp_path, kubeconfig(user=user)))
    assert found.credentials.authorization() == "Bearer from-plugin"
    assert found.server == "https://api.example:6443"
