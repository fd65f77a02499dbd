"""A picture for every handle: a small face, the same each time, drawn from the handle's hash."""

import hashlib
from functools import lru_cache

GROUNDS = ("#b4552d", "#2f6f6b", "#5b4b8a", "#8a6d1f", "#3c6e3f", "#a33f5f", "#32629c", "#6b5344")
SKINS = ("#f6e3c5", "#e9c9a0", "#f2d7c9", "#d9e6df", "#e5dcf0", "#f5e6a8", "#cfe3f1", "#eccfd6")
EYES = (
    '<circle cx="24" cy="33" r="3"/><circle cx="40" cy="33" r="3"/>',
    '<path d="M20 34q4-5 8 0M36 34q4-5 8 0" fill="none" stroke-width="2.4"/>',
    '<circle cx="24" cy="33" r="6" fill="none" stroke-width="2"/><circle cx="40" cy="33" r="6" fill="none"'
    ' stroke-width="2"/><path d="M30 33h4" stroke-width="2"/><circle cx="24" cy="33" r="2"/>'
    '<circle cx="40" cy="33" r="2"/>',
    '<path d="M20 33h8M36 33h8" stroke-width="2.6"/>',
    '<circle cx="24" cy="33" r="3"/><path d="M36 33h8" stroke-width="2.6"/>',
    '<path d="M20 28l8 3M44 28l-8 3" stroke-width="2.2"/><circle cx="24" cy="34" r="2.6"/>'
    '<circle cx="40" cy="34" r="2.6"/>',
)
MOUTHS = (
    '<path d="M25 44q7 6 14 0" fill="none" stroke-width="2.4"/>',
    '<path d="M26 45h12" stroke-width="2.4"/>',
    '<path d="M25 47q7-6 14 0" fill="none" stroke-width="2.4"/>',
    '<ellipse cx="32" cy="46" rx="4" ry="3.4"/>',
    '<path d="M25 43q7 10 14 0z"/>',
    '<path d="M27 46q4 2 10-2" fill="none" stroke-width="2.4"/>',
)
HATS = (
    "",
    '<path d="M17 24q15-18 30 0z"/>',
    '<path d="M20 21l4-9 8 6 8-6 4 9z"/>',
    '<path d="M15 24h34v-3H43V9H21v12h-6z"/>',
    '<path d="M18 25q2-14 14-14 14 0 14 14-8-8-28 0z"/>',
    '<path d="M31 18q-1-8 5-10M33 18q3-5 8-5" fill="none" stroke-width="2.4"/>',
)


@lru_cache(maxsize=4096)
def avatar(handle: str) -> bytes:
    """An SVG picture of 64 × 64 units. It holds nothing of the handle but its hash."""
    bits = hashlib.blake2b(handle.lower().encode("utf-8", "replace"), digest_size=8).digest()

    def pick(options: tuple[str, ...], at: int) -> str:
        return options[bits[at] % len(options)]

    ground, skin, ink = pick(GROUNDS, 0), pick(SKINS, 1), "#2a211b"
    radius = 17 + bits[2] % 4
    width, top, corner = 2 * radius, 20 - bits[3] % 3, radius - bits[3] % 7
    drawn = pick(EYES, 3) + pick(MOUTHS, 4) + pick(HATS, 5)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">'
        f'<rect width="64" height="64" fill="{ground}"/>'
        f'<path d="M8 64q2-15 24-15t24 15z" fill="{pick(GROUNDS, 6)}" stroke="{skin}" stroke-width="1.5"/>'
        f'<rect x="{32 - radius}" y="{top}" width="{width}" height="33" rx="{corner}" fill="{skin}"/>'
        f'<g fill="{ink}" stroke="{ink}" stroke-width="0" stroke-linecap="round">{drawn}</g>'
        "</svg>"
    ).encode()
