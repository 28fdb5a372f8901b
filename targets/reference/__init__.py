"""ONNX Runtime on the CPU: the oracle for graphs."""
