"""The deterministic-deployment proxy: CREATE2 for everybody, at the same address on every chain.
Source: github.com/Arachnid/deterministic-deployment-proxy."""

from eth_typing import ChecksumAddress

from waypost.chain.connection import Call
from waypost.protocol.signatures import address_bytes, checksum, keccak

ADDRESS = ChecksumAddress("0x4e59b44847b379578588920cA78FbF26c0B4956C")  # type: ignore[arg-type]
CODE = bytes.fromhex(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe0"
    "3601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
)

# Signed without a chain id, by a key that nobody has: installs the proxy on any chain that takes it.
INSTALLER = ChecksumAddress("0x3fAB184622Dc19b6109349B94811493BF2a45362")  # type: ignore[arg-type]
CREATION = bytes.fromhex("604580600e600039806000f350fe") + CODE
INSTALLATION = bytes.fromhex(
    "f8a58085174876e800830186a08080b853"
    + CREATION.hex()
    + "1ba02222222222222222222222222222222222222222222222222222222222222222"
    "a02222222222222222222222222222222222222222222222222222222222222222"
)
INSTALLATION_GAS, INSTALLATION_PRICE = 100_000, 10**11
INSTALLATION_COST = INSTALLATION_GAS * INSTALLATION_PRICE
"""What the installer must hold, in wei: the presigned gas times the presigned price."""


def address_of(init_code: bytes, salt: bytes) -> ChecksumAddress:
    """Where the proxy creates this code (EIP-1014)."""
    return checksum(keccak(b"\xff" + address_bytes(ADDRESS) + salt + keccak(init_code))[12:])


def create(init_code: bytes, salt: bytes, name: str) -> Call:
    """Creates a contract; reverts if it is there already."""
    return Call(ADDRESS, salt + init_code, name=name)
