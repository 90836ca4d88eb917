"""On-policy reinforcement learning for continuous control."""

from rlsparse.version import __version__ as __version__
