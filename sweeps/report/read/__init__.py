"""What MLflow holds of a sweep, as tidy frames; it knows no figure and no statistics."""
