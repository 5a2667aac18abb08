"""Clusters of codes: partitions, how many there are, how stable they are, and a head that keeps neighbours (L4)."""
