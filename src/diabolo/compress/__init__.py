"""Tables as small files with a bound that holds: grids, entropy coding, the container `*.dbl` (docs/dbl.md)."""
