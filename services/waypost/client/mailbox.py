"""A person's mailbox: an address to give away, sealed messages to others, and what others left."""

from collections.abc import Collection

from eth_typing import ChecksumAddress

from waypost.client import addresses
from waypost.client.account import Account
from waypost.client.channel import Context
from waypost.client.channels import PaymentChannels
from waypost.client.inbox import Fetched, Inbox
from waypost.client.listing import Listing
from waypost.client.outbox import Outbox, Sent

RETENTION_SECONDS = 7 * 24 * 3600
COPIES = 1


class Mailbox:
    """Sending and reading for one account."""

    def __init__(self, account: Account, context: Context, channels: PaymentChannels) -> None:
        self._account = account
        self.inbox = Inbox(account.mailbox_key, context, channels)
        self.outbox = Outbox(context, channels)

    @property
    def address(self) -> str:
        """What others need to write to this mailbox. Only the account's key opens what they write."""
        return addresses.encode(bytes(self._account.mailbox_key.public_key))

    async def send(
        self,
        recipient: str,
        plaintext: bytes,
        *,
        retention: int = RETENTION_SECONDS,
        copies: int = COPIES,
        operators: Collection[ChecksumAddress] = (),
    ) -> Sent:
        """Seal `plaintext` to a mailbox address and have `copies` nodes keep it for `retention` seconds.

        The nodes are those with open channels, or `operators`. Raises InvalidAddress, MessageTooLarge,
        ChannelMissing, and when no node keeps it what the first one answered.
        """
        message = self.outbox.compose(recipient, plaintext)
        return await self.outbox.store(message, retention, copies, operators)

    async def look(self, operators: Collection[ChecksumAddress] = ()) -> Listing:
        """What is new, at the registered nodes or `operators`; free."""
        return await self.inbox.look(operators)

    async def fetch(self, listing: Listing | None = None) -> Fetched:
        """Pay for, check and open what is new, or in `listing`. What went wrong is in `faults`."""
        return await self.inbox.fetch(listing or await self.inbox.look())

    async def acknowledge(self, fetched: Fetched) -> None:
        """The messages are safe: they are not fetched again."""
        await self.inbox.acknowledge(fetched)
