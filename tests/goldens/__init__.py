"""What the shipped model measured when somebody last looked: golden values, two-sided, rewritten by `make goldens`."""
