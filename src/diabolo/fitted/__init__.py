"""Fits: the record of one, and the ways from a table, a cache on disk or a stream of rows to it (L3)."""
