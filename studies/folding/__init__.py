"""What folding gains and costs, model by model."""
