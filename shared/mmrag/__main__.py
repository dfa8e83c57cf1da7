"""Runs the command: ``python -m mmrag``."""

from mmrag.cli import main

if __name__ == "__main__":
    main()
