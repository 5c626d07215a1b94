"""Nodes as their operators see them: proves, registers and reads.
Defaults are a valid registration; every test changes the one thing that it is about."""

from typing import Any

from eth_account.signers.local import LocalAccount

from channel_ledger import DOLLAR, fresh_key
from signing import Domain, Signature

MIN_STAKE = 500 * DOLLAR
UNBONDING = 40 * 86400

STORE, RELAY, LEASE = 1, 2, 4
NOBODY = "0x" + "00" * 20
BURNED = "0x000000000000000000000000000000000000dEaD"
FOREVER = 2**40 - 1
ENDPOINT = "https://one.example:8443"
METADATA = b"\x0a" * 32


class Operators:
    """A registry, its token, and whoever registers."""

    def __init__(self, registry: Any, token: Any) -> None:
        self.registry, self.token = registry, token
        self.domain = Domain("Waypost NodeRegistry", registry.address)

    def prove(self, operator: Any, node_key: LocalAccount, **changes: Any) -> Signature:
        """`node_key`'s consent to work for `operator`."""
        message = {"operator": str(operator), "nodeKey": node_key.address}
        return self.domain.sign(node_key, "NodeKey", message | changes)

    def register(
        self,
        operator: Any,
        node_key: LocalAccount | None = None,
        /,
        key_sig: Signature | None = None,
        services: int = STORE | RELAY,
        payout: Any = None,
        endpoint: str = ENDPOINT,
    ) -> Any:
        """Registers `operator` and returns the transaction."""
        node_key = node_key or fresh_key()
        return self.registry.register(
            services,
            node_key.address,
            payout or operator,
            endpoint,
            METADATA,
            (key_sig or self.prove(operator, node_key)).packed,
            {"from": operator},
        )

    def node(self, operator: Any) -> dict[str, Any]:
        """The operator's node as the registry reports it."""
        return self.registry.node(operator).dict()

    def provision(self, operator: Any, slasher: Any = NOBODY) -> dict[str, int]:
        """What the operator has provisioned to the slasher: amount, thawing, thawedAt, locked."""
        return self.registry.provisionOf(operator, slasher).dict()
