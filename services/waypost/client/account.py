"""A person's account: one BIP-39 seed from which the payer's key, every channel's signer, the secrets of
memberships and the mailbox key follow. Nothing else needs a backup; the wallet address is the one any
Ethereum wallet derives from the same words."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self, cast

from Crypto.Hash import SHA256
from Crypto.Protocol.KDF import HKDF
from eth_account.hdaccount import ETHEREUM_DEFAULT_PATH, Mnemonic, key_from_seed
from eth_account.types import Language
from eth_typing import ChecksumAddress
from nacl.public import PrivateKey
from nacl.utils import random as random_bytes

from waypost.client import keystore
from waypost.errors import InvalidMnemonic
from waypost.protocol.poseidon import R
from waypost.protocol.signatures import CURVE_ORDER, address_bytes, address_of

ENTROPY_BYTES = 32
WORDS = 24


@dataclass(frozen=True)
class Account:
    """Keys of one person. `entropy`: the seed's 32 random bytes (BIP-39, English, no passphrase)."""

    entropy: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.entropy) != ENTROPY_BYTES:
            raise InvalidMnemonic(f"A seed has {ENTROPY_BYTES} bytes, not {len(self.entropy)}.")

    @classmethod
    def create(cls) -> Self:
        """A new account from the operating system's randomness."""
        return cls(random_bytes(ENTROPY_BYTES))

    @classmethod
    def from_mnemonic(cls, words: str) -> Self:
        """The account of 24 words; letter case and spaces are free. Raises InvalidMnemonic."""
        phrase = words.lower().split()
        if len(phrase) != WORDS:
            raise InvalidMnemonic(f"A Waypost seed has {WORDS} words, not {len(phrase)}.", given=len(phrase))
        book = Mnemonic(Language.ENGLISH)
        unknown = [place for place, word in enumerate(phrase, 1) if word not in book.wordlist]
        if unknown:  # names the place, not the word: errors end up in logs
            raise InvalidMnemonic(f"Word {unknown[0]} is not in the BIP-39 English list.", word=unknown[0])
        if not book.is_mnemonic_valid(" ".join(phrase)):
            raise InvalidMnemonic("The words' checksum is wrong: one is mistyped or out of place.")
        bits = 0
        for word in phrase:
            bits = bits << 11 | book.wordlist.index(word)
        return cls((bits >> 8).to_bytes(ENTROPY_BYTES))  # 24 × 11 bits: 256 of entropy, 8 of checksum

    @classmethod
    def load(cls, path: Path, password: str) -> Self:
        """Read a keystore file. Raises InvalidConfig, KeystoreLocked, WrongPassword."""
        return cls(keystore.load_seed(path, password))

    def save(self, path: Path, password: str, *, scrypt_n: int = keystore.SCRYPT_N) -> None:
        """Write a keystore file; an existing file is never overwritten. Raises InvalidConfig."""
        keystore.save_seed(path, self.entropy, password, payer=self.payer, scrypt_n=scrypt_n)

    @property
    def mnemonic(self) -> str:
        """The 24 words: whoever reads them owns the account."""
        return Mnemonic(Language.ENGLISH).to_mnemonic(self.entropy)

    @cached_property
    def payer_key(self) -> bytes:
        """The key that owns the tokens, at m/44'/60'/0'/0/0 (BIP-44)."""
        return key_from_seed(self._seed, ETHEREUM_DEFAULT_PATH)

    @cached_property
    def payer(self) -> ChecksumAddress:
        """The address that pays for channels and gets refunds."""
        return address_of(self.payer_key)

    @cached_property
    def mailbox_key(self) -> PrivateKey:
        """The X25519 key that messages are sealed to."""
        return PrivateKey(self._derive(b"waypost mailbox", 32))

    def channel_key(self, *, chain_id: int, channels: str, payee: str, token: str, index: int) -> bytes:
        """The signing key of the `index`-th channel with a payee, the same wherever the seed is."""
        context = b"".join(
            (
                b"waypost channel",
                chain_id.to_bytes(32),
                *(address_bytes(address) for address in (channels, payee, token)),
                index.to_bytes(8),
            )
        )
        # 16 bytes more than the order has: reducing them biases no key by more than 2^-128.
        return (int.from_bytes(self._derive(context, 48)) % (CURVE_ORDER - 1) + 1).to_bytes(32)

    def rln_secret(self, *, chain_id: int, membership: str, index: int) -> int:
        """The secret of the `index`-th membership under a contract, a field element other than zero. A
        commitment registers once, so who joins again takes the next index."""
        context = b"".join(
            (b"waypost rln", chain_id.to_bytes(32), address_bytes(membership), index.to_bytes(8))
        )
        return int.from_bytes(self._derive(context, 48)) % (R - 1) + 1

    @cached_property
    def _seed(self) -> bytes:
        return Mnemonic.to_seed(self.mnemonic)

    def _derive(self, context: bytes, length: int) -> bytes:
        """HKDF-SHA256 of the BIP-39 seed (RFC 5869), with an empty salt."""
        return cast(bytes, HKDF(self._seed, length, b"", SHA256, context=context))
