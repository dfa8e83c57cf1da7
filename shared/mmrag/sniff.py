"""What a file is, by its first bytes: names lie, magic numbers do not."""

from __future__ import annotations

__all__ = ["HEAD", "sniff"]

HEAD = 4096
"""How many bytes from the start of a file are enough for :func:`sniff`."""

_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def sniff(head: bytes) -> str | None:
    """The MIME type of a picture or PDF by its first bytes (64 or more); None if it is neither."""
    for magic, mime in (
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"II+\0", "image/tiff"),  # BigTIFF
        (b"MM\0+", "image/tiff"),
    ):
        if head.startswith(magic):
            return mime
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    # "BM" alone would take a text about BMWs for a picture, so the header's size must fit too.
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    # Scanners and mail gateways leave line breaks or a byte order mark before the header.
    if head.lstrip(b"\xef\xbb\xbf\r\n\t \0").startswith(b"%PDF-"):
        return "application/pdf"
    return None


def _iso_media(head: bytes) -> str | None:
    """AVIF and HEIC share a container with MP4; its list of brands tells them apart."""
    size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[i : i + 4] for i in range(8, size, 4) if i != 12}
    if brands & {b"avif", b"avis"}:
        return "image/avif"
    return "image/heic" if brands & _HEIC_BRANDS else None
