"""Quantization: calibration with NNCF, ignored nodes, mixed precision by sensitivity."""
