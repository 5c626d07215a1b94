"""Looks at what RLN needs: the membership contract, the verifying key, and how far members are read.
It only reads."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

from waypost.chain import artifacts
from waypost.chain.connection import Connection, connect
from waypost.chain.membership import Membership
from waypost.errors import ChainError, ConfigurationError, WaypostError
from waypost.node import blocks
from waypost.node.backends.sqlite import FILE as BOOKS
from waypost.node.doctor import Finding, Verdict
from waypost.node.members import TABLE
from waypost.node.settings import KEY_FILES_FOLDER, NodeConfig, RlnSettings
from waypost.protocol.rln import DEPTH
from waypost.zk import verifying_key
from waypost.zk.keys import DEVELOPMENT_CHAINS, find, require_allowed

CONTRACT, KEY, MEMBERS = "rln contract", "rln key", "rln members"


async def examine_rln(folder: Path, config: NodeConfig) -> AsyncIterator[Finding]:
    """All checks of RLN in the node's folder; none if the node does not follow RLN."""
    if config.rln is None:
        return
    yield check_key(folder, config.chain_id, config.rln)
    try:
        connection = await connect(config.rpc_url, config.chain_id)
    except WaypostError:  # another check names it
        yield Finding(CONTRACT, Verdict.SKIPPED, "The membership contract needs the chain.")
        return
    async with connection:
        try:
            yield await _contract(connection, config, config.rln)
            yield await _members(connection, folder, config)
        except ChainError as error:
            yield Finding(
                CONTRACT,
                Verdict.FAILED,
                str(error),
                "Ask the endpoint's operator, or use another rpcUrl.",
            )


def check_key(folder: Path, chain_id: int, rln: RlnSettings) -> Finding:
    """Whether the verifying key that the settings name is there, and may be used on this chain."""
    if rln.verifying_key is None:
        if chain_id in DEVELOPMENT_CHAINS:
            return Finding(KEY, Verdict.OK, "No key is named; on this chain the development key will do.")
        return Finding(
            KEY,
            Verdict.FAILED,
            "rln.verifyingKey names no key, so no proof can be checked.",
            f"Put the network's key into {folder / KEY_FILES_FOLDER}, and its SHA-256 into node.json.",
        )
    try:
        key = verifying_key.parse(find(folder / KEY_FILES_FOLDER, rln.verifying_key, ".json"))
        require_allowed(key, chain_id)
    except ConfigurationError as error:
        remedy = f"Put the network's key into {folder / KEY_FILES_FOLDER}, or correct rln.verifyingKey."
        return Finding(KEY, Verdict.FAILED, str(error), remedy)
    return Finding(KEY, Verdict.OK, f"The verifying key {rln.verifying_key[:16]}… is here.")


async def _contract(connection: Connection, config: NodeConfig, rln: RlnSettings) -> Finding:
    def failed(sentence: str) -> Finding:
        return Finding(CONTRACT, Verdict.FAILED, sentence, "Correct the section rln of node.json.")

    if not artifacts.load("RlnMembership").matches(await connection.code(rln.contract)):
        return failed(f"{rln.contract} is not the RlnMembership that this version knows.")
    membership = Membership(connection, rln.contract)
    depth, window = await membership.depth(), await membership.window()
    if depth != DEPTH:
        return failed(f"Its tree has {depth} levels; proofs are for {DEPTH}.")
    least = rln.least_window(config.clock_tolerance_seconds)
    if least > window:
        return failed(
            f"With rootSeconds {rln.root_seconds} and epochSeconds {rln.epoch_seconds}, who leaves must be"
            f" slashable for {least} s, and is for {window} s."
        )
    if (token := await membership.token()) != config.token:
        return Finding(
            CONTRACT,
            Verdict.WARNING,
            f"Fees are paid in {token}, not in the token that the node is paid in.",
            "With claim.tokenPerEther set, the node sends nothing for members.",
        )
    return Finding(CONTRACT, Verdict.OK, f"RlnMembership at {rln.contract} fits; its window is {window} s.")


async def _members(connection: Connection, folder: Path, config: NodeConfig) -> Finding:
    head, read = await connection.head(), _read_to(folder)
    if read is None:
        return Finding(MEMBERS, Verdict.OK, "The node has not read any yet.")
    number, timestamp = read
    sentence = f"They are read to block {number} of {head.number}."
    if head.timestamp - timestamp > config.max_head_age_seconds:
        return Finding(
            MEMBERS,
            Verdict.WARNING,
            f"{sentence} That is {head.timestamp - timestamp} s behind.",
            "Run the node; if it runs, `waypost node status` names the fault.",
        )
    return Finding(MEMBERS, Verdict.OK, sentence)


def _read_to(folder: Path) -> tuple[int, int] | None:
    """Number and timestamp of the newest block in the members' book; it stays as it is."""
    file = folder / BOOKS
    if not file.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            head = blocks.head(connection, TABLE)
    except sqlite3.Error:  # older than RLN, or damaged: the check of the books says so
        return None
    return None if head is None else (head.number, head.timestamp)
