"""Slurm's commands as far as deploy/slurm.sh uses them, on one machine whose nodes are names.

`tools` makes a folder of them for the PATH; `scontrol requeue` leaves a file `requeued` in it.
"""

import sys

NODES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
_SRUN = f"""#!{sys.executable}
import os, signal, subprocess, sys

words = sys.argv[1:]
first = next(i for i, word in enumerate(words) if not word.startswith("--"))
options = dict(word[2:].partition("=")[::2] for word in words[:first])
nodes = [node for node in os.environ["SLURM_JOB_NODELIST"].split(",")]
nodes = [node for node in nodes if node not in options.get("exclude", "").split(",")]
nodes = nodes[: int(options["nodes"])]
assert len(nodes) == int(options["nodes"]), (nodes, options)
tasks = [
    subprocess.Popen(words[first:], env=dict(os.environ, SLURMD_NODENAME=node)) for node in nodes
]


def forward(number, _):
    for task in tasks:
        task.send_signal(number)


signal.signal(signal.SIGTERM, forward)
sys.exit(max(abs(task.wait()) for task in tasks))
"""
_SCONTROL = """#!/bin/sh
case $1 in
show) echo "$3" | tr , '\\n' ;;
requeue) echo "$2" >"$(dirname "$0")/requeued" ;;
esac
"""


def tools(folder):
    folder.mkdir()
    for name, text in (("srun", _SRUN), ("scontrol", _SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def job(home, submitted, *, n_nodes, run=0):
    """What Slurm tells the script of a job of so many nodes."""
    return {
        "HOME": str(home),
        "SLURM_SUBMIT_DIR": str(submitted),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NUM_NODES": str(n_nodes),
        "SLURM_JOB_NODELIST": ",".join(NODES[:n_nodes]),
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_RESTART_COUNT": str(run),
    }
