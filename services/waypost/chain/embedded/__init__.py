"""A whole Ethereum chain in this process (py-evm, Prague rules) behind a JSON-RPC port on loopback."""

from waypost.chain.embedded.chain import EmbeddedChain
from waypost.chain.embedded.genesis import CHAIN_ID, FUNDED_KEYS, MNEMONIC

__all__ = ["CHAIN_ID", "FUNDED_KEYS", "MNEMONIC", "EmbeddedChain"]
