"""MT-CP: decoders that read each other's features, are refined against the task's own stages, and are trained in depth."""
