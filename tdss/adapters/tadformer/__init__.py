"""TADFormer (Baek et al., CVPR 2025): prompts of the tasks, and filters on a shared low-rank update."""
