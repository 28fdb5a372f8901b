"""Configuration files with which other frameworks run a bundle's graph."""
