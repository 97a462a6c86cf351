"""What is kept of a Secret and what is made anew, as a table over time; and that the certificates are ones a TLS client takes."""

import base64
import datetime
import json
import ssl
from collections.abc import Callable, Mapping

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from metallb_controller.admission import authority, registration
from metallb_core.runtime import tls

NAMES = ("metallb-webhook-service.metallb-system.svc", "metallb-webhook-service.metallb-system.svc.cluster.local")
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
Data = Mapping[str, bytes]


def after(**spans: float) -> datetime.datetime:
    return START + datetime.timedelta(**spans)


@pytest.fixture(scope="module")
def first() -> Data:
    return authority.maintain({}, NAMES, START).data


@pytest.fixture(scope="module")
def other() -> Data:
    return authority.maintain({}, ("another.name.svc",), START).data


def certificates(text: bytes) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(text)


def shown(served: tls.ReplaceableCertificate, data: Data, name: str = NAMES[0]) -> bytes:
    """The certificate that a client which trusts `ca.crt` is shown. Raises SSLError if it does not take it."""
    client = ssl.create_default_context(cadata=data["ca.crt"].decode())
    # X509_V_FLAG_NO_CHECK_TIME of <openssl/x509_vfy.h>: the certificates are of START, not of now.
    client.verify_flags |= 0x200000
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(back, there, server_hostname=name)
    theirs = served.context.wrap_bio(there, back, server_side=True)
    for _ in range(10):
        done = 0
        for side in (ours, theirs):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
        if done == 2:
            return ours.getpeercert(binary_form=True) or b""
    raise AssertionError("no end of the handshake")


def handshake(data: Data, name: str = NAMES[0]) -> None:
    """Raises SSLError unless a client that trusts `ca.crt` takes `tls.crt`."""
    served = tls.ReplaceableCertificate(tls.Options())
    served.use(data["tls.crt"], data["tls.key"])
    shown(served, data, name)


def test_an_empty_secret_is_filled() -> None:
    outcome = authority.maintain({}, NAMES, START)
    assert outcome.reason == "there was none"
    assert sorted(outcome.data) == ["ca.crt", "ca.key", "tls.crt", "tls.key"]
    [made] = certificates(outcome.data["tls.crt"])
    [signer] = certificates(outcome.data["ca.crt"])
    assert made.not_valid_after_utc == after(days=365)
    assert signer.not_valid_after_utc == after(days=3650)
    assert signer.subject.rfc4514_string() == "CN=cert,O=metallb"
    assert authority.maintain(outcome.data, NAMES, START).reason == ""


@pytest.mark.parametrize("name", NAMES)
def test_a_client_takes_it(first: Data, name: str) -> None:
    handshake(first, name)


def test_a_client_that_asks_for_another_name_does_not(first: Data) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(first, "elsewhere.svc")


@pytest.mark.parametrize(
    ("change", "when", "reason", "keeps_authority"),
    [
        pytest.param(lambda _: {}, START, "", True, id="nothing-to-do"),
        pytest.param(lambda _: {}, after(days=274), "", True, id="three-months-and-a-day-ahead"),
        pytest.param(lambda _: {}, after(days=276), "tls.crt expires on 2027-01-01", True, id="renewed-ahead"),
        pytest.param(lambda _: {}, after(days=400), "tls.crt expires on 2027-01-01", True, id="renewed-too-late"),
        pytest.param(lambda _: {}, after(days=3600), "tls.crt expires on 2027-01-01", False, id="authority-too"),
        pytest.param(lambda _: {"tls.crt": b""}, START, "tls.crt holds no certificate", True, id="no-certificate"),
        pytest.param(lambda _: {"tls.crt": b"junk"}, START, "tls.crt holds no certificate", True, id="junk"),
        pytest.param(lambda _: {"tls.key": b"junk"}, START, "tls.key holds no private key", True, id="junk-key"),
        pytest.param(lambda _: {"ca.crt": b"junk"}, START, "ca.crt holds no certificate", False, id="junk-authority"),
        pytest.param(lambda _: {"ca.key": b"junk"}, START, "", True, id="junk-authority-key-while-all-is-good"),
        pytest.param(
            lambda o: {"tls.key": o["tls.key"]}, START, "tls.crt and tls.key do not belong together", True, id="mixed"
        ),
        pytest.param(
            lambda o: {"tls.crt": o["tls.crt"], "tls.key": o["tls.key"]},
            START,
            "tls.crt is not signed by ca.crt",
            True,
            id="of-another-authority",
        ),
        pytest.param(lambda o: o, START, f"tls.crt is not for {NAMES[0]}", True, id="for-another-name"),
        pytest.param(lambda _: {}, after(days=-1), "tls.crt is not valid yet", False, id="from-the-future"),
    ],
)
def test_what_is_renewed(
    first: Data,
    other: Data,
    change: Callable[[Data], Data],
    when: datetime.datetime,
    reason: str,
    keeps_authority: bool,
) -> None:
    held = {**first, **change(other)}
    outcome = authority.maintain(held, NAMES, when)
    assert outcome.reason == reason
    assert (outcome.data["ca.crt"] == held["ca.crt"]) is keeps_authority
    if reason:
        # What was made is good: judged again at once, nothing is to be done.
        assert authority.maintain(outcome.data, NAMES, when).reason == ""


def test_a_new_authority_stands_before_the_old_which_is_dropped_a_day_later(first: Data) -> None:
    moment = after(days=3600)
    renewed = authority.maintain(first, NAMES, moment).data
    before, now = registration.blocks(first["ca.crt"]), registration.blocks(renewed["ca.crt"])
    assert now[1:] == before
    assert authority.maintain(renewed, NAMES, moment + datetime.timedelta(hours=23)).reason == ""
    later = authority.maintain(renewed, NAMES, moment + datetime.timedelta(hours=25))
    assert registration.blocks(later.data["ca.crt"]) == now[:1]
    assert later.data["tls.crt"] == renewed["tls.crt"]


def test_an_expired_authority_is_not_kept(first: Data) -> None:
    renewed = authority.maintain(first, NAMES, after(days=3651)).data
    assert len(registration.blocks(renewed["ca.crt"])) == 1


@pytest.mark.parametrize(
    ("when", "kept"),
    [
        pytest.param(START, True, id="good"),
        pytest.param(after(days=300), True, id="its-owner-renews-it"),
        pytest.param(after(days=366), False, id="expired"),
    ],
)
def test_somebody_elses_certificate_is_left_alone_while_it_is_good(
    first: Data, when: datetime.datetime, kept: bool
) -> None:
    held = {name: value for name, value in first.items() if name != "ca.key"}
    outcome = authority.maintain(held, NAMES, when)
    assert (outcome.data == held) is kept


def as_metallb_makes_it() -> Data:
    """Both keys RSA in PKCS #1, one authority, no subject alternative but the one name."""

    def sign(subject: str, issuer: str, key: rsa.RSAPrivateKey, signer: rsa.RSAPrivateKey, ca: bool) -> bytes:
        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        made = (
            x509.CertificateBuilder()
            .subject_name(named(subject))
            .issuer_name(named(issuer))
            .public_key(key.public_key())
            .serial_number(2)
            .not_valid_before(START)
            .not_valid_after(after(days=3650 if ca else 365))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(subject)]), critical=False)
        return made.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    keys = [rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2)]
    texts = [
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        for key in keys
    ]
    return {
        "ca.crt": sign("cert", "cert", keys[0], keys[0], True),
        "ca.key": texts[0],
        "tls.crt": sign(NAMES[0], "cert", keys[1], keys[0], False),
        "tls.key": texts[1],
    }


def test_what_metallb_left_is_used_and_renewed_by_its_own_authority() -> None:
    left = as_metallb_makes_it()
    assert authority.maintain(left, NAMES, START) == authority.Outcome(data=left, reason="")
    handshake(left)
    renewed = authority.maintain(left, NAMES, after(days=300)).data
    assert renewed["ca.crt"] == left["ca.crt"]
    handshake(renewed, NAMES[1])


@pytest.mark.parametrize("version", ["VersionTLS12", "VersionTLS13"])
def test_a_replaced_certificate_is_what_new_connections_get(version: str) -> None:
    """Also where the keys are of two types, of which a server otherwise keeps one each."""
    left = as_metallb_makes_it()
    renewed = authority.maintain(left, NAMES, after(days=300)).data
    served = tls.ReplaceableCertificate(tls.Options.parse(version, "", ""))
    for data in (left, renewed, left):
        served.use(data["tls.crt"], data["tls.key"])
        assert shown(served, data) == certificates(data["tls.crt"])[0].public_bytes(serialization.Encoding.DER)
    with pytest.raises(tls.InvalidTLSError):
        served.use(left["tls.crt"], renewed["tls.key"])
    assert shown(served, left)


def test_without_a_certificate_no_connection_comes_about(first: Data) -> None:
    with pytest.raises(ssl.SSLError):
        shown(tls.ReplaceableCertificate(tls.Options()), first)


def test_the_program_speaks_the_data_of_a_secret() -> None:
    answer = json.loads(authority.main(NAMES, START, b'{"tls.crt": "not base64!", "mine": "eA=="}'))
    assert answer["reason"] == "there was none"
    again = json.loads(authority.main(NAMES, START, json.dumps(answer["data"]).encode()))
    assert again == {"data": answer["data"], "reason": ""}
    assert base64.b64decode(answer["data"]["ca.crt"]).startswith(b"-----BEGIN CERTIFICATE-----")
