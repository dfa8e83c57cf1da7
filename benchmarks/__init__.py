"""The README's figures, measured anew: ``python -m benchmarks [NAME ...] [--json FILE]``."""
