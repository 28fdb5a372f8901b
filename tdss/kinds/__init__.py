"""What a kind of task needs of PyTorch: one file a kind, which the kind's class in bundle/tasks/kinds/ names."""
