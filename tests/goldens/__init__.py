"""What the shipped model measured at the last `make goldens`: golden values, two-sided."""
