"""L4: anomaly scores, and their calibration to decisions."""
