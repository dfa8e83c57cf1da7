"""Whether what is given as records are records. Here and not in the dataclass: an index makes many
records of its own, and searches should not pay for checking them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from mmrag.errors import InputError
from mmrag.types import Caption, ImageRef, Locator, Record

__all__ = ["checked_records"]

_FIELDS: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    ("text", str, "a str"),
    (
        "image",
        (ImageRef, type(None)),
        "an ImageRef(uri, sha256, mime, width, height), where mmrag.media.load(path) tells all but "
        "the uri, which is the path (and add_files takes files as they are)",
    ),
    ("caption", (Caption, type(None)), "a Caption, as in Caption('a cat')"),
    ("source", str, "a str"),
    ("locator", Locator, "a Locator"),
    ("metadata", Mapping, "a dict"),
    ("extra", Mapping, "a dict"),
)


def checked_records(records: Iterable[Record]) -> Iterator[Record]:
    """The records, each checked when its turn comes.

    Raises:
        InputError: at once if it is no collection, and later for what is no record, or a record
            with a field of another type than it says.
    """
    # A dict or a string is iterable too, but what comes out of it is never meant.
    if isinstance(records, str | bytes | Mapping) or not isinstance(records, Iterable):
        raise InputError(f"add takes a list of records, not a {_kind(records)}")
    return (_checked(place, record) for place, record in enumerate(records))


def _checked(place: int, record: Record) -> Record:
    if not isinstance(record, Record):
        raise InputError(f"records[{place}] is a {_kind(record)}: a Record is wanted")
    if not isinstance(record.id, str):
        raise InputError(f"records[{place}]: id is a str, not {_kind(record.id)}")
    for name, types, wanted in _FIELDS:
        if not isinstance(given := getattr(record, name), types):
            raise InputError(f"record {record.id!r}: {name} is {wanted}, not {_kind(given)}")
    if record.image is not None and not isinstance(record.image.uri, str):
        raise InputError(f"record {record.id!r}: image.uri is a str, not {_kind(record.image.uri)}")
    return record


def _kind(given: object) -> str:
    return type(given).__name__
