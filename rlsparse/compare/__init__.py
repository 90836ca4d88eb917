"""Compare runs: read curves, arrange them into arms, test, draw, report. `rlsparse.compare(...)` does so in Python."""

from rlsparse.compare.from_python import from_script
from rlsparse.run.callable_module import make_callable

make_callable(__name__, from_script)
