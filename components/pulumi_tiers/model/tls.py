"""The certificate of an edge: where it comes from, and what is wrong with one that was given."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, model_validator

from pulumi_tiers.model.base import Model, Text, Word
from pulumi_tiers.model.errors import reject, reject_all, shown
from pulumi_tiers.model.unknown import is_unknown

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"

Mistakes = Iterator[tuple[tuple[str | int, ...], str, str]]


class TlsMode(Word):
    """Where the certificate comes from."""

    OFF = "off"
    #: Made by the stack, for development.
    SELF_SIGNED = "self_signed"
    #: `certificate` and `key`.
    GIVEN = "given"
    #: From an ACME server, and renewed; on Docker.
    LETS_ENCRYPT = "lets_encrypt"
    #: DigitalOcean's load balancer has it, and ends TLS.
    DIGITALOCEAN = "digitalocean"


_EMAIL = re.compile(r"[A-Za-z0-9._+-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", re.ASCII)


def _email(value: str) -> str:
    if not _EMAIL.fullmatch(value) or len(value) > 200:
        raise reject(f"{shown(value)} is not an e-mail address", "write it like 'me@example.com'")
    return value


_DIRECTORY = re.compile(r"https://[A-Za-z0-9.-]+(:[1-9]\d{0,4})?(/[A-Za-z0-9._~/-]*)?", re.ASCII)


def _directory(value: str) -> str:
    if not _DIRECTORY.fullmatch(value) or len(value) > 300:
        raise reject(
            f"{shown(value)} is not the URL of an ACME directory", f"write it like '{LETS_ENCRYPT}'"
        )
    return value


_CERTIFICATE_ID = re.compile(r"[A-Za-z0-9-]{1,100}", re.ASCII)


def _certificate_id(value: object) -> object:
    if isinstance(value, str) and not _CERTIFICATE_ID.fullmatch(value):
        raise reject(
            f"{shown(value)} is not the id of a certificate",
            "copy it from 'doctl compute certificate list'",
        )
    return value


class Tls(Model):
    """How clients' connections are encrypted."""

    mode: TlsMode = TlsMode.OFF
    #: given: in PEM, the server's certificate first, then those that lead to a known authority.
    certificate: Text | None = None
    #: given: its key in PEM, without a passphrase.
    key: Text | None = None
    #: lets_encrypt: who is told when something is wrong.
    email: Annotated[str, AfterValidator(_email)] | None = None
    #: lets_encrypt: another ACME server.
    directory: Annotated[str, AfterValidator(_directory)] = LETS_ENCRYPT
    #: lets_encrypt: in PEM, who signed that server's own certificate, where no system knows it.
    directory_ca: Text | None = None
    #: digitalocean: id of the certificate in the account.
    certificate_id: Annotated[Text, AfterValidator(_certificate_id)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> "Tls":
        reject_all(self._mistakes())
        return self

    @property
    def on(self) -> bool:
        return self.mode is not TlsMode.OFF

    @property
    def own(self) -> bool:
        """Whether nginx itself has a certificate."""
        return self.on and self.mode is not TlsMode.DIGITALOCEAN

    def _mistakes(self) -> Mistakes:
        needed = {
            TlsMode.GIVEN: ("certificate", "key"),
            TlsMode.DIGITALOCEAN: ("certificate_id",),
        }.get(self.mode, ())
        for key in needed:
            if not getattr(self, key):
                yield (key,), f"is missing, and the mode is {self.mode}", "add it, or choose a mode"
        matter_of = {
            "certificate": TlsMode.GIVEN,
            "key": TlsMode.GIVEN,
            "certificate_id": TlsMode.DIGITALOCEAN,
            "email": TlsMode.LETS_ENCRYPT,
            "directory": TlsMode.LETS_ENCRYPT,
            "directory_ca": TlsMode.LETS_ENCRYPT,
        }
        for key, mode in matter_of.items():
            if key in self.model_fields_set and getattr(self, key) and self.mode is not mode:
                yield (
                    (key,),
                    f"'{key}' says nothing where the mode is {self.mode}",
                    (f"remove it, or set the mode to {mode}"),
                )
        if self.mode is TlsMode.GIVEN:
            yield from _pair_mistakes(self.certificate, self.key)


def _certificates(pem: str) -> "list[Certificate]":
    """Raises ValueError."""
    from cryptography.x509 import load_pem_x509_certificates

    return load_pem_x509_certificates(pem.encode())


def _pair_mistakes(certificate: object, key: object) -> Mistakes:
    """A certificate and its key. What is an Output is not known here. No message repeats either."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    known: dict[str, str] = {}
    for name, text in (("certificate", certificate), ("key", key)):
        if is_unknown(text) or not isinstance(text, str) or not text:
            continue
        if "-----BEGIN" in text and not _whole(text):
            why = "the text was cut or indented, or its line breaks are missing"
            remedy = "give the file's text with its line breaks, from '-----BEGIN' to its end"
            yield (name,), why, remedy
        else:
            known[name] = text
    chain: list[Certificate] = []
    private = None
    if "certificate" in known:
        try:
            chain = _certificates(known["certificate"])
        except ValueError:
            remedy = "give the file's text, from '-----BEGIN CERTIFICATE-----' on"
            yield ("certificate",), "this is not a certificate in PEM", remedy
    if "key" in known:
        try:
            private = load_pem_private_key(known["key"].encode(), None)
        except UnsupportedAlgorithm:
            why = "nobody's browser knows this kind of key"
            yield ("key",), why, "make one of ECDSA P-256 or RSA of 2048 bits"
        except TypeError:
            remedy = "take the passphrase off: 'openssl pkey -in key.pem'"
            yield ("key",), "the key has a passphrase, which nobody could enter", remedy
        except ValueError:
            remedy = "give the file's text, from '-----BEGIN PRIVATE KEY-----' on"
            yield ("key",), "this is not a private key in PEM", remedy
    try:
        weak = [_too_short(item.public_key()) for item in chain]
    except (UnsupportedAlgorithm, ValueError):
        why = "nobody's browser knows the kind of its key"
        yield ("certificate",), why, "make one with a key of ECDSA P-256 or RSA of 2048 bits"
        return
    for position, bits in enumerate(weak, 1):
        if bits:
            which = "its key" if position == 1 else f"the key of certificate {position}"
            remedy = "make one with a key of ECDSA P-256 or RSA of 2048 bits"
            yield ("certificate",), f"{which} has {bits} bits: nginx refuses that", remedy
    yield from _dates_mistakes(chain)
    if not any(weak):
        yield from _order_mistakes(chain)
    if chain and private is not None and chain[0].public_key() != private.public_key():
        remedy = "give the key that it was made with; the server's certificate comes first"
        yield ("key",), "the certificate is another key's", remedy


def _dates_mistakes(chain: "Sequence[Certificate]") -> Mistakes:
    now = datetime.now(UTC)
    for position, item in enumerate(chain, 1):
        which = "the certificate" if position == 1 else f"certificate {position}"
        if item.not_valid_after_utc < now:
            why = f"{which} expired on {item.not_valid_after_utc:%Y-%m-%d}"
            yield ("certificate",), why, "renew it"
        if item.not_valid_before_utc > now:
            why = f"{which} is valid from {item.not_valid_before_utc:%Y-%m-%d} on only"
            yield ("certificate",), why, "give one that is valid now"


def _order_mistakes(chain: "Sequence[Certificate]") -> Mistakes:
    from cryptography.exceptions import InvalidSignature

    for position, (item, signer) in enumerate(pairwise(chain), 1):
        try:
            item.verify_directly_issued_by(signer)
        except (InvalidSignature, TypeError, ValueError):
            why = f"certificate {position} is not signed by certificate {position + 1}"
            remedy = "put each before the one that signed it, the server's first, and no others"
            yield ("certificate",), why, remedy


_BEGINS = re.compile(r"-----BEGIN [A-Z0-9 ]+-----(?P<end>[ \t]*\r?\n)?")


def _whole(pem: str) -> bool:
    """Whether each part has its end, and begins on a line of its own, as OpenSSL wants it."""
    if re.search(r"^[ \t]+-----", pem, re.MULTILINE):  # as it stands in YAML
        return False
    begins = list(_BEGINS.finditer(pem))
    return len(begins) == pem.count("-----END ") and all(part["end"] for part in begins)


def _too_short(key: object) -> int:
    """The bits of a key that OpenSSL refuses in nginx; 0 where it takes it."""
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    least = {RSAPublicKey: 2048, EllipticCurvePublicKey: 224}
    for kind, bits in least.items():
        if isinstance(key, kind) and key.key_size < bits:
            return key.key_size
    return 0


def names_of(certificate: str) -> list[str] | None:
    """The hosts of the first certificate. None where it can't be read: told elsewhere."""
    from cryptography.x509 import DNSName, ExtensionNotFound, IPAddress, SubjectAlternativeName

    try:
        first = _certificates(certificate)[0]
        names = first.extensions.get_extension_for_class(SubjectAlternativeName)
    except ExtensionNotFound:
        return []
    except ValueError:
        return None
    addresses = [str(address) for address in names.value.get_values_for_type(IPAddress)]
    return [*(name.lower() for name in names.value.get_values_for_type(DNSName)), *addresses]


def covers(certified: str, name: str) -> bool:
    """Whether a certificate for the one is good for the other."""
    if certified == name:
        return True
    # A wildcard stands for one label.
    return certified.startswith("*.") and certified[1:] == name[name.find(".") :] and "." in name
