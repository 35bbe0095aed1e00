"""Whether the numbers can be trusted: one function for each doubt."""
