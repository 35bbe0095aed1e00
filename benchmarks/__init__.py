"""Ratios against a peer or a floor, measured side by side in one run; never seconds alone."""
