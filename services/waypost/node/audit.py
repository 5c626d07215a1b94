"""Compares the books with the chain's own state. An endpoint that leaves out a log breaks no rule that sync
could see, and a closing that nobody heard of would cost money: then those blocks are read again."""

from collections.abc import Sequence

from waypost.chain.blocks import BlockRef
from waypost.chain.channels import Channels, ChannelState, ChannelStatus
from waypost.errors import BooksDisagree
from waypost.node import blocks
from waypost.node.accounts import ChannelAccount, Status
from waypost.node.backends.sqlite import Database
from waypost.node.ledger import Ledger
from waypost.node.loops import Loop, Signal
from waypost.node.openings import first_unseen
from waypost.node.sync import Sync

AT_ONCE = 200

SHARE = 8
"""So often in the time that the fastest close takes."""
SHORTEST, LONGEST = 5.0, 600.0

_ENDING = {ChannelStatus.CLOSING: Status.CLOSING, ChannelStatus.CLOSED: Status.CLOSED}


def interval(close_delay: int) -> float:
    """Seconds between audits where channels may close within so many seconds."""
    return min(LONGEST, max(SHORTEST, close_delay / SHARE))


class Audit:
    """Every so many seconds, see `interval`."""

    def __init__(
        self, channels: Channels, ledger: Ledger, db: Database, sync: Sync, *, seconds: float
    ) -> None:
        self._channels = channels
        self._ledger = ledger
        self._db = db
        self._sync = sync
        self._loop = Loop("audit", self.check, seconds, Signal())

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._loop.run()

    async def check(self) -> None:
        """Looks for openings of ours that were mined and not seen, and compares every channel with an
        unclaimed receipt, as of the last block in the books.

        Raises BooksDisagree, and has sync read the chain again; or a ChainError.
        """
        head, unseen, accounts = await self._db.read(
            lambda connection: (
                blocks.head(connection),
                first_unseen(connection),
                self._ledger.accounts.unclaimed(connection),
            )
        )
        if head is None:
            return
        if unseen is not None:
            self._sync.start_over(unseen)
            raise BooksDisagree(
                f"An opening was mined in block {unseen}, and is not in the books.", block=unseen
            )
        for start in range(0, len(accounts), AT_ONCE):
            await self._compare(accounts[start : start + AT_ONCE], head)

    async def _compare(self, accounts: Sequence[ChannelAccount], head: BlockRef) -> None:
        payee, token = self._ledger.accounts.payee, self._ledger.accounts.token
        signers = [account.signer for account in accounts]
        states = await self._channels.channels_of(payee, token, signers, block=head.hash)
        wrong = [
            account for account, state in zip(accounts, states, strict=True) if not _agree(account, state)
        ]
        if not wrong:
            return
        self._sync.start_over(min(account.opened_block for account in wrong))
        raise BooksDisagree(
            f"The chain disagrees with the books about {len(wrong)} channels as of block {head.number}.",
            block=head.number,
            signers=[account.signer for account in wrong[:10]],
        )


def _agree(account: ChannelAccount, state: ChannelState) -> bool:
    if not account.opened_block:  # never opened, or a reorg undid it
        return state.status is ChannelStatus.NONE
    if account.paid > account.deposited and state.deposited > account.deposited:
        return False  # no receipt is taken above the deposit: the books had more, and lost it
    ending = account.status if account.status in (Status.CLOSING, Status.CLOSED) else None
    opened = state.status is not ChannelStatus.NONE
    return opened and ending is _ENDING.get(state.status) and account.claimed == state.claimed
