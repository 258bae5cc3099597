"""Certificates from an ACME server: asked for, served, renewed; nginx and certbot as they run."""

import socket
import ssl
import time
from pathlib import Path

import pytest
from acme import Acme, why_no_acme
from containers import Containers, stand_in
from cryptography import x509
from pulumi_tiers.cli.certificates import Wanted, made
from pulumi_tiers.model.edge import Edge
from pulumi_tiers.model.system import Target
from pulumi_tiers.nginx import Address
from pulumi_tiers.nginx.workloads import edge_workloads

pytestmark = [
    pytest.mark.docker,
    pytest.mark.load,
    pytest.mark.skipif(why_no_acme() != "", reason=why_no_acme() or "-"),
]

HOST = "shop.example.com"


def served(address: str) -> x509.Certificate:
    """The certificate that nginx shows now."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        socket.create_connection((address, 8443), 5) as connection,
        context.wrap_socket(connection, server_hostname=HOST) as encrypted,
    ):
        found = encrypted.getpeercert(binary_form=True)
        assert found is not None
        return x509.load_der_x509_certificate(found)


def test_a_certificate_is_asked_for_served_and_renewed(tmp_path: Path) -> None:
    image, certbot_image = stand_in("nginx:1.30-alpine"), stand_in("certbot/certbot:v5.8.0")
    with Containers(tmp_path) as containers:
        template = "{{(index .IPAM.Config 0).Gateway}}"
        gateway = containers.docker("network", "inspect", "-f", template, containers.name)
        acme = Acme(tmp_path, gateway, "", 8080, days=10)
        edge = Edge.model_validate(
            {
                "image": image,
                "certbot_image": certbot_image,
                "upstreams": {"app": {"endpoint": "app"}},
                "routes": [{"path": "/", "upstream": "app"}],
                "server_names": [HOST],
                "tls": {
                    "mode": "lets_encrypt",
                    "email": "me@example.com",
                    "directory": acme.directory,
                    "directory_ca": acme.certificate(),
                },
            }
        )
        first = made([Wanted("crt", "key", (HOST,), (), 24, 0)], {})
        workloads = edge_workloads(
            "nginx", edge, Target.DOCKER, {"app": Address("app", 1)}, (first["crt"], first["key"])
        )
        nginx = workloads["nginx"]
        edge_name = containers.start("nginx", nginx, {})
        containers.wait_healthy(edge_name, nginx)
        field = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
        acme.host = containers.docker("inspect", "-f", field, edge_name)
        # Until there is one, its own.
        own = served(acme.host)
        assert own.issuer == own.subject

        with acme:
            # Ten days are soon over: each round renews it.
            certbot = workloads["nginx-certbot"]
            often = {**certbot.environment, "EDGE_RENEW_SECONDS": "3"}
            certbot = certbot.model_copy(update={"environment": often})
            started = time.monotonic()
            certbot_name = containers.start("nginx-certbot", certbot, {})

            def logs() -> str:
                return containers.logs(certbot_name) + acme.log + containers.logs(edge_name)

            def wait_for_another(than: x509.Certificate) -> x509.Certificate:
                deadline = time.monotonic() + 60
                while (now := served(acme.host)).serial_number == than.serial_number:
                    assert time.monotonic() < deadline, logs()
                    time.sleep(0.2)
                return now

            issued = wait_for_another(own)
            print(f"served after {time.monotonic() - started:.1f} s")
            names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName)
            assert names.value.get_values_for_type(x509.DNSName) == [HOST]
            assert "Pebble" in issued.issuer.rfc4514_string()
            renewed = wait_for_another(issued)
            assert "Pebble" in renewed.issuer.rfc4514_string()
        assert "reloading: a new configuration or certificate" in containers.logs(edge_name)
        assert "nginx refuses" not in containers.logs(edge_name)
        # nginx reads the key by its group, and nobody else does.
        key = f"/etc/letsencrypt/live/{HOST}/privkey.pem"
        mode = containers.execute(edge_name, "stat", "-L", "-c", "%a %u:%g", key)
        assert mode.stdout.decode().strip() == "640 0:101"
