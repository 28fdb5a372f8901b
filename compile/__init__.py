"""The stages of a compilation, one verb per file, each a script and a module; and what they share or are measured by."""
