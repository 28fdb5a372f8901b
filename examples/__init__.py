"""Programs to begin with: each runs as it is, and the tests run it."""
