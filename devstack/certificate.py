"""Create self-signed certificates, and the trust bundle that makes programs of the stack accept them.

Certificate checks stay on. Programs read the trust bundle instead of the usual authorities, which it also contains.
OpenSSL, and with it aiohttp and httpx, read SSL_CERT_FILE; requests reads REQUESTS_CA_BUNDLE; Node.js reads
NODE_EXTRA_CA_CERTS.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import certifi

from session_pool_emulator.server import write_certificate

TRUST_BUNDLE_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, as PEM files."""

    file: Path
    key: Path

    @classmethod
    def create(cls, folder: Path, name: str) -> Self:
        """Create a certificate for 127.0.0.1 and localhost in `folder`."""
        certificate = cls(folder / f"{name}.pem", folder / f"{name}.key")
        write_certificate("127.0.0.1", certificate.file, certificate.key)
        return certificate


def write_trust_bundle(certificates: Iterable[Path], file: Path) -> dict[str, str]:
    """Write the usual authorities and these certificates to `file`. Return the variables that make programs read it."""
    texts = [Path(certifi.where()).read_text(), *(each.read_text() for each in certificates)]
    file.write_text("\n".join(texts))
    return dict.fromkeys(TRUST_BUNDLE_VARIABLES, str(file))
