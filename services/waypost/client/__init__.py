"""The client SDK: an account, its paid channels with nodes, and its mailbox. Start at
`waypost.client.Client`. Imports `chain`, `protocol` and `errors`; never `node`."""

from waypost.client.account import Account
from waypost.client.client import Client
from waypost.client.nodes import PriceCeiling

__all__ = ["Account", "Client", "PriceCeiling"]
