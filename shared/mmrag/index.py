"""MultimodalIndex: texts and pictures in, fused hits out. The facade over encoders and a store."""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mmrag.calibration import Calibrator
from mmrag.checks import checked_records
from mmrag.encode import BATCH, Encoders, Prepared
from mmrag.errors import InputError, NotAnIndex
from mmrag.filters import Where, parse_filter
from mmrag.manifest import Manifest
from mmrag.pipeline import ahead, batched, threads
from mmrag.search import DEPTH, Searcher
from mmrag.types import Record, key_of

if TYPE_CHECKING:
    from mmrag.captioning import CaptionReport
    from mmrag.display import Hits
    from mmrag.fusion import Fusion
    from mmrag.info import Info
    from mmrag.media import ImageInput
    from mmrag.protocols import Captioner, ImageEncoder, Reranker, Store, TextEncoder, Vector
    from mmrag.report import Progress, Report

__all__ = ["MultimodalIndex"]


class MultimodalIndex:
    """One index over texts and pictures; safe to use from several threads.

    >>> with MultimodalIndex.open("kb") as index:            # doctest: +SKIP
    ...     index.add_files(["manuals/"])
    ...     index.search("how do I reset the router?")
    """

    def __init__(self, store: Store, encoders: Encoders, folder: Path | None = None) -> None:
        self.store = store
        self.encoders = encoders
        self.folder = folder
        self.ingesting = threading.RLock()  # one run of add_files at a time
        self._calibrator = Calibrator(store, encoders, folder)
        self._searcher = Searcher(store, encoders, self._calibrator, folder)

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        *,
        store: Store | None = None,
        text_encoder: TextEncoder | str | None = None,
        image_encoder: ImageEncoder | str | None = None,
        create: bool = True,
    ) -> MultimodalIndex:
        """Open the index in the folder ``path``, or make one there.

        Without ``store`` it is kept in the folder by :class:`mmrag.stores.edge.EdgeStore`. With a
        store of its own, ``path`` is only needed for :meth:`add_files` (journal, derived pictures).
        An encoder may be given by its name (``mmrag encoders`` lists them); one that is not given
        is the bundled one.

        Raises:
            InputError: there is neither a path nor a store, or the path is empty or none.
            NotAnIndex: the folder holds something else, or nothing and ``create`` is false.
            StoreLocked: another process has it open.
            SpaceMismatch: it was made with other encoders.
            UnknownName: there is no encoder of this name.
        """
        from mmrag.encoders import load_encoder, load_image_encoder
        from mmrag.encoders.bundled import BundledEncoder

        if not (path is None or isinstance(path, str | os.PathLike)):
            raise InputError(f"path is a str or a Path, not {type(path).__name__}")
        if path == "":
            raise InputError("the path is empty; the working directory is '.'")
        text = load_encoder(text_encoder) if isinstance(text_encoder, str) else text_encoder
        given = image_encoder
        image = load_image_encoder(given) if isinstance(given, str) else given
        bundled = BundledEncoder()
        encoders = Encoders(text or bundled, image or bundled)
        folder = None if path is None else Path(path).expanduser().absolute()
        if store is None:
            if folder is None:
                raise InputError("an index needs a folder to live in, or a store")
            from mmrag.stores.edge import EdgeStore

            store = EdgeStore(folder, create=create)
        index = cls(store, encoders, folder)
        try:
            index._prepare()
        except BaseException:
            store.close()
            raise
        return index

    def _prepare(self) -> None:
        saved = self.store.manifest()
        if saved is None and self.store.count():
            raise NotAnIndex("there are records, but nothing says which encoders made them")
        if saved is not None:
            self.encoders.check(Manifest.parse(saved).spaces)
        self.store.prepare({field: space.dim for field, space in self.encoders.spaces().items()})
        if saved is None:
            self.store.save_manifest(Manifest(spaces=self.encoders.spaces()).dump())

    def add(
        self,
        records: Iterable[Record],
        vectors: Mapping[str, Sequence[Vector | None]] | None = None,
    ) -> int:
        """Encode and write records, in batches; a record of an id that exists replaces it.

        ``vectors`` are those that the caller has already: for a field, one vector (or None) a
        record. All that is missing is encoded. Returns the number of records.

        Raises:
            InputError: something is no record, or one of its fields is of a wrong type.
            SourceError: a picture cannot be opened. Earlier batches stay written.
            VectorError: a given vector cannot be stored.
        """
        records = checked_records(records)
        if vectors is not None:
            records = list(records)
            for field, column in vectors.items():
                if len(column) != len(records):
                    raise InputError(
                        f"{len(column)} {field} vectors for {len(records)} records: one each"
                    )
        total = 0
        with ThreadPoolExecutor(threads(), "mmrag-decode") as pool:
            numbered = zip(records, _rows(vectors or {}), strict=False)
            for batch in ahead(pool, self._prepared, batched(numbered, BATCH)):
                self.write(batch)
                total += len(batch)
        return total

    def _prepared(self, item: tuple[Record, dict[str, Vector]]) -> Prepared:
        record, vectors = item
        if record.image is None:
            return Prepared(record, None, vectors)
        return self.encoders.opened(record, self.resolve(record.image.uri), vectors)

    def write(self, batch: Sequence[Prepared]) -> None:
        """Encode a batch, one call a field, and write it; for callers that decode by themselves."""
        self.store.upsert(self.encoders.points(batch))
        self._calibrator.written(len(batch))

    def add_files(
        self,
        paths: Iterable[str | Path],
        *,
        prune: bool = False,
        retry: bool = False,
        progress: Progress | None = None,
    ) -> Report:
        """Index files and folders; what is unchanged since the last time costs one hash.

        See :func:`mmrag.ingest.ingest`. Bad files are in the report, with their reasons.
        """
        from mmrag.ingest import ingest

        return ingest(self, paths, prune=prune, retry=retry, progress=progress)

    def add_captions(
        self,
        captioner: Captioner,
        *,
        where: Where = None,
        anew: bool = False,
        progress: Progress | None = None,
    ) -> CaptionReport:
        """Describe the pictures that have no caption of this captioner yet.

        See :func:`mmrag.captioning.caption_index`. Pictures that failed are in the report.
        """
        from mmrag.captioning import caption_index

        return caption_index(self, captioner, where=where, anew=anew, progress=progress)

    def search(
        self,
        text: str | None = None,
        *,
        image: ImageInput | None = None,
        limit: int = 10,
        where: Where = None,
        routes: Iterable[str] | None = None,
        fusion: str | Fusion | None = None,
        rerank: Reranker | None = None,
    ) -> Hits:
        """The ``limit`` best records for words, a picture, or both together.

        ``routes`` are names of :data:`mmrag.routes.ROUTES`, by default all that the query can
        take. ``fusion`` is a name of :data:`mmrag.fusion.FUSIONS` or a function like those.
        ``rerank`` puts the best 50, or ``limit`` if that is more, into its own order.

        Raises:
            InputError: nothing to search for, a limit outside 1..10000, an unknown name, a filter
                that cannot be understood, a route whose part of the query is missing.
            SourceError: the picture cannot be opened.
        """
        depth = limit if rerank is None else max(limit, DEPTH)
        hits = self._searcher.search(
            text, image, limit=depth, where=where, routes=routes, fusion=fusion
        )
        if rerank is None:
            return hits
        from mmrag.rerank import rerank_hits

        return rerank_hits(hits, rerank, text, image, top_n=limit)

    def search_vector(
        self,
        vector: Sequence[float] | Vector,
        *,
        encoder: TextEncoder | None = None,
        limit: int = 10,
        where: Where = None,
        fusion: str | Fusion | None = None,
    ) -> Hits:
        """The ``limit`` best records for a vector that ``encoder`` made of words: one of the
        index's two, by default its text encoder. It is compared with all fields of that space.

        Raises:
            InputError: a limit outside 1..10000, an unknown fusion, a filter that cannot be
                understood.
            SpaceMismatch: the encoder is none of the index's.
            VectorError: the vector is NaN, infinite, zero or of the wrong length.
        """
        return self._searcher.search_vector(
            vector, encoder, limit=limit, where=where, fusion=fusion
        )

    async def asearch(
        self,
        text: str | None = None,
        *,
        image: ImageInput | None = None,
        limit: int = 10,
        where: Where = None,
        routes: Iterable[str] | None = None,
        fusion: str | Fusion | None = None,
        rerank: Reranker | None = None,
    ) -> Hits:
        """:meth:`search` in a worker thread."""
        return await asyncio.to_thread(
            self.search,
            text,
            image=image,
            limit=limit,
            where=where,
            routes=routes,
            fusion=fusion,
            rerank=rerank,
        )

    def get(self, ids: Iterable[str]) -> list[Record]:
        """The records of these ids that exist, in their order; of a single id too."""
        keys = [key_of(i) for i in ([ids] if isinstance(ids, str) else ids)]
        found = self.store.get(keys)
        return [self._searcher.localised(found[key]) for key in keys if key in found]

    def scan(self, where: Where = None) -> Iterator[Record]:
        """The records that match, one by one; all of them without a filter."""
        for batch in self.store.scan(parse_filter(where)):
            yield from map(self._searcher.localised, batch)

    def delete(self, ids: Iterable[str] | None = None, *, where: Where = None) -> None:
        """Delete records by id, or those that match a filter.

        Raises:
            InputError: neither was given, or both.
        """
        condition = parse_filter(where)
        ids = [ids] if isinstance(ids, str) else ids
        if (ids is None) == (condition is None):
            raise InputError("delete takes ids, or a filter with at least one condition")
        if condition is not None:
            self.store.delete_where(condition)
        else:
            self.store.delete([key_of(i) for i in ids or ()])
        self._calibrator.forget()

    def count(self, where: Where = None) -> int:
        """How many records match; all of them without a filter."""
        return self.store.count(parse_filter(where))

    def optimize(self) -> None:
        """Do the engine's maintenance: reclaim what was deleted, build the search graphs of a large
        index. On an embedded store it may take minutes, and nothing else runs meanwhile."""
        self.store.optimize()

    def info(self) -> Info:
        """What the index holds: counts by modality and by field, encoders, size, failures."""
        from mmrag.info import info

        return info(self)

    def resolve(self, uri: str) -> Path:
        """The file that a record's picture is in; derived pictures live in the index's folder."""
        return self._searcher.resolve(uri)

    def source_path(self, record: Record) -> Path:
        """The file that a record was made of.

        ``record.source`` is the path as it was given, which may be relative to a working directory
        of then; ``add_files`` also keeps the absolute one (``record.extra["path"]``), and that is
        what is returned. Of a record of your own, its source is.

        Raises:
            InputError: the record has no source, or a URL.
        """
        path = record.extra.get("path")
        if isinstance(path, str):
            return Path(path)
        if not record.source or "://" in record.source:
            raise InputError(f"record {record.id!r} comes from no file, but {record.source!r}")
        return Path(record.source)

    def close(self) -> None:
        """Flush and release the index; idempotent."""
        self.store.close()

    def __enter__(self) -> MultimodalIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _rows(columns: Mapping[str, Sequence[Vector | None]]) -> Iterator[dict[str, Vector]]:
    """One mapping of field to vector a record, forever."""
    for row in itertools.count():
        yield {f: v for f, c in columns.items() if row < len(c) and (v := c[row]) is not None}
