"""TAPS (CVPR 2022) on dense tasks: the publication classifies images, this port is ours."""
