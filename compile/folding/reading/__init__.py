"""From an ONNX graph to a network of linear maps."""
