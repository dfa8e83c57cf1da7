"""Filters as LangChain users write them, in the words of :mod:`mmrag.filters`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from langchain_mm.convert import DOCUMENT_KEY
from mmrag.errors import InputError
from mmrag.filters import (
    RECORD_KEYS,
    And,
    Eq,
    Exists,
    Filter,
    In,
    Not,
    Or,
    Range,
    Scalar,
    parse_filter,
)
from mmrag.types import Json

__all__ = ["DocumentFilter", "where_of"]

DocumentFilter: TypeAlias = Filter | Mapping[str, Json] | None
"""What a search takes: a dict as described at :func:`where_of`, or a tree of ``mmrag.filters``."""

_BOUNDS = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}
_NEGATED = {"$ne": "$eq", "$nin": "$in"}
_OPERATORS = ("$eq", "$ne", "$in", "$nin", *_BOUNDS, "$exists", "$not")
_COMBINED = ("$and", "$or", "$not")

# What was read from a file has source and page beside the metadata, and shows them in them.
_READ = Not(Exists(f"extra.{DOCUMENT_KEY}"))

_NUMBER = re.compile("[1-9][0-9]{0,8}", re.ASCII)

_Leaf = Callable[[str], Filter]


def where_of(filter: DocumentFilter) -> Filter | None:  # noqa: A002 - LangChain's word
    """The filter that a search's ``filter`` means; None where there are no conditions.

    >>> where_of({"lang": "en"})
    And(conditions=(Eq(key='metadata."lang"', value='en'),))

    A dict means that all its items hold: ``{"lang": "en"}``, ``{"lang": ["en", "de"]}``,
    ``{"year": {"$gte": 2020, "$lt": 2024}}``. The operators are ``$eq``, ``$ne``, ``$in``,
    ``$nin``, ``$gt``, ``$gte``, ``$lt``, ``$lte``, ``$exists`` and ``$not``; ``$and`` and ``$or``
    take a list of dicts, ``$not`` takes one.

    - A key is one of the document's metadata, where a dot may be a part of the key or lead into a
      nested dict. ``mmrag.modality``, ``mmrag.page``, ``mmrag.source`` and so on name a field of
      the record. Of what ``index.add_files`` read, ``source`` and ``page_label`` are what its
      documents show; a label that is a number may be given as one.
    - A document that lacks the key matches ``$ne``, ``$nin``, ``$not`` and ``{"$exists": False}``,
      and no other one. A list in the metadata matches by any of its items.

    A tree of :mod:`mmrag.filters` is taken as it is, with the keys that it has there.

    Raises:
        InputError: anything else; the message names the key and what it takes.
    """
    if not isinstance(filter, Mapping):
        try:
            return parse_filter(filter)
        except InputError:
            raise InputError(
                "a filter is a dict, as {'year': {'$gte': 2020}}, or a tree of mmrag.filters, "
                f"not {type(filter).__name__}"
            ) from None
    parts = tuple(_item(key, value) for key, value in filter.items())
    return And(parts) if parts else None


def _item(key: object, value: Json) -> Filter:
    if not isinstance(key, str) or not key:
        raise InputError(f"a filter's key is a non-empty string, not {key!r}")
    if key in _COMBINED:
        return _combined(key, value)
    if key[0] == "$":
        raise InputError(f"a filter has no {key!r}; there are {', '.join(_COMBINED)}")
    return _condition(key, value)


def _combined(operator: str, value: Json) -> Filter:
    if operator == "$not":
        return Not(_whole(operator, value))
    if not isinstance(value, list | tuple) or not value:
        raise InputError(f"{operator} takes a list of one or more filters, not {value!r}")
    parts = tuple(_whole(operator, part) for part in value)
    return And(parts) if operator == "$and" else Or(parts)


def _whole(operator: str, value: Json) -> Filter:
    meant = where_of(value)
    if meant is None:
        raise InputError(f"{operator} needs filters with at least one condition, not {value!r}")
    return meant


def _condition(key: str, value: Json) -> Filter:
    if not isinstance(value, Mapping):
        operator = "$in" if isinstance(value, list | tuple) else "$eq"
        return _operator(key, operator, value)
    parts = tuple(_operator(key, operator, operand) for operator, operand in value.items())
    if not parts:
        raise InputError(f"the filter on {key!r} is empty: give a value or an operator")
    return parts[0] if len(parts) == 1 else And(parts)


def _operator(key: str, operator: object, value: Json) -> Filter:
    if operator == "$not":
        return Not(_condition(key, value))
    if operator in _NEGATED:
        return Not(_operator(key, _NEGATED[str(operator)], value))
    if operator == "$exists" and value is False:
        return Not(_anywhere(key, Exists))
    return _anywhere(key, _leaf(key, operator, value))


def _leaf(key: str, operator: object, value: Json) -> _Leaf:
    if operator == "$eq":
        scalar = _scalar(key, operator, value)
        if key == "page_label":
            return lambda path: In(path, _labels((scalar,)))
        return lambda path: Eq(path, scalar)
    if operator == "$in":
        if not isinstance(value, list | tuple):
            raise _unfit(key, operator, "a list", value)
        scalars = tuple(_scalar(key, operator, item) for item in value)
        if key == "page_label":
            scalars = _labels(scalars)
        return lambda path: In(path, scalars)
    if operator == "$exists":
        if value is not True:
            raise _unfit(key, operator, "True or False", value)
        return Exists
    if operator in _BOUNDS:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _unfit(key, operator, "a number", value)
        bound = {_BOUNDS[str(operator)]: float(value)}
        return lambda path: Range(path, **bound)
    raise InputError(
        f"the filter on {key!r} has no {operator!r}; there are {', '.join(_OPERATORS)}. "
        "A nested key is written with a dot, as 'author.name'."
    )


def _anywhere(key: str, leaf: _Leaf) -> Filter:
    """The condition at any of the places that the key may mean."""
    prefix, _, name = key.partition(".")
    if prefix == "mmrag" and name in RECORD_KEYS:
        return leaf(name)
    found = [leaf(f'metadata."{key}"')]
    if "." in key:
        found.append(leaf(f"metadata.{key}"))
    if key == "source":
        found.append(And((_READ, Or((leaf("extra.path"), leaf("source"))))))
    if key == "page_label":
        found.append(And((_READ, leaf("page"))))
    return found[0] if len(found) == 1 else Or(tuple(found))


def _labels(given: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """Labels of pages, those that are numbers both as a string and as a number."""
    numbers = {str(label): int(label) for label in given if _NUMBER.fullmatch(str(label))}
    return tuple(dict.fromkeys((*given, *numbers, *numbers.values())))


def _scalar(key: str, operator: object, value: Json) -> Scalar:
    if isinstance(value, str | int | float | bool):
        return value
    raise _unfit(key, operator, "a string, a number or a bool", value)


def _unfit(key: str, operator: object, wanted: str, value: Json) -> InputError:
    hint = "; {'$exists': False} finds what has no value" if value is None else ""
    return InputError(f"the filter on {key!r}: {operator} takes {wanted}, not {value!r}{hint}")
