"""A whole Ethereum chain in this process (py-evm, Prague rules) behind a JSON-RPC port on loopback."""

from waypost.chain.development import CHAIN_ID, FUNDED_KEYS, MNEMONIC
from waypost.chain.embedded.chain import EmbeddedChain

__all__ = ["CHAIN_ID", "FUNDED_KEYS", "MNEMONIC", "EmbeddedChain"]
