"""LlamaIndex's ``MetadataFilters`` in the words of :mod:`mmrag.filters`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
)

from llama_index_mm.convert import NODE_KEY
from mmrag.errors import InputError
from mmrag.filters import RECORD_KEYS, And, Exists, Filter, In, Not, Or, Range, Scalar

__all__ = ["DOCUMENT", "narrowed", "where_of"]

DOCUMENT = f"extra.{NODE_KEY}.document"
"""Where a record says which document its node is a part of."""

# What LlamaIndex's own stores find beside the metadata, under any of these names.
_DOCUMENT_KEYS = ("ref_doc_id", "doc_id", "document_id")
_BOUNDS = {
    FilterOperator.GT: "gt",
    FilterOperator.GTE: "gte",
    FilterOperator.LT: "lt",
    FilterOperator.LTE: "lte",
}
_NEGATED = {
    FilterOperator.NE: FilterOperator.EQ,
    FilterOperator.NIN: FilterOperator.IN,
}
_BOOLEANS = {"true": True, "false": False}

_Leaf = Callable[[str], Filter]


def where_of(filters: MetadataFilters | None) -> Filter | None:
    """The filter that LlamaIndex's filters mean; None where there are no conditions.

    A key is one of the node's metadata, where a dot may be a part of the key or lead into a nested
    dict; ``ref_doc_id``, ``doc_id`` and ``document_id`` also name the node's document, and
    ``mmrag.modality``, ``mmrag.page``, ``mmrag.source`` and so on a field of the record.

    - A node that lacks the key matches NE, NIN and IS_EMPTY, as in LlamaIndex, and no other one.
    - A list in the metadata matches EQ, IN, ANY and CONTAINS by any of its items, ALL by all.
    - LlamaIndex refuses a boolean as a value: the strings ``"true"`` and ``"false"``, in any case,
      match the boolean as well as the string.
    - The condition NOT holds when none of its filters does.

    Raises:
        InputError: an operator that an index cannot express (TEXT_MATCH, TEXT_MATCH_INSENSITIVE),
            or a value that does not fit its operator; the message names the operator and the key.
    """
    if filters is None:
        return None
    parts = tuple(part for part in map(_condition, filters.filters) if part is not None)
    if not parts:
        return None
    if filters.condition is FilterCondition.OR:
        return Or(parts)
    return Not(Or(parts)) if filters.condition is FilterCondition.NOT else And(parts)


def narrowed(
    filters: MetadataFilters | None,
    node_ids: Sequence[str] | None = None,
    doc_ids: Sequence[str] | None = None,
) -> Filter | None:
    """Filters, ids of nodes and ids of documents together; None if there are none of them.

    Raises as :func:`where_of`.
    """
    conditions = (
        where_of(filters),
        None if node_ids is None else In("id", tuple(node_ids)),
        None if doc_ids is None else In(DOCUMENT, tuple(doc_ids)),
    )
    given = tuple(condition for condition in conditions if condition is not None)
    return And(given) if given else None


def _condition(part: MetadataFilter | MetadataFilters) -> Filter | None:
    return where_of(part) if isinstance(part, MetadataFilters) else _leaf(part)


def _leaf(leaf: MetadataFilter) -> Filter:
    key, operator = leaf.key, leaf.operator
    if operator in _NEGATED:
        return Not(_leaf(leaf.model_copy(update={"operator": _NEGATED[operator]})))
    if operator in (FilterOperator.EQ, FilterOperator.CONTAINS):
        return _equal(key, [_scalar(leaf)])
    if operator in (FilterOperator.IN, FilterOperator.ANY):
        return _equal(key, _list(leaf))
    if operator is FilterOperator.ALL:
        return And(tuple(_equal(key, [value]) for value in _list(leaf)))
    if operator is FilterOperator.IS_EMPTY:
        return Or((Not(_anywhere(key, Exists)), _equal(key, [""])))
    if operator in _BOUNDS:
        bound = {_BOUNDS[operator]: _number(leaf)}
        return _anywhere(key, lambda path: Range(path, **bound))
    raise InputError(
        f"the filter on {key!r}: an mmrag index has no operator {operator.name}; words are "
        "searched for, by the query"
    )


def _equal(key: str, values: Sequence[Scalar]) -> Filter:
    meant: list[Scalar] = list(values)
    lowered = (value.lower() for value in values if isinstance(value, str))
    meant += [_BOOLEANS[name] for name in lowered if name in _BOOLEANS]
    return _anywhere(key, lambda path: In(path, tuple(meant)))


def _anywhere(key: str, leaf: _Leaf) -> Filter:
    """The condition at any of the places that the key may mean."""
    prefix, _, name = key.partition(".")
    if prefix == "mmrag" and name in RECORD_KEYS:
        return leaf(name)
    paths = [f'metadata."{key}"']
    if "." in key:
        paths.append(f"metadata.{key}")
    if key in _DOCUMENT_KEYS:
        paths.append(DOCUMENT)
    return leaf(paths[0]) if len(paths) == 1 else Or(tuple(leaf(path) for path in paths))


def _number(leaf: MetadataFilter) -> float:
    if not isinstance(leaf.value, int | float):
        raise _unfit(leaf, "a number")
    return float(leaf.value)


def _scalar(leaf: MetadataFilter) -> str | int | float:
    if leaf.value is None or isinstance(leaf.value, list):
        raise _unfit(leaf, "one value")
    return leaf.value


def _list(leaf: MetadataFilter) -> Sequence[str | int | float]:
    if not isinstance(leaf.value, list):
        raise _unfit(leaf, "a list")
    return leaf.value


def _unfit(leaf: MetadataFilter, wanted: str) -> InputError:
    return InputError(
        f"the filter on {leaf.key!r}: {leaf.operator.name} compares with {wanted}, "
        f"not with {leaf.value!r}"
    )
