"""Rerankers, one file each; :mod:`mmrag.rerank` has them all."""

from __future__ import annotations

__all__: list[str] = []
