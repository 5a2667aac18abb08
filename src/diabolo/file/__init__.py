"""The model file: opened and verified once; a section is read when it is first asked for (L5)."""
