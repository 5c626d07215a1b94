"""Sessions: a channel's signer asks one node for a bearer token of at most an hour."""

from dataclasses import dataclass

from waypost.errors import InvalidSession
from waypost.protocol.eip712 import Address, TypedStruct, Uint40, Uint256

MAX_SESSION_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Session(TypedStruct):
    """Signed under the node domain; `nonce` is used once, `expires` is Unix seconds."""

    error = InvalidSession

    operator: Address
    nonce: Uint256
    expires: Uint40
