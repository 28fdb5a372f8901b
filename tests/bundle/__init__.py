"""The ground floor, checked against what we did not write."""
