"""Processes that start at once: forked from one that has imported the program, but not Ray.

Imports take longer than most of what such a process does; that of tests/ itself takes none.
"""

import atexit
import multiprocessing
import os
import sys
import traceback
from pathlib import Path

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["sweeps.run"])


def start(function, *arguments, environment, log):
    """A process of its own session that calls `function` and ends with its return as exit code.

    environment: all that it has, instead of what its parent has. log: a file to append to.
    """
    Path(log).touch()  # to be read at once
    process = context.Process(target=_run, args=(function, arguments, environment, str(log)))
    process.start()
    return process


def _run(function, arguments, environment, log):
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    code = 1
    try:
        code = function(*arguments)
    except BaseException:
        traceback.print_exc()
    # As an interpreter ends, which a process of multiprocessing does not: Ray shuts down by it.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
