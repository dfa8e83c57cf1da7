"""Captioners that need no framework: a vision model's, OCR, tags, and several of them together."""
