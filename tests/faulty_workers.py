"""Workers that do what workers should not; apart from faults.py, since they need Ray.

Ray reads how it is to authenticate when it is imported: a driver must have its environment by then.
"""

import os
import signal
import time
from pathlib import Path

from sweeps.tune.launch import PruningTrial  # launch first: it switches Ray's authentication on


class DiesTakingOn(PruningTrial):
    """Its worker dies once, while it takes on another trial."""

    def reset_config(self, new_config):
        mark = Path(new_config["results"]) / "died"
        if not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().reset_config(new_config)


class WaitsForAll(PruningTrial):
    """Does nothing until it is told to, so that there is one on every node, however slow one is."""

    def step(self):
        while not (self.workspace.root / "go").exists():
            time.sleep(0.05)
        return super().step()
