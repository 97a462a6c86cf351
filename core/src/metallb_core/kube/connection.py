"""How to reach the API server and who we are to it.

- In a pod: the service account's files. Its token is projected and rotates (about hourly), so the file is read again when it changes.
- With a kubeconfig: embedded data or files are read here. Only exec and auth-provider plugins go through the `kubernetes` package, which
  takes a second to import, and only then is it imported. YAML needs PyYAML, which images do not carry; JSON is read without it.
- A token is never printed.
"""

import base64
import binascii
import dataclasses
import json
import os
import pathlib
import ssl
import tempfile
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

SERVICE_ACCOUNT: Final = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")


class InvalidConnectionError(Exception):
    """The environment or the kubeconfig does not say how to connect. The message names the variable, file or entry."""


class Credentials(Protocol):
    """What goes into the Authorization header."""

    def authorization(self) -> str | None:
        """The header's value, or None where a client certificate (or nothing) says who we are. Reads a small file at most."""
        ...

    def invalidate(self) -> None:
        """The server did not accept the last one: get it anew next time."""
        ...


class NoToken:
    """No header: a client certificate, or nobody."""

    __slots__ = ()

    def authorization(self) -> str | None:
        """None."""
        return None

    def invalidate(self) -> None:
        """Nothing to renew."""


class StaticToken:
    """A bearer token that never changes."""

    __slots__ = ("_value",)

    def __init__(self, token: str) -> None:
        self._value = f"Bearer {token}"

    def authorization(self) -> str | None:
        """The header's value."""
        return self._value

    def invalidate(self) -> None:
        """Nothing to renew."""


class TokenFile:
    """A bearer token in a file that others replace. A file that cannot be read leaves the last token in use."""

    __slots__ = ("_path", "_stamp", "_value")

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._value: str | None = None

    def authorization(self) -> str | None:
        """The header's value, from the file as it is now."""
        try:
            # The kubelet swaps a symbolic link, so the inode changes even within one tick of the file's time.
            status = self._path.stat()
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp != self._stamp:
                token = self._path.read_text().strip()
                if token:
                    self._value, self._stamp = f"Bearer {token}", stamp
        except OSError:
            self._stamp = None
        return self._value

    def invalidate(self) -> None:
        """Read the file next time even if it looks unchanged."""
        self._stamp = None


class _Plugin:
    """What an exec or auth-provider plugin says, through the `kubernetes` package. For people's machines: a renewal blocks while it runs."""

    __slots__ = ("_configuration",)

    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration

    def authorization(self) -> str | None:
        # The package runs its own refresh hook, which calls the plugin when the token is about to expire. The name of the entry has
        # changed between its versions.
        value: str | None = self._configuration.get_api_key_with_prefix("BearerToken", "authorization")
        return value

    def invalidate(self) -> None:
        """The hook decides."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """`server`: URL without a final slash. `ssl_context` makes a context, or None for plain HTTP. `namespace`: the default one, if known.

    `server_name`: whom the server's certificate must be for, if not for the host in the URL.
    """

    server: str
    ssl_context: Callable[[], ssl.SSLContext | None]
    credentials: Credentials
    namespace: str | None = None
    server_name: str | None = None


def _plain() -> ssl.SSLContext | None:
    return None


def _verifying(context: ssl.SSLContext) -> ssl.SSLContext:
    """Python 3.13 began to insist on extensions that the authorities of many clusters lack, and no other client does."""
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def plain(server: str, token: str | None = None) -> Connection:
    """A connection to an unencrypted server, which only tests and local proxies are."""
    return Connection(
        server=server.rstrip("/"), ssl_context=_plain, credentials=StaticToken(token) if token else NoToken()
    )


def in_cluster(environ: Mapping[str, str] | None = None, service_account: pathlib.Path = SERVICE_ACCOUNT) -> Connection:
    """From a pod's environment and service account. Raises InvalidConnectionError outside of a pod."""
    environ = os.environ if environ is None else environ
    host, port = environ.get("KUBERNETES_SERVICE_HOST", ""), environ.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port:
        raise InvalidConnectionError(
            "not in a pod (KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set); elsewhere --kubeconfig is needed"
        )
    authority, token = service_account / "ca.crt", service_account / "token"
    for path in (authority, token):
        if not path.is_file():
            raise InvalidConnectionError(f"not in a pod: {path} is missing; is automountServiceAccountToken off?")
    namespace = service_account / "namespace"

    def context() -> ssl.SSLContext | None:
        return _verifying(ssl.create_default_context(cafile=str(authority)))

    return Connection(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        ssl_context=context,
        credentials=TokenFile(token),
        namespace=(namespace.read_text().strip() or None) if namespace.is_file() else None,
    )


def from_kubeconfig(path: pathlib.Path | str, context: str | None = None) -> Connection:
    """From a kubeconfig file and its current (or the named) context. Raises InvalidConnectionError, naming what is wrong in it."""
    path = pathlib.Path(path)
    document = _parse(path)
    wanted = context or document.get("current-context") or ""
    chosen = _entry(path, document, "contexts", "context", wanted)
    cluster = _entry(path, document, "clusters", "cluster", chosen.get("cluster", ""))
    user = _entry(path, document, "users", "user", chosen["user"]) if chosen.get("user") else {}
    server = cluster.get("server", "")
    if not server:
        raise InvalidConnectionError(f"{path}: cluster {chosen.get('cluster', '')!r} has no server")
    for unsupported, entry in (("proxy-url", cluster), ("as", user)):
        # Ignoring one would talk to another server, or as somebody else, than the user meant.
        if entry.get(unsupported):
            raise InvalidConnectionError(f"{path}: {unsupported} is not supported")
    if "exec" in user or "auth-provider" in user:
        return _through_plugin(path, wanted, chosen.get("namespace"))
    authority = _data(path, cluster, "certificate-authority")
    certificate, key = _data(path, user, "client-certificate"), _data(path, user, "client-key")
    if (certificate is None) != (key is None):
        raise InvalidConnectionError(
            f"{path}: user {chosen.get('user')!r} needs both client-certificate and client-key"
        )
    skip = bool(cluster.get("insecure-skip-tls-verify", False))

    def make() -> ssl.SSLContext | None:
        made = _verifying(ssl.create_default_context(cadata=authority.decode() if authority is not None else None))
        if skip:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if certificate is not None and key is not None:
            _load_certificate(made, certificate, key)
        return made

    return Connection(
        server=server.rstrip("/"),
        ssl_context=make if server.startswith("https:") else _plain,
        credentials=_credentials(path, user),
        namespace=chosen.get("namespace"),
        server_name=cluster.get("tls-server-name"),
    )


def discover(kubeconfig: str | None, environ: Mapping[str, str] | None = None) -> Connection:
    """The kubeconfig if one is named (by the argument or by KUBECONFIG), the pod's service account otherwise. Raises InvalidConnectionError."""
    environ = os.environ if environ is None else environ
    named = kubeconfig or environ.get("KUBECONFIG", "")
    return from_kubeconfig(named) if named else in_cluster(environ)


def _parse(path: pathlib.Path) -> dict[str, Any]:
    try:
        text = path.read_text()
    except OSError as error:
        raise InvalidConnectionError(f"{path}: {error.strerror}") from None
    try:
        document = json.loads(text)
    except ValueError:
        document = _parse_yaml(path, text)
    if not isinstance(document, dict):
        raise InvalidConnectionError(f"{path} is not a kubeconfig")
    return document


def _parse_yaml(path: pathlib.Path, text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise InvalidConnectionError(f"{path} is YAML, which needs PyYAML here; write it as JSON") from None
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidConnectionError(f"{path}: {error}") from None


def _entry(path: pathlib.Path, document: dict[str, Any], section: str, kind: str, name: str) -> dict[str, Any]:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            found: dict[str, Any] = entry.get(kind) or {}
            return found
    raise InvalidConnectionError(f"{path}: no {kind} named {name!r}")


def _data(path: pathlib.Path, entry: dict[str, Any], name: str) -> bytes | None:
    """Embedded data or the named file, whose path is relative to the kubeconfig; None where there is neither."""
    embedded = entry.get(f"{name}-data")
    if embedded:
        try:
            return base64.b64decode(embedded, validate=True)
        except binascii.Error:
            raise InvalidConnectionError(f"{path}: {name}-data is not base64") from None
    named = entry.get(name)
    if not named:
        return None
    try:
        return pathlib.Path(path.parent, named).read_bytes()
    except OSError as error:
        raise InvalidConnectionError(f"{path}: {name} {named}: {error.strerror}") from None


def _credentials(path: pathlib.Path, user: dict[str, Any]) -> Credentials:
    if user.get("tokenFile"):
        return TokenFile(path.parent / user["tokenFile"])
    if user.get("token"):
        return StaticToken(user["token"])
    if user.get("username"):
        raise InvalidConnectionError(f"{path}: user name and password are not accepted by API servers any more")
    return NoToken()


def _load_certificate(context: ssl.SSLContext, certificate: bytes, key: bytes) -> None:
    """OpenSSL reads certificates from files only: write them where only we can read, and remove them at once."""
    with tempfile.TemporaryDirectory() as folder:
        both = pathlib.Path(folder) / "client.pem"
        both.touch(mode=0o600)
        both.write_bytes(certificate.rstrip() + b"\n" + key)
        context.load_cert_chain(both)


def _through_plugin(path: pathlib.Path, context: str, namespace: str | None) -> Connection:
    try:
        from kubernetes import client, config
    except ImportError:
        raise InvalidConnectionError(f"{path}: this user needs a plugin, which takes the kubernetes package") from None
    configuration: Any = client.Configuration()
    load: Any = config.load_kube_config
    try:
        load(config_file=str(path), context=context, client_configuration=configuration)
    except config.ConfigException as error:
        raise InvalidConnectionError(f"{path}: {error}") from None

    def make() -> ssl.SSLContext | None:
        made = _verifying(ssl.create_default_context(cafile=configuration.ssl_ca_cert))
        if not configuration.verify_ssl:
            made.check_hostname = False
            made.verify_mode = ssl.CERT_NONE
        if configuration.cert_file:
            made.load_cert_chain(configuration.cert_file, configuration.key_file)
        return made

    server = str(configuration.host)
    return Connection(
        server=server.rstrip("/"),
        ssl_context=make if server.startswith("https:") else _plain,
        credentials=_Plugin(configuration),
        namespace=namespace,
        server_name=configuration.tls_server_name,
    )
