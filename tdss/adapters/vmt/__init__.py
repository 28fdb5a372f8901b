"""VMT-Adapter and VMT-Adapter-Lite: our reconstruction from an abstract."""
