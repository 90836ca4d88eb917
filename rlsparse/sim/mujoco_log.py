"""MuJoCo's warnings as log records, instead of MUJOCO_LOG.TXT and the terminal."""

import logging
import re
from collections import Counter

import mujoco

logger = logging.getLogger("rlsparse.sim")
_seen: Counter[str] = Counter()


def _log(message: str) -> None:
    if "settotalmass" in message:
        # Gymnasium's half_cheetah.xml uses it; nothing a user can act on.
        logger.debug("MuJoCo: %s", message)
        return
    kind = re.sub(r"[\d.]+", "#", message)
    _seen[kind] += 1
    count = _seen[kind]
    if count in (1, 10, 100) or count % 1000 == 0:
        logger.warning("MuJoCo: %s (%d so far)", message.strip(), count)


def route_warnings() -> None:
    """Send MuJoCo's warnings to the logger "rlsparse.sim", repeated ones only now and then."""
    mujoco.set_mju_user_warning(_log)
