"""Certificates and keys for a lab, made with the `openssl` program.

Rules: P-256 keys, because making them costs milliseconds; ten years of validity, because a lab is thrown away long
before; private keys are readable by root alone; nothing in here is fit for anything but a lab.
"""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Sequence
from pathlib import Path

DAYS = 3650
OPENSSL_TIMEOUT_SECONDS = 60.0

# The distribution's own configuration adds CA extensions to every certificate; this one adds nothing.
_CONFIG = "[req]\ndistinguished_name = name\nprompt = no\n[name]\n"


class CertificateError(Exception):
    """`openssl` refused. The message carries what it said."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Paths of a PEM certificate and of its PEM private key."""

    certificate: Path
    key: Path


def _openssl(arguments: Sequence[str | Path]) -> None:
    result = subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, timeout=OPENSSL_TIMEOUT_SECONDS, check=False
    )
    if result.returncode != 0:
        raise CertificateError(f"openssl {arguments[0]}: {result.stderr.strip()}")


class Authority:
    """A certificate authority in a directory of its own. Making it twice in one directory keeps the first."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.pair = Pair(certificate=directory / "ca.crt", key=directory / "ca.key")
        self._config = directory / "openssl.cnf"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._config.write_text(_CONFIG)
        if not self.pair.certificate.exists():
            self._request(
                self.pair,
                "/CN=metallb-lab",
                ["basicConstraints=critical,CA:TRUE", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"],
            )

    def _request(self, pair: Pair, subject: str, extensions: Sequence[str], signed: bool = False) -> None:
        command: list[str | Path] = ["req", "-x509", "-config", self._config, "-newkey", "ec"]
        command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", str(DAYS), "-subj", subject]
        command += ["-keyout", pair.key, "-out", pair.certificate]
        for extension in extensions:
            command += ["-addext", extension]
        if signed:
            command += ["-CA", self.pair.certificate, "-CAkey", self.pair.key]
        _openssl(command)

    def issue(
        self, name: str, *, common_name: str, organisation: str | None = None, alternatives: Sequence[str] = ()
    ) -> Pair:
        """Sign a certificate for client and server use.

        `alternatives` are subject alternative names in openssl's form (`DNS:localhost`, `IP:127.0.0.1`).
        """
        pair = Pair(certificate=self.directory / f"{name}.crt", key=self.directory / f"{name}.key")
        extensions = [
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature",
            "extendedKeyUsage=serverAuth,clientAuth",
        ]
        if alternatives:
            extensions.append("subjectAltName=" + ",".join(alternatives))
        subject = (f"/O={organisation}" if organisation else "") + f"/CN={common_name}"
        self._request(pair, subject, extensions, signed=True)
        return pair

    def signing_key(self, name: str) -> None:
        """A key without a certificate, for the tokens of service accounts: `name`.key, and its public half `name`.pub.

        The API server does not read the public key out of a PKCS 8 private one, so both are written.
        """
        private, public = self.directory / f"{name}.key", self.directory / f"{name}.pub"
        if not public.exists():
            _openssl(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", private])
            _openssl(["pkey", "-in", private, "-pubout", "-out", public])
