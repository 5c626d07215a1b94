"""Chain id and accounts of development chains, the embedded one too, so that wallets and tools know them."""

from eth_account.hdaccount import HDPath, seed_from_mnemonic

CHAIN_ID = 31337
MNEMONIC = "test test test test test test test test test test test junk"
"""Known to everybody: never send anything of value to its accounts."""

_SEED = seed_from_mnemonic(MNEMONIC, "")
FUNDED_KEYS = tuple(HDPath(f"m/44'/60'/0'/0/{index}").derive(_SEED) for index in range(10))
"""Private keys of ten accounts, with 10,000 ETH each on the embedded chain."""
