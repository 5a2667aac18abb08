"""L4: anomaly scores, and what turns them into calibrated decisions."""
