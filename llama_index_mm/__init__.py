"""The native components come with a later release."""

__all__: list[str] = []
