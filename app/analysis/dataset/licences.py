"""Licences of datasets: SPDX's names, or the address of a text."""

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

MUST = "must be an SPDX name of one licence, as CC-BY-4.0 or CC0-1.0, or the address of its text (https://…)"


def licence(text: str) -> str:
    """A licence as it is told: SPDX's name in its spelling, an address as it is, nothing where none is given.

    Raises:
        ValueError: it is neither.
    """
    text = text.strip()
    if not text or (text.startswith(("http://", "https://")) and len(text.split()) == 1):
        return text
    try:
        name: str = canonicalize_license_expression(text)
    except InvalidLicenseExpression:
        raise ValueError(MUST) from None
    if len(name.split()) > 1 or name.startswith("LicenseRef-"):
        raise ValueError(MUST)
    return name
