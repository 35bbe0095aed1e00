"""A round of pruning: by what importance, what is kept, and what of it is gone for good."""
