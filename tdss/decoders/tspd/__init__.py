"""TS-PD, the decoder that FAAR (CVPR 2026) is published with."""
