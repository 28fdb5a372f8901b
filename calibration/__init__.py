"""Which images a quantizer sees: drawing, checking and cutting calibration sets."""
