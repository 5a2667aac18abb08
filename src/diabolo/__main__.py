"""`python -m diabolo`: the program by another name."""

from diabolo.cli import main

if __name__ == "__main__":  # processes that it starts import this module too
    main()
