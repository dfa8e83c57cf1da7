"""One file an engine: ``edge`` is embedded and the default, ``qdrant`` talks to a server."""
