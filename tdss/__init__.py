"""The models: backbones, adapters and decoders in pure PyTorch, and their checkpoints."""
