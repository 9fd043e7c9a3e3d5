"""Session pool emulator with a vulnerable decoder: `python -m tests.isolation.pool LOG [--restart-kernel]`."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import typer
import uvloop

from session_pool_emulator.server import serve
from session_pool_emulator.settings import MIB, PoolSettings, SandboxLimits

MEMORY_BYTES, DATA_BYTES = 512 * MIB, 16 * MIB


def main(log: Path, *, restart_kernel: bool) -> None:
    """Serve a pool with small limits until SIGTERM."""
    with tempfile.TemporaryDirectory() as folder:
        packages = Path(folder)
        packages.chmod(0o755)
        shutil.copy(Path(__file__).with_name("vulnerable_decoder.py"), packages)
        settings = PoolSettings(
            max_sessions=6,
            spares=2,
            limits=SandboxLimits(memory_bytes=MEMORY_BYTES, data_bytes=DATA_BYTES, max_processes=64),
            preload=("PIL.Image", "vulnerable_decoder"),
            packages=packages,
            restart_kernel=restart_kernel,
            log_file=log,
        )
        uvloop.run(serve(settings, "127.0.0.1", 0, lambda url: typer.echo(f"session pool ready: {url}")))


if __name__ == "__main__":
    main(Path(sys.argv[1]), restart_kernel="--restart-kernel" in sys.argv)
