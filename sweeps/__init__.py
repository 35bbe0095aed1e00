"""Many trials and the outside world: studies, Ray Tune, MLflow, the report."""
