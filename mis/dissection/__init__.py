"""Network Dissection: what concepts units detect (Bau et al. 2017)."""
