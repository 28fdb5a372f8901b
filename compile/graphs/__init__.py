"""ONNX graphs: read, clean, wrap, type in FP16, measure ranges and costs."""
