"""A certificate authority of a bank's own, for a bank on one machine: made on first use, kept in its directory.

Elsewhere certificates come from whoever runs the network (cert-manager, say). Never here: reading
or showing them (`services/chassis/identity.py`).
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.chassis import children
from services.chassis.ports import HOST
from services.cli.certificates import Certificates

AUTHORITY_DAYS: Final = 3650
CERTIFICATE_DAYS: Final = 365
RENEWED_DAYS: Final = 30
"""A certificate with less than this left is made anew when the bank opens."""

CLOCK_SKEW: Final = timedelta(minutes=5)


def ensure(place: Certificates, names: Iterable[str]) -> None:
    """Make what is missing or about to expire; only the owner may read the keys."""
    children.make_directory(place.directory)
    if not _is_good(place.authority_file, RENEWED_DAYS + CERTIFICATE_DAYS):
        _make_authority(place)
    authority = x509.load_pem_x509_certificate(place.authority_file.read_bytes())
    key = _load_key(place.authority_key_file)
    for name in names:
        if not _is_good(place.certificate_file(name), RENEWED_DAYS, authority):
            _make(place, name, authority, key)


def _make_authority(place: Certificates) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Hivecore on this machine")])
    builder = _builder(name, name, key.public_key(), AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    children.write_private(place.authority_key_file, _text_of_key(key))
    place.authority_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _make(
    place: Certificates, name: str, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = [x509.DNSName("localhost"), x509.DNSName(name), x509.IPAddress(ip_address(HOST))]
    usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = (
        _builder(subject, authority.subject, key.public_key(), CERTIFICATE_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
    )
    certificate = builder.sign(authority_key, hashes.SHA256())
    children.write_private(place.key_file(name), _text_of_key(key))
    place.certificate_file(name).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _is_good(file: Path, days: int, authority: x509.Certificate | None = None) -> bool:
    """Tell whether a certificate is there, lasts so many days and is the authority's."""
    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        if authority is not None:
            certificate.verify_directly_issued_by(authority)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it is made anew
        return False
    return certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=days)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + timedelta(days=days))
    )


def _load_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def _text_of_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
