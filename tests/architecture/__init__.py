"""What the source must keep to, whatever it computes."""
