"""One trial's network taken away: files that need no Secateur, and a card."""

from sweeps.export.write import export_trial

__all__ = ["export_trial"]
