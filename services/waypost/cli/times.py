"""Times for people: UTC, to the second."""

from datetime import UTC, datetime

from waypost.chain.amounts import span as span


def utc(seconds: int) -> str:
    """ "2026-11-25 21:41:45 UTC" for Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
