"""Numbers as they are printed."""

from __future__ import annotations


def digits(value: float, sign: str = "") -> str:
    """Four digits after the point; three significant ones where little of those would be left, and six from a million
    on. So a score in small units is not printed as 0.0000.

    Args:
        sign: ``"+"`` to show it always.

    Example:
        >>> digits(0.98765), digits(0.0, "+"), digits(3.21987e-9), digits(-0.00042), digits(1234567.8)
        ('0.9877', '+0.0000', '3.22e-09', '-0.00042', '1.23457e+06')
    """
    size = abs(value)
    form = ".3g" if 0 < size < 1e-3 else ".4f" if size < 1e6 else ".6g"
    return f"{value:{sign}{form}}"
