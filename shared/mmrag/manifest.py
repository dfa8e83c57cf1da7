"""What an index says of itself: its format, and the space of each dense field."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from mmrag.errors import NotAnIndex
from mmrag.types import Space

__all__ = ["Manifest"]


class Manifest(BaseModel):
    """Saved once by the store, checked at every opening.

    ``encoders`` are the names that the command was given for them, so that it need not be told
    again; an index that was made otherwise has none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    spaces: dict[str, Space]
    encoders: dict[str, str] = {}

    @classmethod
    def parse(cls, data: object) -> Manifest:
        """The manifest in JSON data.

        Raises:
            NotAnIndex: the data are something else, or of a newer format.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise NotAnIndex(f"the index's manifest cannot be read: {error}") from None

    def dump(self) -> dict[str, Any]:
        """The manifest as JSON data."""
        return self.model_dump(mode="json")
