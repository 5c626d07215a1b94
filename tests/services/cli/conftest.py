"""The command line in this process, on a chain in a thread of it."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from waypost.chain.embedded import EmbeddedChain
from waypost.cli import main
from waypost.client.account import Account
from waypost.node import settings

PASSWORD = "correct horse"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The result of a command with --json: its last line."""
        return json.loads(self.out.splitlines()[-1])

    @property
    def error(self) -> str:
        """The code of the error, which is the one and only last line on standard error."""
        last = self.err.splitlines()[-1]
        assert self.code != 0, self
        assert "Traceback" not in self.err, self.err
        assert self.err.count("error[") == 1, self.err
        assert last.startswith("error["), self.err
        return last.removeprefix("error[").split("]")[0]


Run = Callable[..., Outcome]


@pytest.fixture
def waypost(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line."""

    def run(*words: str) -> Outcome:
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home, a password, and key files that take no second to open."""
    for name in ("WAYPOST_MANIFEST", "WAYPOST_DATA_DIR", "WAYPOST_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WAYPOST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WAYPOST_PASSWORD", PASSWORD)
    monkeypatch.setenv("WAYPOST_RPC_URL", "http://127.0.0.1:1")
    for function in (Account.save, settings.initialise):
        assert function.__kwdefaults__ is not None
        monkeypatch.setitem(function.__kwdefaults__, "scrypt_n", 2)
    return tmp_path / "home"


@pytest.fixture(scope="module")
def chain_url() -> Iterator[str]:
    """A chain of this module."""
    started, urls = threading.Event(), list[str]()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with EmbeddedChain() as chain:
            urls.append(chain.url)
            started.set()
            await stop.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    started.wait()
    yield urls[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@pytest.fixture
def chain(chain_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """That chain, where commands look for one."""
    monkeypatch.setenv("WAYPOST_RPC_URL", chain_url)
    return chain_url


@pytest.fixture
def deployed(chain: str, waypost: Run) -> dict[str, Any]:
    """The contracts, and this home's manifest of them."""
    result = waypost("deploy", "--dev-account", "0", "--yes", "--json")
    assert result.code == 0, result.err
    manifest: dict[str, Any] = result.json
    return manifest
