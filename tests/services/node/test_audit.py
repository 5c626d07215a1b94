"""An endpoint that leaves out logs: nothing looks wrong, but the books are."""

from collections.abc import Sequence

import pytest
from eth_typing import ChecksumAddress
from tests.services.node.money_node import (
    PATIENT,
    MoneyNode,
    NodeKeys,
    assert_books_agree,
    open_node,
    until,
)
from tests.services.node.world import PRICE, Client, World

from waypost.chain.blocks import Log
from waypost.chain.connection import Connection
from waypost.errors import BooksDisagree
from waypost.node.accounts import Status


class Forgetful(Connection):
    """An endpoint that has not indexed its logs yet, while a test says so."""

    def __init__(self, real: Connection) -> None:
        super().__init__(real.web3, real.host, real.chain_id)
        self.forgets = False

    async def logs(
        self,
        addresses: Sequence[ChecksumAddress],
        first: int,
        last: int,
        topics: Sequence[bytes | None] = (),
    ) -> tuple[Log, ...]:
        found = await super().logs(addresses, first, last, topics)
        return () if self.forgets else found

    async def logs_of(self, addresses: Sequence[ChecksumAddress], block_hash: bytes) -> tuple[Log, ...]:
        found = await super().logs_of(addresses, block_hash)
        return () if self.forgets else found


def forget(node: MoneyNode, forgets: bool) -> None:
    assert isinstance(node.connection, Forgetful)
    node.connection.forgets = forgets


async def test_books_that_are_right_pass(world: World, keys: NodeKeys) -> None:
    client, other = await world.client(keys.payee), await world.client(keys.payee)
    async with open_node(world, keys) as node:
        await node.audit.check()
        await node.serve(client, 1_000_000)
        await node.audit.check()
        await node.claimer.step()
        await node.catch_up()
        await node.pay(client, 2_000_000)
        await node.serve(other, 1_000_000)
        await other.start_close()
        await node.audit.check()  # as of the books' head, which is older
        await node.catch_up()
        await node.audit.check()


async def test_a_closing_that_nobody_heard_of_is_claimed_in_time(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, connection=Forgetful, claim=PATIENT) as node:
        await node.serve(client, 2_000_000)
        forget(node, True)
        await client.start_close()
        await node.catch_up()
        assert (await node.books(client)).status is Status.OPEN
        assert await node.claimer.step() is None
        with pytest.raises(BooksDisagree):
            await node.audit.check()
        forget(node, False)
        async with node.running():
            await node.has_claimed(2_000_000)
        account = await node.books(client)
        assert (account.status, account.spent) == (Status.CLOSING, PRICE)
        assert await world.connection.nonce(keys.gas_account) == 2
        await assert_books_agree(node)


async def test_a_claim_that_nobody_heard_of_is_not_sent_again(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, connection=Forgetful) as node:
        await node.serve(client, 2_000_000)
        forget(node, True)
        await node.claimer.step()
        await node.catch_up()
        await node.outbox.follow()  # its receipt says that it was mined
        assert (await node.outbox.status()).waiting == 0
        assert await node.claimed() == 0
        forget(node, False)
        async with node.running():
            await node.has_claimed(2_000_000)
        assert await world.connection.nonce(keys.gas_account) == 2
        await assert_books_agree(node)


async def test_an_opening_that_is_forgotten_on_the_second_reading_is_found_again(
    world: World, keys: NodeKeys
) -> None:
    """Books that read the chain anew, and then see less of it than before, still know what they were paid."""
    client = await world.client(keys.payee)
    async with open_node(world, keys, connection=Forgetful, claim=PATIENT) as node:
        await node.serve(client, 2_000_000)
        forget(node, True)
        async with node.following():
            await until(lambda: _is_forgotten(node, client))
        await node.catch_up()
        assert (await node.books(client)).claimable == 0
        with pytest.raises(BooksDisagree):
            await node.audit.check()
        forget(node, False)
    async with open_node(world, keys) as node, node.running():
        await node.has_claimed(2_000_000)
        await assert_books_agree(node)


async def test_an_opening_that_nobody_heard_of_is_found(world: World, keys: NodeKeys) -> None:
    client = await world.client(keys.payee)
    async with open_node(world, keys, connection=Forgetful, claim=PATIENT, wait_seconds=0) as node:
        forget(node, True)
        assert (await node.open(client.request())).account is None
        await node.catch_up()
        await node.outbox.follow()  # its receipt says that it was mined
        assert await node.ledger.account(client.signer) is None
        with pytest.raises(BooksDisagree, match="An opening was mined"):
            await node.audit.check()
        forget(node, False)
        async with node.running():
            await until(lambda: _is_paid(node, client))
        await node.audit.check()
        await assert_books_agree(node)


async def _is_paid(node: MoneyNode, client: Client) -> bool:
    account = await node.ledger.account(client.signer)
    return account is not None and account.paid == PRICE


async def _is_forgotten(node: MoneyNode, client: Client) -> bool:
    node.sync.start_over(node.world.start)
    return (await node.books(client)).opened_block == 0
