"""A model file, a compressed file or a table in plain words, for `diabolo info` (L5)."""
