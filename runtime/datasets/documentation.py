"""English text: CPython's own documentation of its topics."""

from __future__ import annotations

from .dataset import Dataset


def _read() -> bytes:
    """All topics of ``help()``, by name."""
    from pydoc_data.topics import topics  # half a megabyte of literals

    return "\n".join(topics[key] for key in sorted(topics)).encode()


def _parse(content: bytes) -> bytes:
    return content


DOCUMENTATION = Dataset(
    name="documentation",
    summary="CPython's documentation of its topics, about 465 kB of English",
    origin="pydoc_data.topics of the running Python",
    licence="PSF",
    size=0,
    sha256="",
    read=_read,
    parse=_parse,
)
