"""Drawing new rows (L4): densities of codes, laws of columns, conditions, and how far drawn rows are from real ones."""
