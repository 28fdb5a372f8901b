"""From linear maps to ONNX nodes: layouts, products, splits."""
