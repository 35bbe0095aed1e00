"""Housekeeping of a results folder: what it holds, what of it nobody needs, and its removal."""
