"""Every target runs every tiny graph."""
