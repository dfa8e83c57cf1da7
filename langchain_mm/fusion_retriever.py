"""FusionRetriever: the rankings of several LangChain retrievers, fused into one."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.callbacks import (
    AsyncCallbackManagerForRetrieverRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever, RetrieverLike
from langchain_core.runnables import RunnableConfig, ensure_config
from langchain_core.runnables.config import ContextThreadPoolExecutor
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from langchain_mm.fused import document_of, said_by
from langchain_mm.images import AnyImage, reopenable
from langchain_mm.query import refuse
from langchain_mm.retriever import MultimodalRetriever
from mmrag.errors import InputError, UnknownName
from mmrag.fusion import rrf
from mmrag.protocols import Ranking

__all__ = ["FusionRetriever", "sees"]


class FusionRetriever(BaseRetriever):
    """Reciprocal rank fusion over any retrievers, each with its own embedding model.

    Use:
        >>> FusionRetriever(                                            # doctest: +SKIP
        ...     retrievers={"text": chunks, "image": photos}, weights={"image": 2}, k=5
        ... ).invoke("a red bag")

    A document's fused score is the sum over retrievers of ``weight / (rank_constant + rank)``:
    ranks count from 1 in the order that a retriever returned. A document that is twice in one list
    counts once, at its best rank. What comes back are copies: ``metadata["mmrag_hit"]`` has the
    fused ``score`` and, best contribution first, the ``routes``, where ``route`` is the retriever's
    name and ``score`` what it or its reranker noted, if anything. Among equals the order is that
    of their ids.

    Documents of one id are one thing. A document without an id is the one that equals it in text
    and in all metadata, except what retrievers write there, such as scores: text alone says
    nothing of pictures without captions, nor of a headline that is on every page. Stores that made
    up ids for the same documents disagree on them: name a metadata key of your own as ``id_key``.

    Sync asks all retrievers at once in threads, async awaits all at once. The first error is raised
    as it is once all have ended: a ranking that lacks a voice without saying so would look like any
    other. Retrievers keep their own ``k``, and get the ``configurable`` part of the config.

    ``invoke("in red", image="bag.jpg")`` passes the picture on to every
    :class:`langchain_mm.MultimodalRetriever` among them. The others search by the words; for a
    picture alone they are not asked.

    Raises:
        ValueError: no retriever, or a setting is out of range, or a weight is for no retriever.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    retrievers: Mapping[str, RetrieverLike] | Sequence[RetrieverLike] = Field(
        repr=False, description='By name; in a list they are called "retriever_1" and so on.'
    )
    weights: Mapping[str, float] | Sequence[float] | None = Field(
        default=None, description="By name, 1 where none is given; or one each, in a list."
    )
    k: int = Field(default=10, gt=0, description="How many documents are retrieved.")
    rank_constant: float = Field(
        default=60,
        ge=0,
        allow_inf_nan=False,
        description="The larger, the less the first ranks stand out.",
    )
    id_key: str | None = Field(
        default=None,
        description="Documents with the same value under this metadata key are one thing, such as "
        "a caption and its picture; the one with a picture comes back, else the best ranked. A "
        "document without the key goes by its id.",
    )

    @model_validator(mode="after")
    def _checked(self) -> Self:
        named = self._named()
        if not named:
            raise InputError("nothing to fuse: give at least one retriever")
        weights = self.weights or {}
        if not isinstance(weights, Mapping) and len(weights) != len(named):
            raise InputError(f"{len(weights)} weights for {len(named)} retrievers: one each")
        for name in self._weights():
            if name not in named:
                raise UnknownName("retriever", name, named)
        rrf({}, weights=self._weights())  # a bad weight is an error here, not at the first query
        return self

    def _named(self) -> dict[str, RetrieverLike]:
        if isinstance(self.retrievers, Mapping):
            return dict(self.retrievers)
        return {f"retriever_{n}": r for n, r in enumerate(self.retrievers, start=1)}

    def _weights(self) -> dict[str, float]:
        if isinstance(self.weights, Mapping):
            return dict(self.weights)
        return dict(zip(self._named(), self.weights or (), strict=False))

    @property
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        """What can be configured in the retrievers."""
        return get_unique_config_specs(s for r in self._named().values() for s in r.config_specs)

    # The base class keeps the config to itself, and what is configurable in it is the retrievers'.

    def invoke(
        self,
        input: str,  # noqa: A002 - LangChain's word
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The ``k`` best documents for a query; ``k=`` in the call overrides the field."""
        return super().invoke(input, config, configurable=_configurable(config), **kwargs)

    async def ainvoke(
        self,
        input: str,  # noqa: A002 - LangChain's word
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """:meth:`invoke`, which awaits the retrievers."""
        return await super().ainvoke(input, config, configurable=_configurable(config), **kwargs)

    def _get_relevant_documents(
        self,
        query: str,
        *,
        run_manager: CallbackManagerForRetrieverRun,
        k: int | None = None,
        image: AnyImage | None = None,
        configurable: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> list[Document]:
        refuse(unknown, ("k", "image"))
        limit, named = self._limit(k), self._asked(query, image)
        with ContextThreadPoolExecutor(len(named)) as pool:
            asked = []
            for name, (retriever, said) in named.items():
                config = _config(run_manager.get_child(tag=name), configurable)
                asked.append(pool.submit(retriever.invoke, query, config, **said))
        return self._fused(dict(zip(named, [a.result() for a in asked], strict=True)), limit)

    async def _aget_relevant_documents(
        self,
        query: str,
        *,
        run_manager: AsyncCallbackManagerForRetrieverRun,
        k: int | None = None,
        image: AnyImage | None = None,
        configurable: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> list[Document]:
        refuse(unknown, ("k", "image"))
        limit, named = self._limit(k), await asyncio.to_thread(self._asked, query, image)
        asked = [
            r.ainvoke(query, _config(run_manager.get_child(tag=name), configurable), **said)
            for name, (r, said) in named.items()
        ]
        # All are waited for, so that a failure leaves no other search running behind it.
        answers = await asyncio.gather(*asked, return_exceptions=True)
        found = {}
        for name, answer in zip(named, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            found[name] = answer
        return self._fused(found, limit)

    def _asked(
        self, query: str, image: AnyImage | None
    ) -> dict[str, tuple[RetrieverLike, dict[str, Any]]]:
        """Who is asked, and what they are told beside the words."""
        named = self._named()
        if image is None:
            return {name: (retriever, {}) for name, retriever in named.items()}
        seeing = [name for name, retriever in named.items() if sees(retriever)]
        if not seeing:
            raise InputError("none of these retrievers searches by a picture: give words alone")
        told = {"image": reopenable(image)}
        return {
            name: (retriever, told if name in seeing else {})
            for name, retriever in named.items()
            if name in seeing or query.strip()
        }

    def _limit(self, k: int | None) -> int:
        if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
            raise InputError(f"k is a whole number from 1, not {k!r}")
        return k or self.k

    def _fused(self, found: Mapping[str, list[Document]], limit: int) -> list[Document]:
        for name, documents in found.items():
            if not all(isinstance(d, Document) for d in documents):
                raise InputError(f"retriever {name!r} did not return a list of Documents")
        rankings = {
            # RRF looks at ranks alone: no score has to be made comparable.
            name: Ranking(keys, (0.0,) * len(keys))
            for name, keys in self._keys(found).items()
        }
        fused = rrf(rankings, k=self.rank_constant, weights=self._weights())
        return [document_of(result, found) for result in fused[:limit]]

    def _keys(self, found: Mapping[str, list[Document]]) -> dict[str, tuple[str, ...]]:
        """What each document counts as."""
        ids: dict[str, str] = {}
        for document in (d for documents in found.values() for d in documents):
            if (key := self._id(document)) is not None:
                content = said_by(document)
                ids[content] = min(key, ids.get(content, key))
        return {
            name: tuple(
                self._id(d) or ids.get(content, content)
                for d, content in ((d, said_by(d)) for d in documents)
            )
            for name, documents in found.items()
        }

    def _id(self, document: Document) -> str | None:
        given = None if self.id_key is None else document.metadata.get(self.id_key)
        given = document.id if given is None else given
        return None if given is None else f"id {given}"


def _config(callbacks: Any, configurable: Mapping[str, Any] | None) -> RunnableConfig:
    return {"callbacks": callbacks, "configurable": dict(configurable or {})}


def _configurable(config: RunnableConfig | None) -> dict[str, Any]:
    return ensure_config(config).get("configurable", {})


def sees(retriever: object) -> bool:
    """Whether it is a retriever that takes a picture beside the words: ours, as it is or with
    settings bound to it, or one that fuses such ones."""
    if isinstance(retriever, FusionRetriever):
        return any(map(sees, retriever._named().values()))
    inner = getattr(retriever, "bound", None) or getattr(retriever, "default", None)
    return isinstance(retriever, MultimodalRetriever) or (inner is not None and sees(inner))
