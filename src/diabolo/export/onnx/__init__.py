"""One ONNX graph of a detector: encoding, network, score, calibration and verdict, written by walking their parts."""
