"""The self-signed certificates that rendered files need: where no engine runs, made here."""

import base64
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pulumi_tiers.render.recorder import Recording, answered, bare, placeholders

_CERTIFICATE = "tls:index/selfSignedCert:SelfSignedCert"


@dataclass(frozen=True)
class Wanted:
    """A certificate that the files refer to: its variable, its key's, and what it is for."""

    certificate: str
    key: str
    names: tuple[str, ...]
    addresses: tuple[str, ...]
    hours: int
    renewal_hours: int


def wanted(recording: Recording) -> list[Wanted]:
    """Those that the recorded program makes."""
    found: list[Wanted] = []
    for resource in recording.of_type(_CERTIFICATE):
        inputs = bare(resource.inputs)
        [(_, key)] = placeholders(inputs["privateKeyPem"])
        [(_, certificate)] = placeholders(answered(resource, "certPem"))
        names, addresses = inputs.get("dnsNames") or [], inputs.get("ipAddresses") or []
        hours, renewal = inputs["validityPeriodHours"], inputs.get("earlyRenewalHours") or 0
        found.append(Wanted(certificate, key, tuple(names), tuple(addresses), hours, renewal))
    return found


def made(certificates: Iterable[Wanted], known: Mapping[str, str]) -> dict[str, str]:
    """Values for the missing ones, and for those that expire soon or are for other names.

    Each is one line: the PEM in base64, which `nginx/start.sh` takes too.
    """
    values: dict[str, str] = {}
    for item in certificates:
        if not _good(item, known):
            certificate, key = _pair(item)
            values[item.certificate] = base64.b64encode(certificate).decode()
            values[item.key] = base64.b64encode(key).decode()
    return values


def _good(item: Wanted, known: Mapping[str, str]) -> bool:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        certificate = x509.load_pem_x509_certificate(base64.b64decode(known[item.certificate]))
        key = load_pem_private_key(base64.b64decode(known[item.key]), None)
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (KeyError, ValueError, TypeError, x509.ExtensionNotFound):
        return False
    names = found.get_values_for_type(x509.DNSName)
    addresses = [str(address) for address in found.get_values_for_type(x509.IPAddress)]
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    return (
        certificate.public_key() == key.public_key()
        and left > timedelta(hours=item.renewal_hours)
        and (tuple(names), tuple(addresses)) == (item.names, item.addresses)
    )


def _pair(item: Wanted) -> tuple[bytes, bytes]:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, item.names[0][:64])])
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in item.names]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in item.addresses]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=item.hours))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(
            x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return certificate.public_bytes(encoding), key.private_bytes(
        encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
