"""Amounts as people write them: exact, without trailing zeros."""


def plain(amount: int, decimals: int) -> str:
    """ "2.5" for 2,500,000 base units of six decimals."""
    whole, part = divmod(abs(amount), 10**decimals)
    digits = f"{part:0{decimals}d}".rstrip("0") if decimals else ""
    return f"{'-' if amount < 0 else ''}{whole}{'.' + digits if digits else ''}"


def ether(wei: int) -> str:
    """ "0.01 ETH"."""
    return f"{plain(wei, 18)} ETH"
