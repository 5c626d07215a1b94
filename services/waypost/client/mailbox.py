"""A person's mailbox: an address to give away, sealed messages to others, what others left, and what relays
pass on just now."""

from collections.abc import Collection

from eth_typing import ChecksumAddress

from waypost.client import addresses
from waypost.client.account import Account
from waypost.client.channel import Context
from waypost.client.channels import PaymentChannels
from waypost.client.inbox import Fetched, Inbox
from waypost.client.listing import Listing
from waypost.client.outbox import Outbox, Sent
from waypost.client.publisher import Published, Publisher
from waypost.client.subscription import Subscription
from waypost.errors import NoNodesFound
from waypost.protocol.messages import Message, parse_topic

RETENTION_SECONDS = 7 * 24 * 3600
COPIES = 1


class Mailbox:
    """Sending and reading for one account."""

    def __init__(
        self, account: Account, context: Context, channels: PaymentChannels, publisher: Publisher
    ) -> None:
        self._account, self._context, self._channels = account, context, channels
        self.publisher = publisher
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

    # ---- Relay ----

    def compose(self, to: str, payload: bytes) -> Message:
        """For everybody under a topic, as it is; or sealed, for a mailbox address. Raises InvalidTopic,
        InvalidAddress, MessageTooLarge."""
        if to.startswith("/"):
            return Message(to, payload, int(self._context.clock() * 1e9))
        return self.outbox.compose(to, payload)

    async def publish(
        self,
        to: str,
        payload: bytes,
        *,
        copies: int = COPIES,
        operators: Collection[ChecksumAddress] = (),
        paid: bool | None = None,
        message: Message | None = None,
    ) -> Published:
        """Have nodes pass a message on to who subscribes now or shortly: to a topic, or sealed to a mailbox.

        With a membership it is proved, costs nothing and reaches the subscribers of all nodes; `copies` are
        handed over, to `operators` or any nodes. Otherwise, or if `paid`, it is paid from channels and
        reaches the subscribers of those nodes. `message` repeats one that `compose` made, which uses up
        nothing more. Raises as `Publisher.prove` and `Publisher.pay`.
        """
        message = message or self.compose(to, payload)
        if paid or (paid is None and not self.publisher.has_membership()):
            return await self.publisher.pay(message, copies, operators)
        return await self.publisher.prove(message, copies, operators)

    async def subscribe(
        self,
        topics: Collection[str] = (),
        *,
        operators: Collection[ChecksumAddress] = (),
        nodes: int = 2,
        cursor: str | None = None,
        name: str = "",
    ) -> Subscription:
        """Messages on these topics as they come, or those sealed to this mailbox: an async context manager
        and iterator, see Subscription. From `operators`, or `nodes` of the registry, of which those with a
        channel and those without a price can deliver. What was consumed is remembered under `name`, or for
        the set of topics. Raises InvalidTopic, NoNodesFound."""
        for topic in topics:
            parse_topic(topic)
        if not operators:
            found = await self.publisher.relays()
            paid = {channel.record.operator for channel in self._channels.open_channels()}
            usable = [n for n in found if n.operator in paid or n.descriptor.prices.relay_per_kib == 0]
            operators = [node.operator for node in usable[:nodes]]
            if not operators:
                raise NoNodesFound("Every node that can be reached wants a channel to deliver messages.")
        if topics:
            wanted = sorted(set(topics))
            return Subscription(self._context, self._channels, wanted, operators, cursor=cursor, name=name)
        return Subscription(
            self._context,
            self._channels,
            self.inbox.topics,
            operators,
            cursor=cursor,
            name=name or "mailbox",
            key=self._account.mailbox_key,
        )
