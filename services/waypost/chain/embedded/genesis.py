"""What an embedded chain starts with: funded accounts and the contracts that real chains have."""

from eth_account.hdaccount import HDPath, seed_from_mnemonic

CHAIN_ID = 31337

MNEMONIC = "test test test test test test test test test test test junk"
"""The mnemonic of every development chain: its keys are public, never send anything real to them."""

_seed = seed_from_mnemonic(MNEMONIC, "")
FUNDED_KEYS = tuple(HDPath(f"m/44'/60'/0'/0/{index}").derive(_seed) for index in range(10))
"""Private keys of ten accounts with 10,000 ETH each."""
