"""On-policy reinforcement learning for continuous control."""

from rlsparse.run.version import __version__ as __version__
