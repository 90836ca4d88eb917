"""The same cart and pole with other masses, dampings and motors in every episode."""

from swing_up import SwingUp

from rlsparse.sim.task import Factor


class Robust(SwingUp):
    mass: Factor = (0.5, 2.0)
    damping: Factor = (0.2, 5.0)
    gain: Factor = (0.6, 1.4)
