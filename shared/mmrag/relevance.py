"""What judged names mean in an index: records, pages of files, or whole files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mmrag.errors import InputError
from mmrag.judgements import JudgedQuery
from mmrag.types import Record

if TYPE_CHECKING:
    from mmrag.index import MultimodalIndex

__all__ = ["Relevance", "Unit"]


class Unit(NamedTuple):
    """What is ranked and judged: a record, a page or a file; ``none`` is not in the index."""

    kind: str
    name: str
    page: int = 0


class Relevance:
    """The judged names of some queries in one index.

    A name is the id of a record if there is one, else a file: its whole source, or the last parts
    of it. A ranking is one of records if any name is a record's id, else of pages if any name is a
    page, else of files: several records of one page or file then count once, at their best place.

    Raises:
        InputError: a name means several files.
    """

    def __init__(self, index: MultimodalIndex, queries: Iterable[JudgedQuery]) -> None:
        names = dict.fromkeys(name for query in queries for name in query.relevant)
        ids = {record.id for record in index.get(names)}
        files = _Files(index, [name for name in names if name not in ids])
        self._units = {
            name: Unit("record", name) if name in ids else files.unit(name) for name in names
        }
        kinds = {unit.kind for unit in self._units.values()}
        self._kind = next((kind for kind in ("record", "page", "file") if kind in kinds), "record")

    @property
    def by_record(self) -> bool:
        """Whether each record stands for itself."""
        return self._kind == "record"

    @property
    def missing(self) -> tuple[str, ...]:
        """The names that the index holds nothing of."""
        return tuple(name for name, unit in self._units.items() if unit.kind == "none")

    def gains(self, query: JudgedQuery) -> dict[Unit, int]:
        """What is relevant, with its grade."""
        gains: dict[Unit, int] = {}
        for name, grade in query.relevant.items():
            unit = self._units[name]
            gains[unit] = max(grade, gains.get(unit, 0))
        return gains

    def ranking(self, gains: Mapping[Unit, int], records: Sequence[Record]) -> list[Unit]:
        """What these records are for a query, each unit once, at its first place."""
        return list(dict.fromkeys(self._unit(gains, record) for record in records))

    def _unit(self, gains: Mapping[Unit, int], record: Record) -> Unit:
        alone = Unit("record", record.id)
        if not record.source:
            return alone
        file, page = Unit("file", record.source), record.locator.page
        one = file if page is None else Unit("page", record.source, page)
        judged = next((unit for unit in (alone, one, file) if unit in gains), None)
        return judged or {"record": alone, "page": one, "file": file}[self._kind]


class _Files:
    """The sources of an index that some names mean, and their pages."""

    def __init__(self, index: MultimodalIndex, names: Sequence[str]) -> None:
        self._sources: dict[str, set[str]] = {part: set() for n in names for part in _parts(n)}
        self._pages: set[tuple[str, int | None]] = set()
        for batch in index.store.scan() if names else ():
            for record in batch:
                self._note(record)

    def unit(self, name: str) -> Unit:
        for part, page in _parts(name).items():
            found = self._sources[part]
            # Of a name that is one file's whole source, no other file's end is meant.
            whole = {source for source in found if _plain(source) == part}
            sources = sorted(whole or found)
            if len(sources) > 1:
                raise InputError(
                    f"{name!r} is the name of {len(sources)} files, {sources[0]!r} and "
                    f"{sources[1]!r} among them: give more of its path"
                )
            if sources and page is None:
                return Unit("file", sources[0])
            if sources and page is not None and (sources[0], page) in self._pages:
                return Unit("page", sources[0], page)
        return Unit("none", name)

    def _note(self, record: Record) -> None:
        source = _plain(record.source)
        at = 0
        while at >= 0:
            if source[at:] in self._sources:
                self._sources[source[at:]].add(record.source)
                self._pages.add((record.source, record.locator.page))
            at = source.find("/", at) + 1 or -1


def _plain(path: str) -> str:
    return path.replace("\\", "/").removeprefix("./")


def _parts(name: str) -> dict[str, int | None]:
    """The files that a name may mean, with the page that is meant."""
    file, mark, page = name.rpartition("#page=")
    paged = mark and page.isascii() and page.isdigit() and len(page) < 10
    return {_plain(name): None} | ({_plain(file): int(page)} if paged else {})
