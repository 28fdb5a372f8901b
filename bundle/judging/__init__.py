"""Judge a compiled model on labelled images: measure, compare, decide within a budget."""
