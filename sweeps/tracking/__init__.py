"""MLflow: what is logged, kept on disk until it is delivered, and found again."""
