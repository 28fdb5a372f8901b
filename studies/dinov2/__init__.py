"""A ViT-S/14 with DINOv2's weights: the hard case for INT8."""
