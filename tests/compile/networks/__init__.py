"""Networks of another origin."""
