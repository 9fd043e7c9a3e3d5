"""Certificates of this machine's own, and the file that makes programs of the stack trust them.

Nothing is told to trust less: programs read the file instead of the usual list of authorities, which is in it too.
OpenSSL and with it aiohttp, and httpx, know it by SSL_CERT_FILE; requests by REQUESTS_CA_BUNDLE; Node.js by
NODE_EXTRA_CA_CERTS.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import certifi

from session_pool_emulator.tls import write_certificate

VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its key, as PEM files."""

    file: Path
    key: Path

    @classmethod
    def made(cls, folder: Path, name: str) -> Self:
        """A new one in `folder`, for 127.0.0.1 and localhost."""
        made = cls(folder / f"{name}.pem", folder / f"{name}.key")
        write_certificate("127.0.0.1", made.file, made.key)
        return made


def trusting(certificates: Iterable[Path], file: Path) -> dict[str, str]:
    """Write the usual authorities and these certificates to `file`; the variables that make programs read it."""
    texts = [Path(certifi.where()).read_text(), *(each.read_text() for each in certificates)]
    file.write_text("\n".join(texts))
    return dict.fromkeys(VARIABLES, str(file))
