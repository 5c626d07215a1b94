"""The doctor at a node's public address: who answers there, and under which certificate."""

import asyncio
from pathlib import Path

import pytest
from tests.services.node.api.test_server import CERTIFICATE, running

from waypost.node import doctor
from waypost.node.app import unix_time
from waypost.node.doctor import Finding, Verdict
from waypost.node.settings import NodeSettings
from waypost.protocol.signatures import address_of

YEAR = 365 * 86_400


async def look(settings: NodeSettings, later: int = 0) -> Finding:
    key = address_of(settings.node_key.get_secret_value())
    return await doctor.endpoint(settings, key, lambda: unix_time() + later)


def at(settings: NodeSettings, port: int, scheme: str = "http") -> NodeSettings:
    return settings.model_copy(update={"endpoint": f"{scheme}://127.0.0.1:{port}", "port": port})


async def test_a_node_under_a_certificate(settings: NodeSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    secured = settings.model_copy(update={"tls_cert": CERTIFICATE, "tls_key": CERTIFICATE})
    async with running(secured, verify=False) as node:
        here = at(secured, node.port, "https")
        distrusted = await look(here)
        assert (distrusted.verdict, distrusted.check) == (Verdict.FAILED, "endpoint")
        assert "certificate" in distrusted.sentence.lower()
        monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
        found = await look(here)
        assert (found.verdict, "more days" in found.sentence) == (Verdict.OK, True), found
        ending = await look(here, later=100 * YEAR)
        assert (ending.verdict, ending.remedy) == (Verdict.WARNING, "Renew it, and restart the node.")


async def test_a_node_that_signs_with_another_key(settings: NodeSettings) -> None:
    async with running(settings) as node:
        here = at(settings, node.port)
        assert (await look(here)).verdict is Verdict.OK
        other = await doctor.endpoint(here, settings.operator, unix_time)
        assert (other.verdict, other.remedy) == (Verdict.FAILED, "Restart the node.")


async def test_another_program_on_the_port(settings: NodeSettings) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for scheme in ("http", "https"):
            found = await look(at(settings, port, scheme))
            assert found.verdict is Verdict.FAILED, found
    found = await look(at(settings, port))
    assert (found.verdict, found.remedy) == (Verdict.WARNING, "Run `waypost node run`.")


async def test_books_are_looked_at_and_left(settings: NodeSettings, tmp_path: Path) -> None:
    async with running(settings):
        pass
    config = settings
    assert doctor.books(settings.data_dir, config).verdict is Verdict.OK
    other = doctor.books(settings.data_dir, config.model_copy(update={"payee": config.registry}))
    assert other.verdict is Verdict.FAILED
    assert str(config.payee) in other.sentence
    assert doctor.books(tmp_path / "nowhere", config).verdict is Verdict.OK
    (tmp_path / "node.db").write_bytes(b"no database at all, but long enough to be looked at" * 50)
    assert doctor.books(tmp_path, config).verdict is Verdict.FAILED
