"""The stages of a compilation, one verb per file; each file is a script and a module."""
