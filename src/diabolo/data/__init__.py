"""L1: what the rows are, how they are scaled, split and read; knows no model."""
