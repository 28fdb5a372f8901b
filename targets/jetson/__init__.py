"""NVIDIA Jetson through TensorRT, and its emulation on a host that has none."""
