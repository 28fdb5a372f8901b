"""Quantization schemes, calibration and outliers, measured for docs/quantization.md."""
