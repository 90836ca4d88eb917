"""Training: `rlsparse train` on a command line, `rlsparse.train(...)` in Python.

This package is callable, so that `rlsparse.train` is both, whichever is imported first.
"""

from rlsparse.run.callable_module import make_callable
from rlsparse.train.command import main as main
from rlsparse.train.command import run_command as run_command
from rlsparse.train.from_python import from_script

make_callable(__name__, from_script)
