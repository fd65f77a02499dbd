"""Whom clients trust with a key: a provider whose certificate somebody we trust has signed, for its name, for now."""

import asyncio
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.llm.model import Request, encode_message
from app.llm.wire import RawModel
from tests.fault_llm import FaultLLM, ok, serving

KEY = "sk-canary-51aa07c9-tls"
REFUSED = ("self-signed", "expired", "another's name")
ASK = f"""
import asyncio, json, sys
from app.llm.model import Request, encode_message
from app.llm.openai import OpenAIModel
from app.llm.wire import RawModel

async def ask(client, url):
    model = client(base_url=url, api_key={KEY!r}, timeout=5)
    found = await model.complete(Request("m", (encode_message("user", "hi"),)))
    await model.aclose()
    return found.status, found.detail

async def main(client, urls):
    print(json.dumps({{name: await ask(client, url) for name, url in urls.items()}}))

asyncio.run(main({{"sdk": OpenAIModel, "raw": RawModel}}[sys.argv[1]], json.loads(sys.argv[2])))
"""


class Authority:
    """Signs certificates for the names and times it is asked to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests only")])
        self.file = folder / "ca.pem"
        self.file.write_bytes(self._signed(self._name, self._key, is_authority=True))

    def context(self, *, own: bool = False, address: str = "127.0.0.1", days: int = 1) -> ssl.SSLContext:
        """A server's context; `own`: its certificate is signed by itself. It ends in so many days."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "provider")])
        plain = serialization.NoEncryption()
        private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
        file = self._folder / "server.pem"
        file.write_bytes(private + self._signed(name, key, own=own, address=address, days=days))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        return context

    def _signed(
        self,
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        *,
        own: bool = False,
        address: str = "127.0.0.1",
        days: int = 1,
        is_authority: bool = False,
    ) -> bytes:
        issuer, signer = (name, key) if own else (self._name, self._key)
        now = datetime.now(UTC)
        built = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=9))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(address))]), critical=False)
        )
        return built.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
async def providers(tmp_path: Path) -> AsyncIterator[tuple[Path, dict[str, FaultLLM]]]:
    """The authority's certificate, and one provider for each kind of certificate."""
    authority = Authority(tmp_path)
    contexts = {
        "trusted": authority.context(),
        "self-signed": authority.context(own=True),
        "expired": authority.context(days=-1),
        "another's name": authority.context(address="127.0.0.2"),
    }
    async with AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(serving(ok(), tls=context)) for name, context in contexts.items()
        }
        yield authority.file, servers


async def asked(transport: str, servers: dict[str, FaultLLM], **env: str) -> dict[str, list[str]]:
    """What comes of a call to each, by a process of its own, for what is trusted is read when it starts."""
    urls = json.dumps({name: server.url for name, server in servers.items()})
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ASK, transport, urls),
        env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), **env},
        cwd=Path(__file__).parents[2],
        stdout=asyncio.subprocess.PIPE,
    )
    told, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, list[str]] = json.loads(told)
    return found


@pytest.mark.parametrize("transport", ["raw", "sdk"])
async def test_only_a_provider_with_a_certificate_we_trust_is_told_the_key(
    providers: tuple[Path, dict[str, FaultLLM]], transport: str
) -> None:
    authority, servers = providers
    found = await asked(transport, servers, SSL_CERT_FILE=str(authority))
    assert found["trusted"] == ["ok", ""]
    (received,) = servers["trusted"].received
    assert received.headers["authorization"] == f"Bearer {KEY}"
    for name in REFUSED:
        assert found[name] == ["unavailable", "the provider can't be reached (SSLCertVerificationError)"]
        assert servers[name].received == []


@pytest.mark.parametrize("transport", ["sdk", "raw"])
async def test_nobody_trusts_an_authority_that_is_not_named(
    providers: tuple[Path, dict[str, FaultLLM]], transport: str
) -> None:
    _, servers = providers
    assert {status for status, _ in (await asked(transport, servers)).values()} == {"unavailable"}
    assert not any(server.received for server in servers.values())


async def test_control_a_client_that_looks_at_no_certificate_tells_anybody(
    providers: tuple[Path, dict[str, FaultLLM]], monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = aiohttp.TCPConnector
    monkeypatch.setattr(aiohttp, "TCPConnector", lambda limit: connector(limit=limit, ssl=False))
    _, servers = providers
    for name in REFUSED:
        model = RawModel(base_url=servers[name].url, api_key=KEY, timeout=5)
        assert (await model.complete(Request("m", (encode_message("user", "hi"),)))).status == "ok"
        await model.aclose()
        assert KEY in servers[name].received[0].headers["authorization"]
