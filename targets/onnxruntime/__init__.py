"""ONNX Runtime on the CPU, for boards without a vendor's runtime."""
