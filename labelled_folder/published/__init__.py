"""Data sets in the layouts in which they were published: one file a layout, and their table."""
