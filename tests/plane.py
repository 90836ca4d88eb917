"""Set functions of points of a plane, some of every kind."""

from rlsparse.advantage.projection import Projection
from rlsparse.advantage.set_functions import Coverage, FacilityLocation, LogDet

PLANE = Projection("x and y, m", "observation", (0, 1), (0.0, 0.0), (1.0, 1.0), (6, 5))
FUNCTIONS = {
    "coverage": Coverage(),
    "wide coverage": Coverage(radius=1),
    "square roots": Coverage(cells=(3, 4), radius=1, count="sqrt"),
    "logarithms": Coverage(cells=(3, 4), count="log1p"),
    "facility location": FacilityLocation(references=4, reach=0.2),
    "log-det": LogDet(features=16, reach=0.3),
}
FUNCTIONS = {name: function.on(PLANE) for name, function in FUNCTIONS.items()}
