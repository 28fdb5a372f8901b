"""The intel target."""
