"""The Machine Interpretability Score of units (Zimmermann, Klindt, Brendel 2024)."""
