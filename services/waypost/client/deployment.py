"""One deployment of the contracts on one chain as the client uses it: bindings, domains, identity."""

from dataclasses import dataclass
from functools import cached_property

from eth_typing import ChecksumAddress

from waypost.chain.channels import Channels
from waypost.chain.connection import Connection
from waypost.chain.deploy import verify
from waypost.chain.manifest import Manifest
from waypost.chain.membership import Membership
from waypost.chain.registry import Registry
from waypost.chain.token import Token
from waypost.client.store import Identity
from waypost.errors import MembershipMissing, RpcFailed
from waypost.protocol.eip712 import Domain, channels_domain, node_domain
from waypost.protocol.receipts import ReceiptVerifier


@dataclass(frozen=True)
class Deployment:
    """Bindings of one deployment; `genesis` is the hash of the chain's first block. `membership` is None
    where the manifest names no RlnMembership; its first event is in `membership_block` or later."""

    connection: Connection
    channels: Channels
    registry: Registry
    token: Token
    genesis: bytes
    membership: Membership | None = None
    membership_block: int = 0

    @classmethod
    async def open(cls, connection: Connection, manifest: Manifest) -> "Deployment":
        """Bind a manifest's contracts after comparing their code with our artifacts.

        Raises WrongChain, WrongContract, DeploymentMismatch, or why the endpoint does not answer.
        """
        await verify(connection, manifest)
        genesis = await connection.block(0)
        if genesis is None:
            raise RpcFailed("The RPC endpoint does not know the chain's first block.")
        rln = manifest.contracts.get(Membership.artifact)
        return cls(
            connection=connection,
            channels=Channels(connection, manifest.channels),
            registry=Registry(connection, manifest.registry),
            token=Token(connection, manifest.token),
            genesis=genesis.hash,
            membership=None if rln is None else Membership(connection, rln.address),
            membership_block=0 if rln is None else rln.block,
        )

    def require_membership(self) -> Membership:
        """The membership contract of the manifest, whatever nodes say. Raises MembershipMissing."""
        if self.membership is None:
            raise MembershipMissing("The manifest of this chain names no RlnMembership contract.")
        return self.membership

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id."""
        return self.connection.chain_id

    @property
    def identity(self) -> Identity:
        """What the client's state files name."""
        return Identity(
            chain_id=self.chain_id,
            channels=self.channels.address,
            registry=self.registry.address,
            token=self.token.address,
            genesis="0x" + self.genesis.hex(),
        )

    @cached_property
    def channels_domain(self) -> Domain:
        """Under which receipts, openings and closings are signed."""
        return channels_domain(self.chain_id, self.channels.address)

    @cached_property
    def node_domain(self) -> Domain:
        """Under which sessions and descriptors are signed."""
        return node_domain(self.chain_id, self.registry.address)

    def verifier(self, payee: ChecksumAddress) -> ReceiptVerifier:
        """Checks receipts made out to `payee`."""
        return ReceiptVerifier(self.channels_domain, payee, self.token.address)
