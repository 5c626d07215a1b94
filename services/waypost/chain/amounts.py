"""Amounts as people write them, exact and without trailing zeros; and times, about."""


def plain(amount: int, decimals: int) -> str:
    """ "2.5" for 2,500,000 base units of six decimals."""
    whole, part = divmod(abs(amount), 10**decimals)
    digits = f"{part:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{'-' if amount < 0 else ''}{whole}{'.' + digits if digits else ''}"


def grouped(amount: int, decimals: int) -> str:
    """ "10,000.5" for 10,000,500,000 base units of six decimals: for reading, not for typing."""
    whole, point, part = plain(amount, decimals).partition(".")
    return f"{int(whole):,}{point}{part}"


def ether(wei: int) -> str:
    """ "0.01 ETH"."""
    return f"{plain(wei, 18)} ETH"


def span(seconds: int) -> str:
    """ "36 h", "3 d": about how long, in the largest unit of which there are at least two."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if abs(seconds) >= 2 * length:
            return f"{round(seconds / length)} {unit}"
    return f"{seconds} s"
