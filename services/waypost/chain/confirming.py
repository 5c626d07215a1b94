"""Waiting of a deployment: for what the account sent before, and until what was deployed is deep enough."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from waypost.chain.connection import Connection
from waypost.chain.creations import Progress
from waypost.chain.manifest import Deployment
from waypost.chain.transactions import TIMEOUT, Sender
from waypost.errors import TransactionStuck

FASTEST, SLOWEST = 0.2, 4.0
"""Seconds between two looks at the chain."""
SAMPLE = 10
"""So many of the newest blocks tell how fast a chain is."""


async def pace(connection: Connection) -> float:
    """Seconds between two looks at the chain: half of the time between its last blocks, within bounds."""
    head = await connection.head()
    first = await connection.block(max(0, head.number - SAMPLE))
    if first is None or first.number == head.number:
        return FASTEST
    apart = (head.timestamp - first.timestamp) / (head.number - first.number)
    return min(max(apart / 2, FASTEST), SLOWEST)


async def drain(sender: Sender, tell: Progress) -> None:
    """Waits for what the account sent before, perhaps in a deployment that was interrupted: nothing is paid
    for twice. Raises TransactionStuck."""
    told, pause = False, await pace(sender.connection)
    give_up = asyncio.get_running_loop().time() + TIMEOUT
    while (waiting := await _waiting(sender)) > 0:
        if not told:
            tell(f"Waiting for {waiting} earlier transactions of {sender.address}")
            told = True
        if asyncio.get_running_loop().time() > give_up:
            sentence = (
                f"{waiting} earlier transactions of {sender.address} are not mined: wait, or replace them."
            )
            raise TransactionStuck(sentence, account=sender.address)
        await asyncio.sleep(pause)


async def confirmed(
    connection: Connection, confirmations: int, contracts: Mapping[str, Deployment], tell: Progress
) -> bool:
    """Waits until the newest contract has so many blocks on top of its own; False if one of them is gone by
    then, or elsewhere. Raises TransactionStuck on a chain that has no new blocks."""
    target = max(each.block for each in contracts.values()) + confirmations
    pause = await pace(connection)
    seen, since = -1, asyncio.get_running_loop().time()
    while (head := (await connection.head()).number) < target:
        now = asyncio.get_running_loop().time()
        if head != seen:
            tell(f"{target - head} of {confirmations} confirmations are missing")
            seen, since = head, now
        elif now - since > TIMEOUT:
            sentence = f"All is deployed, but for {TIMEOUT:g} s block {head} is the newest: run this again."
            raise TransactionStuck(sentence, block=head)
        await asyncio.sleep(pause)
    for each in contracts.values():
        if not await connection.code(each.address) or await found_again(connection, each) != each:
            return False
    return True


async def found_again(connection: Connection, known: Deployment) -> Deployment:
    """The deployment where its transaction is now: a reorg may have moved it."""
    receipt = None if known.transaction is None else await connection.receipt(known.transaction)
    return known if receipt is None else replace(known, block=receipt.block_number)


async def _waiting(sender: Sender) -> int:
    connection = sender.connection
    mined = await connection.nonce(sender.address)
    return await connection.nonce(sender.address, pending=True) - mined
