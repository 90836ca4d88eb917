"""`rlsparse <command>`, `python -m rlsparse <command>`."""

import sys
from importlib import import_module

from rlsparse.errors import UsageError, nearest
from rlsparse.run.command_line import fail_in_one_line
from rlsparse.run.version import __version__

COMMANDS = {
    "train": ("train", "train an agent, or resume a run"),
    "sweep": ("study.command", "train agents x environments x settings x seeds"),
    "compare": ("compare.__main__", "draw and test reward curves of several runs"),
    "play": ("trained.play", "run a trained policy, print its returns, write a video"),
    "export": ("trained.export", "write a trained policy as small files that run without rlsparse"),
    "landscape": ("trained.landscape", "draw the true returns around an update of a run"),
    "compile": ("run.compile_kernels", "compile the kernels of the GPU simulator where there is no GPU"),
    "tensorboard": ("run.events_of_runs", "write TensorBoard events of runs that have none"),
    "envs": ("run.listing", "list the environment cards"),
    "agents": ("run.listing", "list the agent cards"),
}
"""Of each command the module, and what it does."""


def main() -> None:
    """Run the command named by the first argument."""
    arguments = sys.argv[1:]
    command = arguments[0] if arguments else "--help"
    with fail_in_one_line():
        if command in ("-h", "--help"):
            print("usage: rlsparse <command> [--help] ...\n")
            print("\n".join(f"  {name:<12} {text}" for name, (_, text) in COMMANDS.items()))
            return
        if command == "--version":
            print(__version__)
            return
        if command not in COMMANDS:
            near = nearest(command, COMMANDS)
            hint = f"did you mean {near}?" if near else f"the commands are {', '.join(COMMANDS)}"
            raise UsageError(f"unknown command {command}: {hint}")
    if command in COMMANDS:  # help is over too where nobody reads it to its end
        module, _ = COMMANDS[command]
        import_module(f"rlsparse.{module}").main(arguments if module == "run.listing" else arguments[1:])


if __name__ == "__main__":
    main()
