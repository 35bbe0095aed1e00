"""The page of the atlas: its text, its looks, its scripts."""
