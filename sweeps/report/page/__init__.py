"""The report as a page, as tables, and as the description of a run."""
