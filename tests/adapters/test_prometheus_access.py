"""Tokens and certificates as a kubelet mounts and swaps them, and addresses that are refused."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelramp.adapters.clock import SystemClock
from modelramp.adapters.prometheus import Limits, PrometheusMetrics
from modelramp.rollout.observation import Failed, Reading, Value
from tests.adapters.prometheus_peer import (
    SECRET,
    Peer,
    answer,
    asking,
    document,
    http,
    saying,
    serving,
)


def mount(directory: Path, revision: str, name: str, content: str) -> Path:
    """Write a file as the kubelet does: a new directory, and one symlink swapped."""
    (directory / revision).mkdir()
    (directory / revision / name).write_text(content)
    link = directory / f"..data-{revision}"
    link.symlink_to(revision)
    link.rename(directory / "..data")
    file = directory / name
    if not file.is_symlink():
        file.symlink_to(Path("..data") / name)
    return file


def authorizations(peer: Peer) -> list[str]:
    lines = [line for request in peer.requests for line in request.decode().splitlines()]
    return [line.split(": ", 1)[1] for line in lines if line.startswith("Authorization")]


async def test_a_token_is_read_again_when_it_was_swapped(tmp_path: Path) -> None:
    token = mount(tmp_path, "1", "token", "first\n")
    async with serving(saying(http(document()))) as peer, asking(peer.url, token_file=token) as metrics:
        await metrics.query("up")
        mount(tmp_path, "2", "token", "second\n")
        await metrics.query("up")
    assert authorizations(peer) == ["Bearer first", "Bearer second"]


@pytest.mark.parametrize("content", ["", "two words", "s3cret\nline", "s3cret\x00", "s3crét"])
async def test_a_file_that_holds_no_token_is_said_without_its_content(tmp_path: Path, content: str) -> None:
    token = mount(tmp_path, "1", "token", content)
    async with serving(saying(http(document()))) as peer:
        found = await answer(peer, token_file=token)
    assert isinstance(found, Failed)
    assert found.reason == "TokenUnreadable"
    assert "s3cr" not in found.message
    assert not peer.requests


async def test_a_token_that_is_missing_is_a_failure_until_it_is_there(tmp_path: Path) -> None:
    async with serving(saying(http(document()))) as peer, asking(peer.url, token_file=tmp_path / "token") as metrics:
        assert await metrics.query("up") == Failed("TokenUnreadable", "token file: No such file or directory")
        mount(tmp_path, "1", "token", "first")
        assert await metrics.query("up") == Value(0.25)


async def test_a_user_in_the_url_becomes_a_header_and_shows_nowhere() -> None:
    async with serving(saying(http(document()))) as peer:
        url = peer.url.replace("://", f"://ann:{SECRET}@")
        async with asking(url) as metrics:
            assert await metrics.query("up") == Value(0.25)
    assert authorizations(peer) == ["Basic YW5uOnMzY3JldA=="]
    async with asking(url) as metrics:
        gone = await metrics.query("up")
    assert isinstance(gone, Failed)
    assert SECRET not in gone.message


@dataclass
class Identity:
    """A certificate that signs itself."""

    certificate: Path
    context: ssl.SSLContext


def identity(directory: Path, name: str, alternative: str) -> Identity:
    certificate, key = directory / f"{name}.crt", directory / f"{name}.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", f"subjectAltName={alternative}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return Identity(certificate, context)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return identity(tmp_path_factory.mktemp("trusted"), "trusted", "IP:127.0.0.1")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    return identity(tmp_path_factory.mktemp("elsewhere"), "elsewhere", "DNS:prometheus.test")


def unreachable(reading: Reading[float]) -> str:
    assert isinstance(reading, Failed)
    assert reading.reason == "Unreachable"
    return reading.message


async def test_a_trusted_certificate_opens_the_server(trusted: Identity) -> None:
    async with serving(saying(http(document())), trusted.context) as peer:
        assert await answer(peer, ca_file=trusted.certificate, limits=Limits()) == Value(0.25)


async def test_a_certificate_of_another_name_or_maker_does_not(trusted: Identity, elsewhere: Identity) -> None:
    async with serving(saying(http(document())), elsewhere.context) as peer:
        named = unreachable(await answer(peer, ca_file=elsewhere.certificate, limits=Limits()))
        foreign = unreachable(await answer(peer, ca_file=trusted.certificate, limits=Limits()))
        unknown = unreachable(await answer(peer, limits=Limits()))
    assert named == "TLS: IP address mismatch, certificate is not valid for '127.0.0.1'."
    assert foreign.startswith("TLS: self-signed certificate")
    assert unknown.startswith("TLS: self-signed certificate")
    assert not peer.requests


async def test_https_at_a_plain_port_is_told_apart_from_an_answer() -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with asking(f"https://127.0.0.1:{port}") as metrics:
            assert unreachable(await metrics.query("up")).startswith("TLS: the handshake failed")


async def test_plain_http_at_a_port_for_https_is_no_answer(trusted: Identity) -> None:
    async with serving(saying(http(document())), trusted.context) as peer:
        plain = peer.url.replace("https", "http")
        async with asking(plain) as metrics:
            assert isinstance(await metrics.query("up"), Failed)


async def test_a_new_authority_is_trusted_without_a_restart(
    tmp_path: Path, trusted: Identity, elsewhere: Identity
) -> None:
    authority = mount(tmp_path, "1", "ca.crt", elsewhere.certificate.read_text())
    server = serving(saying(http(document())), trusted.context)
    async with server as peer, asking(peer.url, ca_file=authority) as metrics:
        unreachable(await metrics.query("up"))
        mount(tmp_path, "2", "ca.crt", trusted.certificate.read_text())
        assert await metrics.query("up") == Value(0.25)


@pytest.mark.parametrize(("content", "why"), [("no PEM", "it holds no PEM certificate"), (None, os.strerror(2))])
async def test_a_file_without_a_certificate_is_said(tmp_path: Path, content: str | None, why: str) -> None:
    file = mount(tmp_path, "1", "ca.crt", content) if content else tmp_path / "ca.crt"
    async with asking("https://127.0.0.1:1", ca_file=file) as metrics:
        assert await metrics.query("up") == Failed("CertificatesUnreadable", f"CA file: {why}")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("prometheus:9090", "write it as http://HOST:PORT"),
        ("ftp://prometheus:9090", "write it as http://HOST:PORT"),
        ("http://", "write it as http://HOST:PORT"),
        ("http://prometheus:port", "write it as http://HOST:PORT"),
        ("", "write it as http://HOST:PORT"),
        (f"http://ann:{SECRET}@prometheus:port", "write it as http://HOST:PORT"),
        (f"http://ann:{SECRET}@prometheus:9090/?token={SECRET}", "leave out what follows"),
        ("http://prometheus:9090/#x", "leave out what follows"),
        (f"http://ann:{SECRET}@prometheus.example.com", "use https://"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused_at_the_start(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        PrometheusMetrics(url, SystemClock())
    assert SECRET not in str(refused.value)


def test_a_token_is_not_sent_in_the_clear_beyond_the_cluster(tmp_path: Path) -> None:
    token = mount(tmp_path, "1", "token", SECRET)
    for url in ("http://prometheus.monitoring.svc:9090", "http://10.0.0.1:9090", "https://prometheus.example.com"):
        PrometheusMetrics(url, SystemClock(), token_file=token)
    for url in ("http://prometheus.example.com", "http://9.9.9.9:9090", "https://ann:x@prometheus"):
        with pytest.raises(ValueError, match=r"use https://|give one of them"):
            PrometheusMetrics(url, SystemClock(), token_file=token)
