"""Quantization schemes, calibration and outliers, measured for docs/studies/quantization.md."""
