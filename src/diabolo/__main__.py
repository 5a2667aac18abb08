"""`python -m diabolo`: the program by another name."""

from diabolo.cli import main

main()
