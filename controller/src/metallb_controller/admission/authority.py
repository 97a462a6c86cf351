"""The webhook's certificate authority, kept in a Secret: what is in it is judged, and replaced when it has to be.

- A Secret holds `ca.crt`, `ca.key`, `tls.crt`, `tls.key` (PEM), as MetalLB's has; what MetalLB left there is used until it has to be
  renewed.
- `ca.crt` may hold several authorities, the newest first. A new one is put in front of the old, which stay for a day: whoever still serves
  a certificate of an old one is believed meanwhile.
- An authority lives ten years, a certificate one; both are renewed 90 days ahead. A certificate that somebody else put there, with no key
  of its authority, is left alone while it is good.
- What cannot be read counts as absent. The functions take the time; only running as a program asks for it to be given.

`python -m metallb_controller.admission.authority` judges the Secret data (a JSON object of base64 texts) on its standard input: a process
of its own, since the library that reads certificates costs 7 MB for as long as it is loaded, and it is needed for a moment every twelve
hours.
"""

import base64
import binascii
import dataclasses
import datetime
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from cryptography import exceptions, x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITIES: Final = "ca.crt"
AUTHORITY_KEY: Final = "ca.key"
CERTIFICATE: Final = "tls.crt"
KEY: Final = "tls.key"
AUTHORITY_LIFE: Final = datetime.timedelta(days=3650)
CERTIFICATE_LIFE: Final = datetime.timedelta(days=365)
AHEAD: Final = datetime.timedelta(days=90)
RETIRED_AFTER: Final = datetime.timedelta(days=1)
# Clocks of API servers may be behind ours.
_BACKDATED: Final = datetime.timedelta(hours=1)
_PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a Secret should hold. `reason` says why that is not what it holds; empty: `data` is what it holds."""

    data: Mapping[str, bytes]
    reason: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Issuer:
    certificate: x509.Certificate
    key: _PrivateKey


def maintain(data: Mapping[str, bytes], names: Sequence[str], now: datetime.datetime) -> Outcome:
    """Judge what a Secret holds. `names`: the DNS names that are served, the first one is asked for; `now`: aware."""
    authorities = _read_certificates(data.get(AUTHORITIES, b""))
    complaint = _complaint(data, authorities, names[0], now)
    issuer = _issuer(authorities, _read_key(data.get(AUTHORITY_KEY, b"")), now)
    if not complaint:
        if issuer is None and data.get(AUTHORITY_KEY) and _outlived(authorities[0], now):
            complaint = "the authority is about to expire"
        else:
            return _without_retired(data, authorities, now)
    if issuer is None:
        issuer = _new_authority(now)
        kept = [each for each in authorities if each.not_valid_after_utc > now]
        authorities = [issuer.certificate, *kept]
    certificate, key = _new_certificate(issuer, names, now)
    return Outcome(
        data={
            AUTHORITIES: b"".join(map(_pem, authorities)),
            AUTHORITY_KEY: _key_pem(issuer.key),
            CERTIFICATE: _pem(certificate),
            KEY: _key_pem(key),
        },
        reason=complaint,
    )


def _complaint(
    data: Mapping[str, bytes], authorities: Sequence[x509.Certificate], name: str, now: datetime.datetime
) -> str:
    """Why the certificate has to be replaced; empty if it is good."""
    chain = _read_certificates(data.get(CERTIFICATE, b""))
    key = _read_key(data.get(KEY, b""))
    if not any(data.get(each) for each in (AUTHORITIES, CERTIFICATE, KEY)):
        return "there was none"
    if not authorities:
        return f"{AUTHORITIES} holds no certificate"
    if not chain:
        return f"{CERTIFICATE} holds no certificate"
    if key is None:
        return f"{KEY} holds no private key"
    served = chain[0]
    if served.public_key() != key.public_key():
        return f"{CERTIFICATE} and {KEY} do not belong together"
    if not any(_is_issued_by(last, each) for last in chain for each in authorities):
        return f"{CERTIFICATE} is not signed by {AUTHORITIES}"
    if not served.not_valid_before_utc <= now:
        return f"{CERTIFICATE} is not valid yet"
    if served.not_valid_after_utc - AHEAD <= now and (data.get(AUTHORITY_KEY) or served.not_valid_after_utc <= now):
        return f"{CERTIFICATE} expires on {served.not_valid_after_utc:%Y-%m-%d}"
    if name not in _names(served):
        return f"{CERTIFICATE} is not for {name}"
    return ""


def _issuer(authorities: Sequence[x509.Certificate], key: _PrivateKey | None, now: datetime.datetime) -> _Issuer | None:
    """The authority that can sign, if there is one that lives long enough."""
    if key is None or not authorities:
        return None
    newest = authorities[0]
    if newest.public_key() != key.public_key() or not _may_sign(newest) or _outlived(newest, now):
        return None
    return _Issuer(certificate=newest, key=key)


def _outlived(authority: x509.Certificate, now: datetime.datetime) -> bool:
    return authority.not_valid_after_utc - AHEAD <= now or authority.not_valid_before_utc > now


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _without_retired(
    data: Mapping[str, bytes], authorities: Sequence[x509.Certificate], now: datetime.datetime
) -> Outcome:
    """Drop the authorities before the newest once that has been in use for a day; only if the certificate is of the newest."""
    newest, *older = authorities
    served = _read_certificates(data[CERTIFICATE])
    old_enough = newest.not_valid_before_utc + _BACKDATED + RETIRED_AFTER <= now
    if not older or not data.get(AUTHORITY_KEY) or not old_enough or not _is_issued_by(served[0], newest):
        return Outcome(data=data, reason="")
    return Outcome(
        data={**data, AUTHORITIES: _pem(newest)}, reason="an authority that was replaced a day ago is no longer needed"
    )


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, exceptions.InvalidSignature):
        return False
    return True


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return []
    return found.value.get_values_for_type(x509.DNSName)


def _read_certificates(text: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError:
        return []


def _read_key(text: bytes) -> _PrivateKey | None:
    try:
        found = serialization.load_pem_private_key(text, password=None)
    except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
        return None
    return found if isinstance(found, (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey)) else None


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: _PrivateKey) -> bytes:
    # The form that MetalLB reads, should somebody go back to it: PKCS #1 or SEC 1.
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _new_authority(now: datetime.datetime) -> _Issuer:
    # RSA, since MetalLB's own reader of this Secret takes no other key for an authority.
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "metallb"), x509.NameAttribute(NameOID.COMMON_NAME, "cert")]
    )
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _Issuer(certificate=certificate, key=key)


def _new_certificate(
    issuer: _Issuer, names: Sequence[str], now: datetime.datetime
) -> tuple[x509.Certificate, _PrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        # A common name has 64 characters at most; what counts are the alternative names.
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(min(now + CERTIFICATE_LIFE, issuer.certificate.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in names]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.certificate.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(issuer.key, hashes.SHA256())
    )
    return certificate, key


def main(names: Sequence[str], now: datetime.datetime, text: bytes) -> bytes:
    """What the program does: the data of a Secret in, the outcome out, both JSON with base64 texts."""
    held = {}
    for name, value in json.loads(text).items():
        try:
            held[name] = base64.b64decode(value, validate=True)
        except binascii.Error:
            held[name] = b""
    outcome = maintain(held, names, now)
    data = {name: base64.b64encode(value).decode() for name, value in outcome.data.items()}
    return json.dumps({"data": data, "reason": outcome.reason}).encode()


if __name__ == "__main__":
    seconds, *served_names = sys.argv[1:]
    moment = datetime.datetime.fromtimestamp(float(seconds), datetime.UTC)
    sys.stdout.buffer.write(main(served_names, moment, sys.stdin.buffer.read()))
