"""A fitted detector handed over to other programs: one module for each form, found by name or by suffix."""
