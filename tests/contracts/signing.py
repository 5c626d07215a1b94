"""Typed data (EIP-712) signed with eth-account, from the type strings of the interface alone.
Nothing here comes from the product, so the two cannot be wrong together."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils import keccak

TYPES = {
    "Receipt": "address payee,address token,uint128 cumulative",
    "Opening": "address payer,address payee,address token,address signer,uint32 closeDelay,"
    "uint128 amount,bytes32 salt,uint40 deadline",
    "TopUp": "address payer,address payee,address token,address signer,uint128 amount,"
    "bytes32 salt,uint40 deadline",
    "StartClose": "address payee,address token,address signer,uint40 deadline",
    "Close": "address payee,address token,address signer,uint128 finalCumulative,uint40 deadline",
    "WithdrawCredit": "address owner,address token,address to,bytes32 salt,uint40 deadline",
    "NodeKey": "address operator,address nodeKey",
    "Registration": "address payer,uint256 idCommitment,uint16 rate,address homeNode,uint32 periods,"
    "uint40 deadline",
    "Extension": "address payer,uint256 idCommitment,uint32 periods,bytes32 salt,uint40 deadline",
    "Exit": "uint256 idCommitment,uint40 deadline",
    "Permit": "address owner,address spender,uint256 value,uint256 nonce,uint256 deadline",
    "ReceiveWithAuthorization": "address from,address to,uint256 value,uint256 validAfter,"
    "uint256 validBefore,bytes32 nonce",
    "TransferWithAuthorization": "address from,address to,uint256 value,uint256 validAfter,"
    "uint256 validBefore,bytes32 nonce",
    "CancelAuthorization": "address authorizer,bytes32 nonce",
}


def key(label: str) -> LocalAccount:
    """The key that a label stands for: the same in every run, another for every label."""
    return Account.from_key(keccak(text=f"waypost test {label}"))


@dataclass(frozen=True)
class Signature:
    """One signature in the three forms that contracts take."""

    r: bytes
    s: bytes
    v: int

    @property
    def compact(self) -> tuple[bytes, bytes]:
        """(r, vs), EIP-2098."""
        vs = int.from_bytes(self.s, "big") | (self.v - 27) << 255
        return self.r, vs.to_bytes(32, "big")

    @property
    def packed(self) -> bytes:
        """65 bytes: r, s, v."""
        return self.r + self.s + bytes([self.v])

    @property
    def vrs(self) -> tuple[int, bytes, bytes]:
        """As ERC-2612 and ERC-3009 take it."""
        return self.v, self.r, self.s


@dataclass(frozen=True)
class Domain:
    """An EIP-712 domain of version 1."""

    name: str
    contract: str
    chain_id: int = 31337
    version: str = "1"

    def with_(self, **changes: Any) -> "Domain":
        """The same domain but for the given fields."""
        return replace(self, **changes)

    def _encode(self, primary: str, message: Mapping[str, Any]) -> Any:
        fields = [field.split(" ") for field in TYPES[primary].split(",")]
        return encode_typed_data(
            {
                "name": self.name,
                "version": self.version,
                "chainId": self.chain_id,
                "verifyingContract": self.contract,
            },
            {primary: [{"name": name, "type": kind} for kind, name in fields]},
            dict(message),
        )

    @property
    def separator(self) -> bytes:
        """The domain separator."""
        return bytes(
            self._encode("CancelAuthorization", {"authorizer": self.contract, "nonce": bytes(32)}).header
        )

    def struct_hash(self, primary: str, message: Mapping[str, Any]) -> bytes:
        """hashStruct(message)."""
        return bytes(self._encode(primary, message).body)

    def digest(self, primary: str, message: Mapping[str, Any]) -> bytes:
        """What is signed."""
        encoded = self._encode(primary, message)
        return keccak(b"\x19" + encoded.version + encoded.header + encoded.body)

    def sign(self, account: LocalAccount, primary: str, message: Mapping[str, Any]) -> Signature:
        """`account`'s signature of a message."""
        signed = account.unsafe_sign_hash(self.digest(primary, message))
        return Signature(signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big"), signed.v)
