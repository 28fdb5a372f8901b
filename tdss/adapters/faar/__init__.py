"""FAAR (CVPR 2026) on a Swin; the decoder that it is published with is ``tdss/decoders/tspd``."""
