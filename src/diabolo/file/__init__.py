"""The model file: opened and verified once, each section read when first asked for (L5)."""
