"""The jetson target."""
