"""Training: the data path, the losses, the loop, and what a finished run leaves."""
