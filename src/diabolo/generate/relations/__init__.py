"""Exact relations between columns: found in training rows, listed, and kept by drawn rows; one module for each kind."""
