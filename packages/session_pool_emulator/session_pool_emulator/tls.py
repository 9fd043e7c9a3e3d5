"""Self-signed certificates for clients that require HTTPS."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_VALIDITY_DAYS = 30


def write_certificate(host: str, certificate_file: Path, key_file: Path) -> None:
    """Write a self-signed certificate and its private key as PEM files.

    The certificate is valid for 30 days, for `host`, localhost, 127.0.0.1 and ::1. The key file has mode 0600.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    key_file.touch(mode=0o600)
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    certificate_file.write_bytes(_sign_certificate(host, key).public_bytes(serialization.Encoding.PEM))


def _sign_certificate(host: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Create the certificate for `key`."""
    serial = x509.random_serial_number()
    # OpenSSL looks up trusted certificates by subject name, so each certificate needs a unique one.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"this machine {serial:x}"[:64])])
    now = datetime.now(UTC)
    hosts = dict.fromkeys((host, "localhost", "127.0.0.1", "::1"))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=_VALIDITY_DAYS))
        .add_extension(x509.SubjectAlternativeName(map(_general_name, hosts)), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _general_name(host: str) -> x509.GeneralName:
    """Convert an IP address or a host name to a subject alternative name."""
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
