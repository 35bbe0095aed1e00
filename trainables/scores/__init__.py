"""What one can understand of a network: the Machine Interpretability Score and dissection."""
