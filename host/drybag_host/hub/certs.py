"""The hub's own certificate authority, and its server certificate.

Trust is made over the serial cable: a handset gets the CA's certificate when it is paired. Both
are valid from 1999 to 2099, so that a handset without a clock can check them.
"""

import datetime
import ipaddress
import os
import socket

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from drybag_host.backup import disk
from drybag_host.errors import HostFile
from drybag_host.hub.fingerprints import SERVER_NAME, fingerprint

__all__ = ["Certificates", "host_names"]

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH
FIRST = datetime.datetime(1999, 1, 1, tzinfo=datetime.UTC)
LAST = datetime.datetime(2099, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)


def host_names(listen):
    """Names and addresses under which this computer may be asked for."""
    names = {"localhost", "127.0.0.1", "::1", socket.gethostname(), listen}
    try:
        for info in socket.getaddrinfo(socket.gethostname(), None):
            names.add(info[4][0].partition("%")[0])
    except OSError:
        pass
    names.discard("0.0.0.0")
    names.discard("::")
    return sorted(name for name in names if name and len(name) <= 63)


class Certificates:
    """Keys and certificates in a folder; made when they are not there.

    ca_der; paths: ca, server_cert, server_key. fresh: True if the CA was made just now.
    """

    def __init__(self, folder, names):
        disk.make_dirs(folder)
        self.ca = os.path.join(folder, "ca.pem")
        self.ca_key = os.path.join(folder, "ca-key.pem")
        self.server_cert = os.path.join(folder, "server.pem")
        self.server_key = os.path.join(folder, "server-key.pem")
        self.fresh = not os.path.exists(self.ca)
        if self.fresh:
            self._make_ca()
        self._authority = self._load(self.ca)
        self.ca_der = self._authority.public_bytes(serialization.Encoding.DER)
        if not self._covers(names):
            self._make_server(names)

    def fingerprint(self):
        return fingerprint(self.ca_der)

    def _load(self, path):
        try:
            return x509.load_pem_x509_certificate(disk.read_file(path) or b"")
        except ValueError as error:
            raise HostFile(
                "%s is no certificate" % path,
                "put it back from a backup; with another CA every handset must be paired again",
            ) from error

    def _make_ca(self):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Drybag hub CA")])
        cert = (
            _builder(name, name, key.public_key(), key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certs=True), critical=True)
            .sign(key, hashes.SHA256())
        )
        _write_key(self.ca_key, key)
        disk.replace_file(self.ca, cert.public_bytes(serialization.Encoding.PEM))

    def _make_server(self, names):
        try:
            data = disk.read_file(self.ca_key) or b""
            ca_key = serialization.load_pem_private_key(data, None)
        except ValueError as error:
            raise HostFile(
                "%s is no key, and the server needs a certificate for other names" % self.ca_key,
                "put it back from a backup",
            ) from error
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SERVER_NAME)])
        cert = (
            _builder(name, self._authority.subject, key.public_key(), ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(sign_certs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName(_general(names)), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        _write_key(self.server_key, key)
        disk.replace_file(self.server_cert, cert.public_bytes(serialization.Encoding.PEM))

    def _covers(self, names):
        """True if the server's certificate is there, of this CA, and bears all names."""
        if not (os.path.exists(self.server_cert) and os.path.exists(self.server_key)):
            return False
        cert = self._load(self.server_cert)
        try:
            cert.verify_directly_issued_by(self._authority)
            there = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, TypeError, x509.ExtensionNotFound):
            return False
        except Exception as error:  # InvalidSignature has no base of its own
            if type(error).__name__ != "InvalidSignature":
                raise
            return False
        return set(_general(names)) <= set(there)


def _builder(subject, issuer, public_key, issuer_key):
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(FIRST)
        .not_valid_after(LAST)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False
        )
    )


def _usage(sign_certs):
    return x509.KeyUsage(
        digital_signature=not sign_certs, key_cert_sign=sign_certs, crl_sign=sign_certs,
        content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _general(names):
    out = [x509.DNSName(SERVER_NAME)]
    for name in names:
        try:
            out.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            if name.isascii():
                out.append(x509.DNSName(name))
    return out


def _write_key(path, key):
    """A private key, for its owner's eyes only from the first byte on."""
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )  # fmt: skip
    temporary = path + ".tmp"
    with disk.explained(path):
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    disk.rename(temporary, path)
