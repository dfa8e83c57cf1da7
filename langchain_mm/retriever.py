"""MultimodalRetriever: one fused ranking over texts and pictures, as a LangChain retriever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.retrievers import BaseRetriever, LangSmithRetrieverParams, RetrieverLike
from langchain_core.runnables import RunnableConfig
from pydantic import ConfigDict, Field, SkipValidation, ValidationInfo, field_validator
from typing_extensions import Self, Unpack

from langchain_mm.filters import DocumentFilter, where_of
from langchain_mm.query import Asked, Query, refuse, text_of, traced
from langchain_mm.reranker import CrossModalReranker
from langchain_mm.reranking import Found, depth_of
from langchain_mm.searching import Searching, checked_index
from mmrag.errors import InputError
from mmrag.fusion import Fusion, fusion_named
from mmrag.index import MultimodalIndex
from mmrag.protocols import Reranker, Transcriber
from mmrag.routes import routes_named
from mmrag.search import MAX_LIMIT

if TYPE_CHECKING:
    from langchain_mm.fusion_retriever import FusionRetriever

__all__ = ["MultimodalRetriever"]


class MultimodalRetriever(BaseRetriever):
    """Documents for words, a picture, speech, or several of these, from one fused ranking.

    Use:
        >>> retriever = MultimodalRetriever(index=index, k=5)           # doctest: +SKIP
        >>> retriever.invoke("how do I reset the router?")              # doctest: +SKIP
        >>> retriever.invoke("in red", image="bag.jpg")                 # doctest: +SKIP
        >>> retriever.retrieve(image=png_bytes)                         # doctest: +SKIP
        >>> retriever.invoke("router", k=1, filter={"lang": "en"})      # doctest: +SKIP

    ``k``, ``routes``, ``fusion`` and ``filter`` can be given in a call, and then replace the
    fields; ``configurable_fields`` works as well. The words of a query are words: a string that
    looks like a path is never opened. A picture is a path, a ``data:`` URL, bytes, an open binary
    file, a PIL image, a ``Blob`` or an image content block; no URL is fetched.

    Traces get the words and the documents, in which pictures are references. Of a picture in the
    query they get the path or the type as ``mmrag_image`` in the run's metadata, never the bytes.

    With a ``reranker``, the best 50 documents of the search, or ``k`` if that is more, are put into
    its order, and the ``k`` best come back. Async calls search in a worker thread, and await the
    reranker as :meth:`CrossModalReranker.arerank` does. A compressor may keep fewer, as a
    :class:`CrossModalReranker` does whose ``top_n`` is set; one that is none judges the query's
    words alone.

    Raises:
        ValueError: a route, a fusion or a filter cannot be understood.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    index: MultimodalIndex | Searching = Field(
        repr=False,
        exclude=True,
        description="An open index, or a MultimodalVectorStore, of which the index is kept.",
    )
    k: int = Field(default=10, gt=0, le=MAX_LIMIT, description="How many documents are retrieved.")
    routes: Sequence[str] | None = Field(
        default=None,
        description="Names of mmrag.routes.ROUTES; those that a query has no part for are left "
        "out. By default all.",
    )
    fusion: str | Fusion | None = Field(
        default=None, description="A name of mmrag.fusion.FUSIONS or a function like those."
    )
    filter: Annotated[DocumentFilter, SkipValidation] = Field(
        default=None, description="What langchain_mm.filters.where_of takes."
    )
    trace: bool = Field(
        default=True, description='Whether metadata["mmrag_hit"] says what each route said.'
    )
    reranker: Annotated[Reranker | BaseDocumentCompressor | None, SkipValidation] = Field(
        default=None,
        exclude=True,
        repr=False,
        description="An mmrag.protocols.Reranker or a document compressor.",
    )
    transcriber: Annotated[Transcriber | None, SkipValidation] = Field(
        default=None,
        exclude=True,
        repr=False,
        description="An mmrag.protocols.Transcriber, for queries in speech.",
    )

    if not TYPE_CHECKING:  # type checkers know the fields, and that there is nothing else

        def __init__(self, *args: Any, **settings: Any) -> None:
            if args:
                raise InputError("give the index by name: MultimodalRetriever(index=..., k=5)")
            super().__init__(**settings)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """A copy with settings of its own, over the same index and models."""
        memo = {} if memo is None else memo
        memo.update((id(each), each) for each in (self.index, self.reranker, self.transcriber))
        return super().__deepcopy__(memo)

    @field_validator("index", mode="before")
    @classmethod
    def _index_of(cls, given: object) -> object:
        return given.index if isinstance(given, Searching) else checked_index(given)

    @field_validator("routes", "fusion", "filter")
    @classmethod
    def _understood(cls, given: Any, info: ValidationInfo) -> Any:
        checks: dict[str, Callable[[Any], object]] = {
            "routes": routes_named,
            "fusion": fusion_named,
            "filter": where_of,
        }
        checks[info.field_name or ""](given)
        return given

    @field_validator("reranker")
    @classmethod
    def _compressor(cls, given: Any) -> BaseDocumentCompressor | None:
        if given is None or isinstance(given, BaseDocumentCompressor):
            return given
        return CrossModalReranker(reranker=given)

    @field_validator("transcriber")
    @classmethod
    def _is_transcriber(cls, given: Any) -> Any:
        if given is not None and not hasattr(given, "transcribe"):
            raise InputError(f"{given!r} is not an mmrag.protocols.Transcriber")
        return given

    @staticmethod
    def from_retrievers(
        retrievers: Mapping[str, RetrieverLike] | Sequence[RetrieverLike],
        *,
        weights: Mapping[str, float] | Sequence[float] | None = None,
        k: float = 60,
        limit: int = 10,
        id_key: str | None = None,
    ) -> FusionRetriever:
        """Fuse any retrievers that an app has already, by reciprocal rank; ``k`` is the constant of
        that, ``limit`` is how many documents are retrieved.

        See :class:`langchain_mm.fusion_retriever.FusionRetriever`.
        """
        from langchain_mm.fusion_retriever import FusionRetriever

        return FusionRetriever(
            retrievers=retrievers, weights=weights, rank_constant=k, k=limit, id_key=id_key
        )

    def retrieve(
        self,
        text: str | None = None,
        *,
        config: RunnableConfig | None = None,
        **asked: Unpack[Asked],
    ) -> list[Document]:
        """:meth:`invoke` for any part of a query alone.

        Args:
            text: words.
            config: callbacks and the like, as for ``invoke``.
            asked: ``image``, a picture, and ``voice``, the path of a recording, in which what is
                said is added to the words; and the settings ``k``, ``routes``, ``fusion`` and
                ``filter`` of this call.

        Raises:
            InputError: nothing to search for, no route for it, no transcriber for ``voice``, a
                wrong type, or a setting that is out of range or does not exist.
            SourceError: the picture or the recording cannot be opened.
        """
        return self.invoke(text_of(text or ""), config, **asked)

    async def aretrieve(
        self,
        text: str | None = None,
        *,
        config: RunnableConfig | None = None,
        **asked: Unpack[Asked],
    ) -> list[Document]:
        """:meth:`retrieve`, which searches in a worker thread."""
        return await self.ainvoke(text_of(text or ""), config, **asked)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        **asked: Unpack[Asked],
    ) -> list[Document]:
        return self._search(query, asked).reranked(self._reranker, run_manager)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        **asked: Unpack[Asked],
    ) -> list[Document]:
        found = await asyncio.to_thread(self._search, query, asked)
        return await found.areranked(self._reranker, run_manager)

    @property
    def _reranker(self) -> BaseDocumentCompressor | None:
        return cast("BaseDocumentCompressor | None", self.reranker)  # see _compressor

    def _search(self, text: str, asked: Asked) -> Found:
        refuse(asked)
        settings: dict[str, Any] = {
            name: value for name, value in asked.items() if value is not None
        }
        query = Query.of(text, asked.get("image"), asked.get("voice"), self.transcriber)
        given = {"text": bool(query.text), "image": query.image is not None}
        allowed = routes_named(settings.get("routes", self.routes))
        routes = [route.name for route in allowed if given[route.query]]
        if not routes:
            names = ", ".join(route.name for route in allowed)
            raise InputError(f"none of the retriever's routes takes this query: {names}")
        k = settings.get("k", self.k)
        hits = cast("MultimodalIndex", self.index).search(
            query.text or None,
            image=query.image,
            limit=depth_of(k, self.reranker),
            where=where_of(settings.get("filter", self.filter)),
            routes=routes,
            fusion=settings.get("fusion", self.fusion),
        )
        return Found.of(query, hits, k, self.trace)

    def _get_ls_params(self, **kwargs: Any) -> LangSmithRetrieverParams:
        """What traces say of a run; nothing else sees a call's picture before the run starts."""
        said = traced(cast("MultimodalIndex", self.index), kwargs)
        return cast("LangSmithRetrieverParams", {**super()._get_ls_params(**kwargs), **said})
