"""Every error that Waypost raises on purpose, in one tree.

WaypostError
├── ProtocolError        a value breaks the wire format, or a signature does not hold
├── ChainError           the chain, its RPC endpoint or a transaction
├── NodeError            a service node refuses a request, or cannot run
├── ClientError          the client refuses to go on, or no node serves it
└── ConfigurationError   settings, key files and passwords
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeAlias

JSON: TypeAlias = Mapping[str, "JSON"] | Sequence["JSON"] | str | int | float | bool | None


class WaypostError(Exception):
    """Root of the tree.

    `code` is the class name in snake_case: stable, unique, what programs match on.
    `title` is the class docstring's first line: the same sentence for every occurrence.
    `str(error)` is one sentence about this occurrence; `details` are its figures, as JSON.
    """

    code: ClassVar[str] = "waypost_error"
    title: ClassVar[str] = "Something went wrong."

    def __init_subclass__(cls) -> None:
        cls.code = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
        cls.title = (cls.__doc__ or cls.code).splitlines()[0]

    def __init__(self, sentence: str = "", /, **details: JSON) -> None:
        super().__init__(sentence or self.title)
        self.details = details


# A table: one error a line, in alphabetical order.
# ruff: noqa: E701
# fmt: off

# ---- Protocol ----

class ProtocolError(WaypostError): """A value breaks the protocol."""

class AmountOutOfRange(ProtocolError): """The amount is negative, or larger than its type holds."""
class InvalidAddress(ProtocolError): """This is no Ethereum address, or its EIP-55 checksum is wrong."""
class InvalidAuthorization(ProtocolError): """The ERC-3009 authorization is malformed."""
class InvalidDescriptor(ProtocolError): """The node descriptor is malformed."""
class InvalidEndpoint(ProtocolError): """The endpoint is no https URL (plain http is for loopback only)."""
class InvalidFieldElement(ProtocolError): """The number is no reduced element of BN254's scalar field."""
class InvalidFrame(ProtocolError): """The frame of a relay is malformed."""
class InvalidMembership(ProtocolError): """The membership's registration, extension or exit is malformed."""
class InvalidMessage(ProtocolError): """The message is malformed."""
class InvalidOpening(ProtocolError): """The channel's opening, top-up or closing is malformed."""
class InvalidPath(ProtocolError): """The Merkle path does not lead from the member to the root."""
class InvalidPayment(ProtocolError): """The x402 payment object is malformed."""
class InvalidPoint(ProtocolError): """This is no canonical point of BN254 in the right subgroup."""
class InvalidPriceList(ProtocolError): """The price list is malformed."""
class InvalidPrivateKey(ProtocolError): """This is no private key of the curve."""
class InvalidProof(ProtocolError): """The zero-knowledge proof is malformed, or does not hold."""
class InvalidReceipt(ProtocolError): """The receipt is malformed, or the channel's signer did not sign it."""
class InvalidSeal(ProtocolError): """The payload was not sealed to this key, or was altered."""
class InvalidSession(ProtocolError): """The session request is malformed."""
class InvalidShares(ProtocolError): """The two signals do not disclose a secret."""
class InvalidSignature(ProtocolError): """The signature is malformed, or another key made it."""
class InvalidTopic(ProtocolError): """The topic is not of the form /application/version/name/encoding."""
class MessageTooLarge(ProtocolError): """The message is larger than allowed."""
class Unprovable(ProtocolError): """The circuit has no proof for these inputs."""

# ---- Chain ----

class ChainError(WaypostError): """The chain did not do what was asked."""

class BooksDisagree(ChainError): """The chain differs from what the node wrote down of it."""
class ChainStalled(ChainError): """The chain has had no new block for long, or its endpoint sees none."""
class DeploymentMismatch(ChainError): """The deployment on chain differs from the manifest."""
class DeploymentProxyMissing(ChainError): """The chain has no deterministic-deployment proxy."""
class FeeTooHigh(ChainError): """The chain asks for more per gas than the limit allows."""
class InsufficientFunds(ChainError): """The account cannot pay for this transaction."""
class InvalidCall(ChainError): """The arguments do not fit the contract's function."""
class ReorgTooDeep(ChainError): """The chain was reorganised deeper than the blocks that are remembered."""
class RpcFailed(ChainError): """The RPC endpoint answered with an error."""
class RpcUnreachable(ChainError): """The RPC endpoint cannot be reached."""
class TransactionReplaced(ChainError): """Another transaction of the account took the nonce."""
class TransactionReverted(ChainError): """The contract refused the transaction."""
class TransactionStuck(ChainError): """The transaction was not mined in time."""
class WrongChain(ChainError): """The RPC endpoint serves another chain."""
class WrongContract(ChainError): """The code at this address is not the expected contract."""

# ---- Node ----

class NodeError(WaypostError): """The node refuses this."""

class AdminTokenInvalid(NodeError): """The admin token is missing or wrong."""
class BodyTooLarge(NodeError): """The request body is larger than allowed."""
class ChannelClosed(NodeError): """The channel is closed."""
class ChannelClosing(NodeError): """The channel is closing, so its receipts are no longer accepted."""
class ChannelNotFinal(NodeError): """The channel's opening is not deep enough in the chain yet."""
class ChannelUnknown(NodeError): """The node knows no such channel."""
class ClaimPaysNothing(NodeError): """The chain would pay nothing for receipts that count as claimable."""
class ClockSkew(NodeError): """The timestamp is too far from the node's clock."""
class CloseDelayTooShort(NodeError): """The channel can close faster than the node is able to claim."""
class ConsentUnavailable(NodeError): """The node does not hold the key that consents to closing."""
class DataCorrupt(NodeError): """The data folder is damaged, or holds another program's file."""
class DataInUse(NodeError): """Another process uses this data folder."""
class DataOfAnotherChain(NodeError): """This data folder belongs to another chain, contract or payee."""
class DataTooNew(NodeError): """A newer version of the node wrote this data folder."""
class EpochOutOfRange(NodeError): """The epoch of the proof is too far from the node's clock."""
class HeadersTooLarge(NodeError): """The request's headers are larger than allowed."""
class IdempotencyConflict(NodeError): """This Idempotency-Key was used with another request."""
class InternalError(NodeError): """Something went wrong inside the node."""
class InvalidCursor(NodeError): """The cursor is not from this node."""
class InvalidRequest(NodeError): """The request is malformed."""
class MemberExposed(NodeError): """Everybody knows this member's secret, so its proofs prove nothing."""
class MemberRemoved(NodeError): """The member was slashed, has exited, or was not paid for any more."""
class MemberUnknown(NodeError): """The node knows no such member."""
class MembershipRateLimited(NodeError): """The node submits no more of these for members this hour."""
class MembershipRefused(NodeError): """The node does not submit this registration, extension or exit."""
class MessageConflict(NodeError): """The node keeps another message under this id."""
class MessageExpired(NodeError): """The message has expired."""
class MessageUnknown(NodeError): """The node has no such message."""
class MethodNotAllowed(NodeError): """This route does not answer the method."""
class NodeNotReady(NodeError): """The node is starting, or has lost its chain."""
class OpeningRateLimited(NodeError): """The node submits no more openings this hour."""
class OpeningRefused(NodeError): """The node does not submit this opening."""
class PaymentRequired(NodeError): """The request must be paid for."""
class PeerRefused(NodeError): """Another node does not let this one read what it relays."""
class PortInUse(NodeError): """Another program listens on this port."""
class PriceExpired(NodeError): """The price list named in the request is no longer honoured."""
class QuotaExceeded(NodeError): """The channel's storage quota is used up."""
class RateExceeded(NodeError): """The member sent more in this epoch than its rate, which shows its secret."""
class RateLimited(NodeError): """Too many requests."""
class ReceiptExceedsDeposit(NodeError): """The receipt's total is above the channel's deposit."""
class ReceiptForAnotherNode(NodeError): """The receipt pays another node."""
class ReceiptTooSmall(NodeError): """The receipt raises the total by less than the node's minimum."""
class RequestTimeout(NodeError): """The request took too long to arrive."""
class RetentionOutOfRange(NodeError): """The retention is shorter or longer than the node offers."""
class RlnUnavailable(NodeError): """The node does not follow an RLN membership contract."""
class RootUnknown(NodeError): """The proof names a root that the tree of members has not had lately."""
class RouteUnknown(NodeError): """The node has no such route."""
class SessionExpired(NodeError): """The session has expired."""
class SessionInvalid(NodeError): """The session is unknown."""
class StaleReceipt(NodeError): """The receipt is not above what was already paid, so it authorises nothing."""
class StorageFull(NodeError): """The node's disk is full."""
class SubscriberTooSlow(NodeError): """The subscriber reads more slowly than messages come."""
class UnsupportedMediaType(NodeError): """The body is not JSON."""

# ---- Client ----

class ClientError(WaypostError): """The client cannot go on."""

class AnswerLost(ClientError): """The node's answer did not arrive, so the request may have been served."""
class ChannelMissing(ClientError): """There is no channel with this node."""
class ClockDiffers(ClientError): """This machine's clock and the node's are too far apart."""
class DemoFailed(ClientError): """The demo did not go as it should."""
class DepositExhausted(ClientError): """This costs more than the channel's deposit has left."""
class EpochSpent(ClientError): """The membership allows no more messages in this epoch."""
class InvalidAnswer(ClientError): """The node's answer breaks the protocol."""
class MembershipExists(ClientError): """There is a membership already, and one is for one device."""
class MembershipMissing(ClientError): """There is no membership to prove with."""
class MembershipPending(ClientError): """The chain, or the node's tree, does not have the membership yet."""
class MessageForged(ClientError): """A node delivered a message that does not match its id."""
class NoNodesFound(ClientError): """No node fulfils the conditions."""
class NodeDisagrees(ClientError): """The node's accounts differ from ours, so nothing more is signed."""
class NodeRefused(ClientError): """The node refused the request."""
class NodeUnreachable(ClientError): """The node cannot be reached."""
class OpeningNeedsGas(ClientError): """The token has no signed transfers (ERC-3009), so opening needs ETH."""
class OpeningPending(ClientError): """The chain does not have the channel yet."""
class PriceTooHigh(ClientError): """The node asks more than the highest price that was allowed."""
class SpendingLimitExceeded(ClientError): """This would spend more than the limit."""

# ---- Configuration ----

class ConfigurationError(WaypostError): """The configuration is unusable."""

class ConfirmationNeeded(ConfigurationError): """Money would move, and nobody can be asked."""
class DevelopmentKey(ConfigurationError): """Anybody can forge proofs for a development key."""
class FileUnusable(ConfigurationError): """A file or folder cannot be read or written."""
class InvalidBackup(ConfigurationError): """The backup is damaged, or was made by something else."""
class InvalidConfig(ConfigurationError): """A setting is missing or has an unusable value."""
class InvalidKey(ConfigurationError): """The proving or verifying key is damaged, or for another circuit."""
class InvalidMnemonic(ConfigurationError): """These are not the 24 words of a BIP-39 seed."""
class KeyUnknown(ConfigurationError): """No key file has this hash."""
class KeystoreLocked(ConfigurationError): """The key file needs a password."""
class ProverUnavailable(ConfigurationError): """This platform has no library that is fast enough to prove."""
class WrongPassword(ConfigurationError): """The password does not open the key file."""
