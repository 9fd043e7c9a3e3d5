"""Entry point of `image-pipeline` and of `python -m pipeline`."""

import sys

from pipeline import __version__

PROGRAM = "image-pipeline"


def main() -> None:
    """Run the command line. `--version` alone needs none of the packages of the extra `cli`."""
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        return
    try:
        from pipeline.cli import run
    except ModuleNotFoundError as error:
        sys.exit(f"{PROGRAM} needs the package {error.name}: install '{PROGRAM}[cli]'")
    run(PROGRAM)


if __name__ == "__main__":
    main()
