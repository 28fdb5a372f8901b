"""The rules an ONNX graph must keep for TensorRT, one per file; adding one is its file, its test and one line in the table."""
