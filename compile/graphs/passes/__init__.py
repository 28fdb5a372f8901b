"""ONNX rewrites, one per file, named by what they do; adding one is its file, its test and one line in the table."""
