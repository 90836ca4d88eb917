"""Which policy file a command means: of a run, of the newest run in a folder, or of an agent card."""

import os
from pathlib import Path

from rlsparse.errors import RunDirectoryError, UsageError
from rlsparse.run import cards
from rlsparse.run.listing import trained_environments
from rlsparse.run.newest import newest_run
from rlsparse.run.status import BEST, LAST


def find_policy(name: str, env: str | None, best: bool = False) -> tuple[Path, str | None]:
    """Return the policy file that `name` means, and the environment if it is known before reading the file.

    `name` is a run directory or a folder of runs, of which the `best` policies may be asked for, a policy file or an
    agent card. Raises UsageError or RunDirectoryError.
    """
    env_id = cards.resolve_environment(env) if env is not None else None
    return policy_of_name(name, env_id, best)


def policy_of_name(name: str, env_id: str | None, best: bool = False) -> tuple[Path, str | None]:
    """Return what `find_policy` does for an environment whose id is known."""
    file = BEST if best else LAST
    path = Path(name).expanduser()
    path = path if _may_be_card(name) else newest_run(path, file)
    if os.path.isfile(path / file):
        return path / file, env_id
    if os.path.isfile(path) and path.suffix == ".safetensors":
        if best:
            raise UsageError(f"--best needs a run directory, and {path} is a file")
        return path, env_id
    if os.path.isfile(path / "recipe.toml"):
        raise RunDirectoryError(f"{path} has no {file} yet: its run has not saved anything")
    if not _may_be_card(name):
        what = "is neither a run directory, which has a policy.safetensors, nor an agent card"
        raise RunDirectoryError(f"{path} {what}" if os.path.exists(path) else f"there is no run directory {path}")
    if best:
        raise UsageError(f"--best needs a run directory: the agent {name} ships no policy but its last")
    return _shipped_policy(cards.agent(name), env_id)


def _may_be_card(name: str) -> bool:
    path = Path(name).expanduser()
    if path.suffix == ".toml" or os.path.isfile(path / "card.toml"):
        return True
    shipped = {card.casefold() for card in cards.agents()}
    # an unknown single word is more likely a mistyped card than a missing folder
    return name.casefold() in shipped or (len(path.parts) == 1 and not os.path.exists(path))


def _shipped_policy(card: cards.AgentCard, env_id: str | None) -> tuple[Path, str]:
    known = trained_environments(card)
    if not known:
        raise UsageError(f"the agent {card.name} ships no trained policy: name a run directory")
    if env_id is None and len(known) > 1:
        raise UsageError(f"the agent {card.name} has several trained policies: add --env, one of {', '.join(known)}")
    chosen = env_id or known[0]
    path = card.policy_path(chosen)
    if path is None:
        raise UsageError(f"the agent {card.name} has no trained policy for {chosen}, only for {', '.join(known)}")
    return path, chosen
