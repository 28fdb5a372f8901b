"""Linear maps over channels and positions, and the network of values that they connect."""
