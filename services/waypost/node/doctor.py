"""Looks at everything that a node needs and says what is wrong with it. It only reads: it neither moves money
nor takes the books from a running node."""

import json
import os
import shutil
import socket
import sqlite3
import ssl
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import httpx
from eth_typing import ChecksumAddress

from waypost.chain import artifacts, fees
from waypost.chain.connection import Connection, connect
from waypost.chain.registry import RegisteredNode, Registry
from waypost.errors import (
    ChainError,
    ConfigurationError,
    NodeError,
    ProtocolError,
    WaypostError,
    WrongPassword,
)
from waypost.node import settings
from waypost.node.accounts import Accounts
from waypost.node.backends.schema import check
from waypost.node.backends.sqlite import FILE as BOOKS
from waypost.node.claim_plan import BATCH_GAS, ENTRY_GAS
from waypost.node.claims import LEAST_GAS, LEAST_GAS_PER_ENTRY
from waypost.node.descriptor import OFFERED
from waypost.node.settings import KEYS_FOLDER, NodeConfig
from waypost.protocol.eip712 import node_domain
from waypost.protocol.nodes import NodeDescriptor
from waypost.protocol.signatures import address_of

CLAIMS_AHEAD = 10
"""Claims that the gas account should be able to pay for."""
CLAIM_GAS = BATCH_GAS + ENTRY_GAS
"""What a claim for one channel uses."""
CLAIM_GAS_LIMIT = LEAST_GAS + LEAST_GAS_PER_ENTRY
"""What it must be able to pay for, or the chain does not take it."""
CERTIFICATE_DAYS = 14
"""Days before its end from which on a certificate should be renewed."""
LOGS_BACK = 1_000
"""Blocks over which the endpoint must give logs."""
TIMEOUT = 10.0


class Verdict(StrEnum):
    """What a check found. A skipped one could not be made, for a reason that another one names."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check; `remedy` is what to do about it, if anything."""

    check: str
    verdict: Verdict
    sentence: str
    remedy: str = ""


def _ok(check: str, sentence: str) -> Finding:
    return Finding(check, Verdict.OK, sentence)


def _warning(check: str, sentence: str, remedy: str) -> Finding:
    return Finding(check, Verdict.WARNING, sentence, remedy)


def _failed(check: str, sentence: str, remedy: str) -> Finding:
    return Finding(check, Verdict.FAILED, sentence, remedy)


async def examine(folder: Path, password: str, clock: Callable[[], int]) -> AsyncIterator[Finding]:
    """All checks of the node in `folder`, one after the other. `clock` gives Unix seconds."""
    try:
        config = settings.read_config(folder)
    except ConfigurationError as error:
        yield _failed(
            "settings", str(error), "Restore or correct node.json; `waypost node init` is for a new folder."
        )
        return
    yield _ok("settings", f"node.json is valid: {config.operator} at {config.endpoint}.")
    yield _files(folder)
    yield _disk(folder, config)
    yield books(folder, config)
    keys = _Keys(folder, password, config)
    yield keys.finding
    try:
        connection = await connect(config.rpc_url, config.chain_id)
    except WaypostError as error:
        yield _failed("rpc", str(error), "Check rpcUrl in node.json, and the endpoint.")
        yield Finding("chain", Verdict.SKIPPED, "Contracts, funds and registration need the chain.")
        return
    async with connection:
        chain_checks = (
            _head(connection, config, clock),
            _logs(connection, config),
            _contracts(connection, config),
            _funds(connection, keys.gas),
            _registration(connection, config, keys.node),
        )
        names = ("rpc", "logs", "contracts", "funds", "registration")
        for name, finding in zip(names, chain_checks, strict=True):
            try:
                yield await finding
            except ChainError as error:
                yield _failed(name, str(error), "Ask the endpoint's operator, or use another rpcUrl.")
    yield await endpoint(config, keys.node, clock)


class _Keys:
    """The addresses of the keys that open, and what is wrong with those that do not."""

    def __init__(self, folder: Path, password: str, config: NodeConfig) -> None:
        self.node: ChecksumAddress | None = None
        self.gas: ChecksumAddress | None = None
        try:
            found = {role: settings.read_key(folder, role, password) for role in settings.KEY_ROLES}
        except WrongPassword as error:
            self.finding = _failed("keys", str(error), "Give the password that the folder was made with.")
            return
        except ConfigurationError as error:
            self.finding = _failed("keys", str(error), "Restore it from a backup, or make it readable.")
            return
        addresses = {role: address_of(key) for role, key in found.items() if key is not None}
        self.node, operator = addresses.get("node"), addresses.get("operator")
        self.gas = addresses.get("gas", operator)
        if self.node is None or self.gas is None:
            self.finding = _failed(
                "keys", "The node's key, or one that pays gas, is missing.", "Restore it from a backup."
            )
        elif operator is not None and operator != config.operator:
            self.finding = _failed(
                "keys",
                f"The operator's key is that of {operator}, node.json names {config.operator}.",
                "Correct node.json, or restore the key.",
            )
        elif addresses.get("payee", operator) != config.payee:
            self.finding = _warning(
                "keys",
                f"No key of the payee {config.payee} is here: the node cannot consent to close channels.",
                "Nothing, if the payee is a contract or kept elsewhere.",
            )
        elif self.gas == operator:
            self.finding = _warning(
                "keys",
                f"They open; the operator's key, which owns the stake, pays gas from {self.gas}.",
                "Put the key file of an account of its own, with the folder's password, at "
                f"{settings.keystore_path(folder, 'gas')}.",
            )
        else:
            self.finding = _ok("keys", f"They open; {self.node} signs, {self.gas} pays gas.")


def _files(folder: Path) -> Finding:
    token = folder / settings.TOKEN_FILE
    tokens = [token] if token.exists() else []
    secret = [folder / KEYS_FOLDER, *(folder / KEYS_FOLDER).glob("*.json"), *tokens]
    try:
        seen = [path.name for path in secret if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
        if tokens:
            settings.read_admin_token(folder)
        with tempfile.NamedTemporaryFile(dir=folder) as probe:
            probe.write(b"probe")
            probe.flush()
            os.fsync(probe.fileno())
    except (OSError, ConfigurationError) as error:
        return _failed("files", f"{folder} is not usable: {error}", "Make it writable for the node alone.")
    if seen:
        return _failed("files", f"Others can read {', '.join(seen)}.", f"chmod -R go= {folder / KEYS_FOLDER}")
    if not tokens:
        return _warning("files", f"{token} is missing.", "Start the node again: it makes another.")
    return _ok("files", "Keys are for the node alone, and the folder can be written.")


def _disk(folder: Path, config: NodeConfig) -> Finding:
    free, quota = shutil.disk_usage(folder).free, config.storage_quota_bytes
    used = sum(path.stat().st_size for path in folder.glob("node.db*"))
    sentence = f"{free / 2**30:.1f} GiB are free; the node may store {quota / 2**30:.1f} GiB."
    if free + used < quota:
        return _warning("disk", sentence, "Free some space, or lower storageQuotaBytes in node.json.")
    return _ok("disk", sentence)


def books(folder: Path, config: NodeConfig) -> Finding:
    """Whose books are in `folder`; they stay as they are."""
    file = folder / BOOKS
    if not file.exists():
        return _ok("books", "The node has none yet.")
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            check(connection, file, config.identity)
            unclaimed = len(Accounts(config.payee, config.token).unclaimed(connection))
    except (sqlite3.Error, NodeError) as error:
        return _failed("books", str(error), "Correct node.json, or restore a backup.")
    return _ok("books", f"They are those of {config.payee}; {unclaimed} channels hold unclaimed receipts.")


async def _head(connection: Connection, config: NodeConfig, clock: Callable[[], int]) -> Finding:
    head = await connection.head()
    age = clock() - head.timestamp
    sentence = f"Block {head.number} of chain {connection.chain_id} is {age} s old."
    if age < -config.clock_tolerance_seconds:
        return _failed("clock", f"{sentence} This machine's clock is behind.", "Set the clock (NTP).")
    if age > config.max_head_age_seconds:
        return _warning(
            "rpc",
            f"{sentence} The chain rests, the endpoint lags, or this machine's clock is ahead.",
            "Compare with another endpoint, and the clock with NTP.",
        )
    return _ok("rpc", sentence)


async def _logs(connection: Connection, config: NodeConfig) -> Finding:
    head = (await connection.head()).number
    first = max(config.start_block, head - LOGS_BACK)
    await connection.logs([config.channels], first, head)
    if await connection.block(config.start_block) is None:
        return _failed(
            "logs",
            f"The endpoint does not have block {config.start_block}, where the contracts begin.",
            "Use an endpoint that keeps all blocks and logs.",
        )
    return _ok("logs", f"The endpoint gives logs of blocks {first} to {head}.")


async def _contracts(connection: Connection, config: NodeConfig) -> Finding:
    for name, address in (("Channels", config.channels), ("NodeRegistry", config.registry)):
        if not artifacts.load(name).matches(await connection.code(address)):
            return _failed(
                "contracts",
                f"{address} is not the {name} that this version knows.",
                "Check the address in node.json, and the version of Waypost.",
            )
    if not await connection.code(config.token):
        return _failed("contracts", f"There is no token at {config.token}.", "Check token in node.json.")
    return _ok("contracts", "Channels and NodeRegistry are those that this version knows.")


def gas_funds(price: int, claims: int = CLAIMS_AHEAD) -> int:
    """Wei that the gas account must hold to send so many claims, at `price` wei per gas."""
    return (CLAIM_GAS_LIMIT + (claims - 1) * CLAIM_GAS) * price


def claims_affordable(balance: int, price: int) -> int:
    """How many claims in a row an account with `balance` wei can send, at `price` wei per gas."""
    spare = balance - CLAIM_GAS_LIMIT * price
    return 0 if spare < 0 else 1 + spare // (CLAIM_GAS * max(1, price))


async def _funds(connection: Connection, account: ChecksumAddress | None) -> Finding:
    if account is None:
        return Finding("funds", Verdict.SKIPPED, "Only the keys tell which account pays gas.")
    balance, asked = await connection.balance(account), await fees.ask(connection)
    claims, claim = claims_affordable(balance, asked.limit), CLAIM_GAS * asked.limit
    sentence = f"{account} holds {balance / 10**18:.6f} ETH; a claim costs about {claim / 10**18:.6f} ETH."
    remedy = f"Send at least {(gas_funds(asked.limit) - balance) / 10**18:.6f} ETH to {account}."
    if not claims:
        return _failed("funds", sentence, remedy)
    if claims < CLAIMS_AHEAD:
        return _warning("funds", sentence, remedy)
    return _ok("funds", sentence)


async def _registration(
    connection: Connection, config: NodeConfig, node_key: ChecksumAddress | None
) -> Finding:
    registry = Registry(connection, config.registry)
    found, minimum = await registry.node(config.operator), await registry.min_stake()
    if found is None:
        return _failed(
            "registration", f"{config.operator} is not registered.", "Run `waypost node register`."
        )
    if node_key is not None and found.node_key != node_key:
        return _failed(
            "registration",
            f"The registry names the node key {found.node_key}, this folder holds {node_key}.",
            "Run `waypost node rotate-key`, which also finishes what was interrupted.",
        )
    differs = differences(found, config)
    if differs:
        return _failed("registration", f"The registry has another {differs}.", "Run `waypost node register`.")
    if found.stake < minimum:
        return _failed(
            "registration",
            f"The stake of {found.stake} base units is below the minimum of {minimum}: it is not listed.",
            "Run `waypost node register`, which adds what is missing.",
        )
    return _ok("registration", f"Registered and listed, with a stake of {found.stake} base units.")


def differences(found: RegisteredNode, config: NodeConfig) -> str:
    """Names of what the registry says otherwise than node.json; empty if they agree."""
    pairs = {
        "endpoint": (found.endpoint.rstrip("/"), config.endpoint),
        "payee": (found.payout, config.payee),
        "list of services": (found.services & OFFERED == OFFERED, True),
    }
    return ", ".join(name for name, (there, here) in pairs.items() if there != here)


async def endpoint(config: NodeConfig, node_key: ChecksumAddress | None, clock: Callable[[], int]) -> Finding:
    """What clients meet at the node's public address: an answer, its certificate and its descriptor."""
    url = f"{config.endpoint}/v1/node"
    try:
        async with (
            httpx.AsyncClient(timeout=TIMEOUT, trust_env=False, verify=httpx.create_ssl_context()) as http,
            http.stream("GET", url) as answer,
        ):
            days = _certificate_days(answer, clock())
            body = json.loads(await answer.aread())
        descriptor = NodeDescriptor.verify(body, node_domain(config.chain_id, config.registry))
    except httpx.ConnectError as error:
        words = str(error) or type(error).__name__
        if _taken(config):
            return _failed(
                "endpoint",
                f"{url} does not answer ({words}), though a program listens on port {config.port}.",
                "Check endpoint, TLS and proxy; or stop what else uses the port.",
            )
        return _warning("endpoint", f"{url} does not answer: {words}.", "Run `waypost node run`.")
    except (httpx.HTTPError, ValueError) as error:
        words = str(error) or type(error).__name__
        return _failed(
            "endpoint", f"{url} does not answer as a node would: {words}.", "Check endpoint and port."
        )
    except ProtocolError as error:
        return _failed("endpoint", f"{url} has no valid descriptor: {error}", "Ask who answers there.")
    if descriptor.operator != config.operator:
        return _failed("endpoint", f"{url} is the node of {descriptor.operator}.", "Check endpoint and port.")
    if node_key is not None and descriptor.node_key != node_key:
        return _failed(
            "endpoint", f"{url} signs with an older key, {descriptor.node_key}.", "Restart the node."
        )
    if days is not None and days < CERTIFICATE_DAYS:
        return _warning(
            "endpoint", f"The certificate of {url} ends in {days} days.", "Renew it, and restart the node."
        )
    return _ok(
        "endpoint",
        f"{url} answers with this node's descriptor"
        + ("." if days is None else f"; its certificate lasts {days} more days."),
    )


def _certificate_days(answer: httpx.Response, now: int) -> int | None:
    """Whole days until the end of the certificate that the answer came under; None without TLS."""
    tls = answer.extensions["network_stream"].get_extra_info("ssl_object")
    if tls is None:
        return None
    return int(ssl.cert_time_to_seconds(tls.getpeercert()["notAfter"]) - now) // 86_400


def _taken(config: NodeConfig) -> bool:
    """Whether something listens on the node's port."""
    try:
        socket.create_connection((config.host, config.port), TIMEOUT).close()
    except OSError:
        return False
    return True
