"""All rows of a table on a map: a page to look at them and mark some, and a file for embedding-atlas (L5)."""
