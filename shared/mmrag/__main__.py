"""Runs the command: ``python -m mmrag``, and the script ``mmrag``."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command; Ctrl-C while it is still being imported ends it without a word."""
    try:
        # Here, as it imports typer, rich and pydantic: a third of a second before its own try.
        from mmrag import cli

        cli.main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
