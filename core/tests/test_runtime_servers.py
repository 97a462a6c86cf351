"""The metrics over HTTPS and the health over HTTP, as a scraper and a kubelet see them."""

import asyncio
import datetime
import pathlib
import socket
import ssl
from typing import Any

import aiohttp
import pytest

from metallb_core.runtime import clock as clocks
from metallb_core.runtime import health, metrics, tls
from metallb_core.testing import clock as fake_clock

ALLOW = {"good": metrics.Verdict.ALLOWED, "weak": metrics.Verdict.FORBIDDEN, "lost": metrics.Verdict.UNDECIDED}


class Gatekeeper:
    """Knows three tokens."""

    async def review(self, token: str, path: str, verb: str) -> metrics.Verdict:
        assert (path, verb) == ("/metrics", "get")
        return ALLOW.get(token, metrics.Verdict.UNKNOWN_TOKEN)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def certificate(name: str, directory: pathlib.Path) -> pathlib.Path:
    """A certificate for 127.0.0.1 and its key, in the files of a mounted Secret."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(start.replace(year=2090))
    made = builder.sign(key, hashes.SHA256())
    directory.mkdir(exist_ok=True)
    (directory / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (directory / "tls.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return directory


def served_name(port: int, **options: Any) -> str:
    """The common name of the certificate that is served; blocks, so call it on a thread."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if "maximum" in options:
        context.maximum_version = options["maximum"]
    if "ciphers" in options:
        context.set_ciphers(options["ciphers"])
    if "curve" in options:
        context.set_ecdh_curve(options["curve"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain) as wrapped,
    ):
        der = wrapped.getpeercert(binary_form=True)
        assert der is not None
        name = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
        return str(name)


@pytest.fixture
def registry() -> metrics.Registry:
    made = metrics.Registry()
    made.counter("metallb_test_total", "A test.", ["kind"]).labels("a").inc(3)
    return made


def serve(registry: metrics.Registry, port: int, **options: Any) -> Any:
    defaults: dict[str, Any] = {
        "address": "127.0.0.1",
        "gatekeeper": Gatekeeper(),
        "options": tls.Options(),
        "certificates": None,
        "clock": clocks.SystemClock(),
    }
    return metrics.serve(registry, port=port, **(defaults | options))


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"Authorization": "Bearer good"}, 200, id="allowed"),
        pytest.param({"Authorization": "bearer good"}, 200, id="any-case"),
        pytest.param({"Authorization": "Bearer weak"}, 403, id="forbidden"),
        pytest.param({"Authorization": "Bearer other"}, 401, id="unknown"),
        pytest.param({"Authorization": "Bearer lost"}, 503, id="undecided"),
        pytest.param({"Authorization": "Basic good"}, 401, id="other-scheme"),
        pytest.param({"Authorization": "Bearer "}, 401, id="empty"),
        pytest.param({}, 401, id="none"),
    ],
)
async def test_who_may_read_the_metrics(registry: metrics.Registry, headers: dict[str, str], status: int) -> None:
    port = free_port()
    async with (
        serve(registry, port),
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{port}/metrics", headers=headers, ssl=False) as answer,
    ):
        text = await answer.text()
        assert answer.status == status
        assert ("metallb_test_total" in text) == (status == 200)


async def test_the_page(registry: metrics.Registry) -> None:
    port = free_port()
    async with serve(registry, port, gatekeeper=None), aiohttp.ClientSession() as session:
        async with session.get(f"https://127.0.0.1:{port}/metrics", ssl=False) as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
        async with session.get(f"https://127.0.0.1:{port}/other", ssl=False) as answer:
            assert answer.status == 404
    assert 'metallb_test_total{kind="a"} 3.0' in text
    assert "process_resident_memory_bytes" in text
    assert "python_gc_objects_collected_total" in text


async def test_port_zero_serves_nothing(registry: metrics.Registry) -> None:
    async with serve(registry, 0) as files:
        assert files is None
    async with health.serve(dict, port=0):
        pass


async def test_a_replaced_certificate_is_served_and_a_broken_one_is_not(
    registry: metrics.Registry, tmp_path: pathlib.Path
) -> None:
    port = free_port()
    directory = certificate("one", tmp_path / "certs")
    clock = fake_clock.FakeClock()
    async with serve(registry, port, certificates=directory) as files:
        keeping = asyncio.create_task(files.keep_current(clock))
        assert await asyncio.to_thread(served_name, port) == "one"
        certificate("two", directory)
        await clock.advance(11)
        assert await asyncio.to_thread(served_name, port) == "two"
        (directory / "tls.crt").write_text("rubbish")
        await clock.advance(11)
        assert await asyncio.to_thread(served_name, port) == "two"
        (directory / "tls.key").unlink()
        await clock.advance(11)
        assert await asyncio.to_thread(served_name, port) == "two"
        certificate("three", directory)
        await clock.advance(11)
        assert await asyncio.to_thread(served_name, port) == "three"
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_a_missing_certificate_is_named(registry: metrics.Registry, tmp_path: pathlib.Path) -> None:
    with pytest.raises(tls.InvalidTLSError, match=r"tls\.crt"):
        async with serve(registry, free_port(), certificates=tmp_path):
            pass


@pytest.mark.parametrize(
    ("flags", "client", "accepted"),
    [
        pytest.param(("", "", ""), {}, True, id="default"),
        pytest.param(("", "", ""), {"maximum": ssl.TLSVersion.TLSv1_2}, False, id="tls12-is-not-default"),
        pytest.param(("VersionTLS12", "", ""), {"maximum": ssl.TLSVersion.TLSv1_2}, True, id="tls12"),
        pytest.param(
            ("VersionTLS12", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", ""),
            {"maximum": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-ECDSA-AES128-GCM-SHA256"},
            False,
            id="other-suite",
        ),
        pytest.param(
            ("VersionTLS12", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", ""),
            {"maximum": ssl.TLSVersion.TLSv1_2, "ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384"},
            True,
            id="that-suite",
        ),
        pytest.param(("", "", "24"), {"curve": "secp384r1"}, True, id="that-curve"),
        pytest.param(("", "", "29,24"), {"curve": "secp384r1"}, True, id="second-curve"),
        pytest.param(("", "", "24"), {"curve": "prime256v1"}, False, id="other-curve"),
        pytest.param(("", "", "29"), {"curve": "secp384r1"}, False, id="x25519-only"),
    ],
)
async def test_tls_options(
    registry: metrics.Registry, flags: tuple[str, str, str], client: dict[str, Any], accepted: bool
) -> None:
    port = free_port()
    async with serve(registry, port, options=tls.Options.parse(*flags)):
        if accepted:
            assert await asyncio.to_thread(served_name, port, **client) == "localhost"
        else:
            with pytest.raises(ssl.SSLError):
                await asyncio.to_thread(served_name, port, **client)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        pytest.param(("TLS1.2", "", ""), "--tls-min-version: invalid value 'TLS1.2'", id="version"),
        pytest.param(
            ("", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", ""), "set --tls-min-version=VersionTLS12", id="suite-tls13"
        ),
        pytest.param(("VersionTLS12", "TLS_NULL", ""), "unknown or unsafe suite 'TLS_NULL'", id="suite"),
        pytest.param(("", "", "23,23"), "curve 23 is named twice", id="curve-twice"),
        pytest.param(("", "", "0"), "unknown curve '0'", id="curve-zero"),
        pytest.param(("", "", "P-256"), "unknown curve 'P-256'", id="curve-name"),
    ],
)
def test_tls_options_that_are_refused(flags: tuple[str, str, str], message: str) -> None:
    with pytest.raises(tls.InvalidTLSError) as caught:
        tls.Options.parse(*flags)
    assert message in str(caught.value)


async def test_health_says_why_not() -> None:
    port = free_port()
    reasons = {"informer services": "no answer", "memberlist": "not joined"}
    async with health.serve(lambda: reasons, port=port, address="127.0.0.1"), aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert answer.status == 200
        async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert answer.status == 503
            assert await answer.text() == "informer services: no answer\nmemberlist: not joined\n"
        reasons.clear()
        async with session.get(f"http://127.0.0.1:{port}/readyz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
