"""What a sweep is and which trials it has; knows no Ray, no MLflow and no Optuna."""
