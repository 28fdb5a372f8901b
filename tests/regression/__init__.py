"""What a device runs to judge a bundle: ``pytest tests/regression --bundle build/<model>/<target>``."""
