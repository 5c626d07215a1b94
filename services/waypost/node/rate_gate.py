"""Whether a proved message keeps within its sender's rate."""

from enum import Enum, auto


class Verdict(Enum):
    """What a signal is, beside those of its nullifier that were seen before."""

    NEW = auto()
    DUPLICATE = auto()
    """The same share: nothing new is disclosed."""
    CONFLICT = auto()
    """Another share, which discloses the sender's secret."""
