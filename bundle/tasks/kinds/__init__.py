"""What differs between a class, a probability, a vector and a depth per pixel: one file a kind."""
