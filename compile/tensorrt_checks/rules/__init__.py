"""The lint rules: each file is one trap of TensorRT, found in a graph before a device sees it."""
