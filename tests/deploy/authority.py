"""Makes the Secrets that cert-manager makes of a rendered overlay's Certificates. Not a test itself."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USAGES = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}
ENCODINGS = {
    "PKCS1": serialization.PrivateFormat.TraditionalOpenSSL,
    "PKCS8": serialization.PrivateFormat.PKCS8,
}


class Authority:
    """A certificate authority."""

    def __init__(self, common_name: str) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        constraints = x509.BasicConstraints(ca=True, path_length=None)
        builder = self._builder(self._name, self._key.public_key()).add_extension(constraints, critical=True)
        self.certificate = _pem(builder.sign(self._key, hashes.SHA256()))

    def secret(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Make the Secret of a Certificate."""
        if spec.get("isCA"):
            files = {"tls.crt": self.certificate, "tls.key": _text(self._key, spec), "ca.crt": self.certificate}
            return _secret(spec["secretName"], files)
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, spec["dnsNames"][0])])
        names = [x509.DNSName(name) for name in spec["dnsNames"]]
        usages = [USAGES[usage] for usage in spec["usages"]]
        builder = (
            self._builder(subject, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        )
        certificate = _pem(builder.sign(self._key, hashes.SHA256()))
        files = {"tls.crt": certificate, "tls.key": _text(key, spec), "ca.crt": self.certificate}
        return _secret(spec["secretName"], files)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return x509.CertificateBuilder(
            self._name, subject, key, x509.random_serial_number(), now - timedelta(minutes=5), now + timedelta(days=1)
        )


def issued(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make the Secret of every Certificate, as the overlay's issuers would: all of the bank's own authority."""
    specs = [each["spec"] for each in documents if each["kind"] == "Certificate"]
    (own,) = (spec for spec in specs if spec.get("isCA"))
    authority = Authority(own["commonName"])
    for spec in specs:
        assert spec["issuerRef"]["name"] == ("hivecore-root" if spec is own else own["secretName"])
        assert spec["privateKey"]["algorithm"] == "ECDSA" and spec["privateKey"]["size"] == 256
    return [authority.secret(spec) for spec in specs]


def _secret(name: str, files: Mapping[str, str]) -> dict[str, Any]:
    return {"kind": "Secret", "metadata": {"name": name}, "stringData": dict(files)}


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _text(key: ec.EllipticCurvePrivateKey, spec: Mapping[str, Any]) -> str:
    encoding = ENCODINGS[spec.get("privateKey", {}).get("encoding", "PKCS1")]
    return key.private_bytes(serialization.Encoding.PEM, encoding, serialization.NoEncryption()).decode()
