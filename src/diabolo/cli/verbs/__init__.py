"""The verbs of the program: a file of this folder with a function under `@verb` is all that a new one needs."""
