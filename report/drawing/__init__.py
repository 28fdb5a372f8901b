"""Maps, pictures and charts, without a display."""
