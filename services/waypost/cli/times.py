"""Times for people: UTC, to the second."""

from datetime import UTC, datetime


def utc(seconds: int) -> str:
    """ "2026-11-25 21:41:45 UTC" for Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def span(seconds: int) -> str:
    """ "36 h", "3 d": about how long, in the largest unit of which there are at least two."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{seconds} s"
