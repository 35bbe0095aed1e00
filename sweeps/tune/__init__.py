"""Ray Tune: the trials of a plan, run, stopped early and proposed."""
