"""TLS of the servers we run: versions, cipher suites and curves as users may set them, certificates that are replaced while we run.

- TLS 1.3 unless told otherwise. Its cipher suites cannot be chosen, so naming any needs TLS 1.2, and is refused otherwise rather than ignored.
- Suites have the names, curves the numbers that the TLS registry of IANA gives them, which is what MetalLB's flags take.
- A certificate in a directory is read again when its files change; what cannot be read leaves the one in use.
- Without a directory a certificate is made for this process and signed by itself; who wants to verify it brings one.
"""

import ctypes
import dataclasses
import pathlib
import ssl
import subprocess
import sys
import tempfile
from typing import Any, Final

from metallb_core.runtime import clock, log

CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
VERSIONS: Final = {"VersionTLS12": ssl.TLSVersion.TLSv1_2, "VersionTLS13": ssl.TLSVersion.TLSv1_3}
# IANA names of the TLS 1.2 suites that are still considered safe, and what OpenSSL calls them.
SUITES: Final = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
_ALTERNATIVE_SUITES: Final = {
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305": "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}
# Numbers of "TLS Supported Groups" (IANA), and what OpenSSL calls them. 4587 to 4589 need OpenSSL 3.5.
CURVES: Final = {
    23: "P-256",
    24: "P-384",
    25: "P-521",
    29: "X25519",
    4587: "SecP256r1MLKEM768",
    4588: "X25519MLKEM768",
    4589: "SecP384r1MLKEM1024",
}
# <openssl/ssl.h>
_SSL_CTRL_SET_GROUPS_LIST: Final = 92

_LOG: Final = log.get("tls")


class InvalidTLSError(Exception):
    """A TLS setting or a certificate that cannot be used. The message is for the user and names the flag or file."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a server accepts. `suites`: OpenSSL's names, empty means its own choice; so does an empty `curves`."""

    minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
    suites: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()

    @classmethod
    def parse(cls, min_version: str, cipher_suites: str, curve_preferences: str) -> "Options":
        """From the values of --tls-min-version, --tls-cipher-suites, --tls-curve-preferences; empty means default. Raises InvalidTLSError."""
        minimum = VERSIONS.get(min_version or "VersionTLS13")
        if minimum is None:
            raise InvalidTLSError(
                f"flag --tls-min-version: invalid value {min_version!r}, expected one of {', '.join(VERSIONS)}"
            )
        suites = _parse_suites(cipher_suites)
        if suites and minimum is not ssl.TLSVersion.TLSv1_2:
            raise InvalidTLSError(
                "flag --tls-cipher-suites: TLS 1.3 does not let its suites be chosen; "
                "set --tls-min-version=VersionTLS12 or leave the suites out"
            )
        return cls(minimum=minimum, suites=suites, curves=_parse_curves(curve_preferences))


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _parse_suites(text: str) -> tuple[str, ...]:
    chosen = []
    for word in _words(text):
        suite = SUITES.get(_ALTERNATIVE_SUITES.get(word, word))
        if suite is None:
            raise InvalidTLSError(
                f"flag --tls-cipher-suites: unknown or unsafe suite {word!r}, expected some of {', '.join(SUITES)}"
            )
        chosen.append(suite)
    return tuple(chosen)


def _parse_curves(text: str) -> tuple[str, ...]:
    chosen: list[str] = []
    for word in _words(text):
        curve = CURVES.get(int(word)) if word.isascii() and word.isdigit() else None
        if curve is None:
            known = ", ".join(f"{number} ({name})" for number, name in CURVES.items())
            raise InvalidTLSError(f"flag --tls-curve-preferences: unknown curve {word!r}, expected some of {known}")
        if curve in chosen:
            raise InvalidTLSError(f"flag --tls-curve-preferences: curve {word} is named twice")
        chosen.append(curve)
    return tuple(chosen)


def server_context(options: Options) -> ssl.SSLContext:
    """A context without a certificate yet. Raises InvalidTLSError where this OpenSSL lacks a suite or curve."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = options.minimum
    if options.suites:
        try:
            context.set_ciphers(":".join(options.suites))
        except ssl.SSLError:
            raise InvalidTLSError(f"no cipher suite of {', '.join(options.suites)} is known to this OpenSSL") from None
    if options.curves:
        _set_groups(context, options.curves)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _set_groups(context: ssl.SSLContext, curves: tuple[str, ...]) -> None:
    """`ssl` can set one curve of the old kind only until Python 3.15, so the library it is linked to is asked directly.

    The pointer to OpenSSL's context is the first field after the object's header; that holds in CPython 3.11 to 3.14, newer ones have a method.
    """
    names = ":".join(curves)
    modern: Any = getattr(context, "set_groups", None)
    if modern is not None:
        try:
            modern(names)
        except ssl.SSLError:
            raise InvalidTLSError(f"a curve of {names} is not known to this OpenSSL") from None
        return
    import _ssl

    # An interpreter that was built with OpenSSL inside has no file for it.
    library: Any = ctypes.CDLL(getattr(_ssl, "__file__", None))
    control = library.SSL_CTX_ctrl
    control.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)
    control.restype = ctypes.c_long
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    if control(pointer, _SSL_CTRL_SET_GROUPS_LIST, 0, names.encode()) != 1:
        raise InvalidTLSError(f"a curve of {names} is not known to this OpenSSL ({ssl.OPENSSL_VERSION})")


class CertificateFiles:
    """The certificate of a context, from `tls.crt` and `tls.key` of a directory that others keep current (a mounted Secret)."""

    def __init__(self, directory: pathlib.Path, context: ssl.SSLContext) -> None:
        self._certificate = directory / CERTIFICATE
        self._key = directory / KEY
        self._context = context
        self._stamp: tuple[tuple[int, int], ...] | None = None

    def load(self) -> None:
        """Read them. Raises InvalidTLSError."""
        try:
            stamp = self._current()
            self._context.load_cert_chain(self._certificate, self._key)
        except (OSError, ssl.SSLError) as error:
            raise InvalidTLSError(f"{self._certificate} and {self._key} are no usable certificate: {error}") from None
        self._stamp = stamp

    def refresh(self) -> bool:
        """Read them again if they changed; whether a new one is in use. What cannot be read is logged and tried again later."""
        try:
            if self._current() == self._stamp:
                return False
            self.load()
        except (OSError, InvalidTLSError) as error:
            _LOG.warn("certificate not renewed", error=error)
            return False
        return True

    async def keep_current(self, clock: clock.Clock, seconds: float = 10.0) -> None:
        """Look every `seconds`, for ever; the next handshake uses what is there then."""
        while True:
            await clock.sleep(seconds)
            if self.refresh():
                _LOG.info("certificate renewed", file=str(self._certificate))

    def _current(self) -> tuple[tuple[int, int], ...]:
        return tuple((each.stat().st_ino, each.stat().st_mtime_ns) for each in (self._certificate, self._key))


def load_self_signed(context: ssl.SSLContext, names: tuple[str, ...]) -> None:
    """Make a key and a certificate for `names` and put them into the context. Takes a tenth of a second. Raises InvalidTLSError."""
    made = subprocess.run(
        [sys.executable, "-m", "metallb_core.runtime.selfsigned", *names], capture_output=True, check=False, timeout=60
    )
    if made.returncode:
        raise InvalidTLSError(
            f"cannot make a self-signed certificate: {made.stderr.decode(errors='replace').strip()[-500:]}"
        )
    _load(context, made.stdout)


def _load(context: ssl.SSLContext, both: bytes) -> None:
    """Put a certificate chain and its key, PEM one after the other, into the context. Raises ssl.SSLError."""
    # OpenSSL reads certificates from files only. The root file system of an image is read-only, /tmp or /dev/shm is not.
    shared = pathlib.Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        file = pathlib.Path(folder) / "both.pem"
        file.touch(mode=0o600)
        file.write_bytes(both)
        context.load_cert_chain(file)


class ReplaceableCertificate:
    """A server's context whose certificate is replaced while it serves: later handshakes get the new one, connections stay as they are.

    A context keeps one certificate for each type of key, and would go on offering an RSA one beside a new one of an elliptic curve. So every
    certificate has a context of its own, and the hook for server names, which is called for clients that send none too, switches to the latest.
    """

    def __init__(self, options: Options) -> None:
        self.context = server_context(options)
        self.context.sni_callback = self._switch
        self._options = options
        self._latest: ssl.SSLContext | None = None

    def use(self, certificate: bytes, key: bytes) -> None:
        """Serve this chain and key (PEM) from now on. Raises InvalidTLSError, and goes on with what was served before."""
        fresh = server_context(self._options)
        try:
            _load(fresh, certificate.rstrip(b"\n") + b"\n" + key)
        except (ssl.SSLError, OSError) as error:
            raise InvalidTLSError(f"no usable certificate and key: {error}") from None
        self._latest = fresh

    def _switch(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> int | None:
        if self._latest is None:
            return int(ssl.AlertDescription.ALERT_DESCRIPTION_INTERNAL_ERROR)
        connection.context = self._latest
        return None
