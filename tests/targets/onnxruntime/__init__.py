"""The onnxruntime target."""
