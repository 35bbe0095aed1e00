"""Optuna: what a search knows and proposes, begun again from what is finished."""
