"""Measurements for docs/ and for the targets' data. Nothing that is shipped imports them."""
