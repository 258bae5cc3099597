"""EdgeProxy: which resources it makes on each target, and what it is told."""

import base64
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes
import pytest
from pulumi_tiers import AppTier, Site, Target
from pulumi_tiers.app_tier import AppTierArgs
from pulumi_tiers.cli.certificates import made, wanted
from pulumi_tiers.cli.compose import read_secrets, write
from pulumi_tiers.component import RefusedError
from pulumi_tiers.edge_proxy import (
    EdgeProxy,
)
from pulumi_tiers.render.recorder import Recording, Resource, Secret, bare, record

SERVICES: Any = {"api": {"image": "me/api:1", "ports": [{"target": 8000}], "replicas": 2}}
EDGE: Any = {
    "upstreams": {"api": {"endpoint": "api", "balance": "least_conn"}},
    "routes": [{"path": "/", "upstream": "api"}],
}


def recorded(target: Target = Target.DOCKER, **keys: Any) -> Recording:
    def program() -> None:
        site_args: Any = {"target": target}
        options = None
        if target is Target.DIGITALOCEAN:
            site_args["cluster"] = {"id": "a", "region": "nyc1", "vpc": "b"}
            provider = pulumi_kubernetes.Provider("cluster", kubeconfig="{}")
            options = pulumi.ResourceOptions(providers=[provider])
        site = Site("shop", site_args, options)
        args: AppTierArgs = {"site": site.ref, "services": SERVICES}
        app = AppTier("shop-app", args, options)
        described: Any = {"site": site.ref, "endpoints": app.endpoints, **EDGE, **keys}
        edge = EdgeProxy("shop-edge", described, options)
        pulumi.export("url", edge.url)
        pulumi.export("urls", edge.urls)
        pulumi.export("certificate", edge.certificate)

    return record(program, project="test", stack="dev", config={})


def one(recording: Recording, kind: str, name: str) -> Resource:
    [found] = [
        item for item in recording.resources if item.type.endswith(f":{kind}") and item.name == name
    ]
    return found


def files(recording: Recording, name: str) -> Mapping[str, Any]:
    """What the helper is told to write, by variable."""
    entries = one(recording, "Container", f"{name}-files").inputs["envs"]
    return dict(str(bare(entry)).split("=", 1) for entry in entries)


def test_on_docker() -> None:
    found = recorded(published={"http": 8080})
    container = one(found, "Container", "shop-edge-edge")
    assert container.inputs["name"] == "dev-shop-edge"
    assert container.inputs["entrypoints"] == ["sh", "/run/configs/start.sh"]
    assert container.inputs["ports"] == [{"internal": 8080, "external": 8080, "ip": "127.0.0.1"}]
    assert container.inputs["readOnly"] is True
    assert container.inputs["user"] == "101:101"
    # Its configuration is no input of it: a changed one replaces the helper only.
    assert "worker_processes" not in str(bare(container.inputs))
    texts = files(found, "shop-edge-edge").values()
    assert "api api 8000\n" in texts
    assert any(text.startswith("worker_processes 1;") for text in texts)
    assert bare(found.outputs) == {
        "url": "http://localhost:8080",
        "urls": ["http://localhost:8080"],
        "certificate": "",
    }


def test_it_waits_for_its_upstreams() -> None:
    container = one(recorded(), "Container", "shop-edge-edge")
    assert [urn for urn in container.depends_on if urn.endswith("::shop-app-api")]


def test_what_is_told_of_names_and_ports() -> None:
    def urls(**keys: Any) -> list[str]:
        return bare(recorded(tls={"mode": "self_signed"}, **keys).outputs["urls"])

    assert urls() == ["https://localhost"]
    assert urls(redirect=False) == ["http://localhost", "https://localhost"]
    assert urls(server_names=["*.example.com", "shop.example.com"]) == ["https://shop.example.com"]
    assert urls(published={"https": 8443}) == ["https://localhost:8443"]
    assert urls(published={}) == []
    assert urls(host_ip="192.0.2.7") == ["https://192.0.2.7"]


def test_a_self_signed_certificate_is_for_what_it_is_reached_by() -> None:
    found = recorded(tls={"mode": "self_signed"}, server_names=["shop.test"], host_ip="192.0.2.7")
    certificate = one(found, "SelfSignedCert", "shop-edge-tls").inputs
    assert certificate["dnsNames"] == ["shop.test", "localhost", "edge"]
    assert certificate["ipAddresses"] == ["192.0.2.7", "127.0.0.1"]
    assert bare(found.outputs["certificate"])
    secrets = [
        entry
        for entry in one(found, "Container", "shop-edge-edge-files").inputs["envs"]
        if str(bare(entry)).startswith("SECRETS_")
    ]
    assert len(secrets) == 2
    assert all(isinstance(entry, Secret) for entry in secrets)


def test_a_given_certificate_stands_in_one_line() -> None:
    from test_edge import KEY, certificate, key_text

    pem = certificate(KEY)
    found = files(
        recorded(tls={"mode": "given", "certificate": pem, "key": key_text(KEY)}), "shop-edge-edge"
    )
    assert base64.b64decode(found["SECRETS_0"]).decode() == pem
    assert base64.b64decode(found["SECRETS_1"]).decode() == key_text(KEY)
    assert "\n" not in found["SECRETS_0"]


def test_on_kubernetes_pods_are_the_upstreams() -> None:
    found = recorded(Target.KUBERNETES, replicas=2, log_volume=LOGS)
    conf = one(found, "ConfigMap", "shop-edge-edge").inputs["data"]
    assert conf["upstreams"] == "api api-peers 8000\n"
    peers = one(found, "Service", "shop-edge-api-peers").inputs
    assert peers["metadata"]["name"] == "api-peers"
    assert peers["spec"]["clusterIP"] == "None"
    service = one(found, "Service", "shop-edge-edge").inputs["spec"]
    assert service["type"] == "LoadBalancer"
    assert service["externalTrafficPolicy"] == "Local"
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(80, 8080)]
    [container] = one(found, "Deployment", "shop-edge-edge").inputs["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": 8081}
    # NF-06: no claim of half a gibibyte.
    assert not found.of_type("kubernetes:core/v1:PersistentVolumeClaim")


LOGS = {"name": "nginx-logs", "target": "/var/log/nginx", "size": "500Mi"}


def test_on_digitalocean_the_load_balancer_ends_tls() -> None:
    tls = {"mode": "digitalocean", "certificate_id": "abc"}
    found = recorded(Target.DIGITALOCEAN, tls=tls)
    service = one(found, "Service", "shop-edge-edge").inputs
    balancer = "service.beta.kubernetes.io/do-loadbalancer"
    annotations = service["metadata"]["annotations"]
    assert annotations[f"{balancer}-enable-proxy-protocol"] == "true"
    assert annotations[f"{balancer}-certificate-id"] == "abc"
    # The default type would do neither.
    assert annotations[f"{balancer}-type"] == "REGIONAL"
    conf = one(found, "ConfigMap", "shop-edge-edge").inputs["data"]["nginx.conf"]
    assert "listen 8443 proxy_protocol;" in conf
    assert "max-age=31536000" in conf
    assert not found.of_type("kubernetes:core/v1:Secret")


def test_logs_on_docker_have_a_volume_that_nginx_may_write() -> None:
    found = recorded(log_volume=LOGS)
    helper = one(found, "Container", "shop-edge-edge-logs")
    edge = one(found, "Container", "shop-edge-edge")
    [own] = [mount for mount in edge.inputs["mounts"] if mount["target"] == "/var/log/nginx"]
    [first] = helper.inputs["mounts"]
    assert (first["source"], first["target"]) == (own["source"], "/tmp")
    assert helper.urn in edge.depends_on


def test_lets_encrypt_shares_a_volume() -> None:
    tls = {"mode": "lets_encrypt", "email": "me@example.com"}
    found = recorded(tls=tls, server_names=["shop.example.com"])
    edge = one(found, "Container", "shop-edge-edge")
    certbot = one(found, "Container", "shop-edge-edge-certbot")
    sources = [
        mount["source"]
        for container in (edge, certbot)
        for mount in container.inputs["mounts"]
        if mount["target"] == "/etc/letsencrypt"
    ]
    assert len(set(sources)) == 1
    assert edge.urn in certbot.depends_on  # which proves the name through it


def test_mistakes_stop_it_before_anything_is_made() -> None:
    with pytest.raises(RefusedError) as caught:
        recorded(upstreams={"api": {"endpoint": "apy"}}, tls={"mode": "lets_encrypt"})
    assert "EdgeProxy shop-edge: server_names" in str(caught.value)
    with pytest.raises(RefusedError) as caught:
        recorded(upstreams={"api": {"endpoint": "api", "port": 5000}})
    [mistake] = caught.value.mistakes
    assert str(mistake) == (
        "EdgeProxy shop-edge: upstreams.api.port: 'api' does not listen on port 5000\n"
        "    it listens on 8000"
    )
    with pytest.raises(RefusedError, match="did you mean 'upstreams'"):
        recorded(upstream={})


# --- without an engine ----------------------------------------------------------------------------


def test_rendered_files_have_a_certificate_that_stays(tmp_path: Path) -> None:
    found = recorded(tls={"mode": "self_signed"})
    write(found, "dev", tmp_path)
    first = read_secrets(tmp_path)
    assert set(first) == {"SHOP_EDGE_TLS_CERTIFICATE", "SHOP_EDGE_TLS_KEY"}
    assert base64.b64decode(first["SHOP_EDGE_TLS_KEY"]).startswith(b"-----BEGIN PRIVATE KEY-----")
    compose = (tmp_path / "compose.yaml").read_text()
    assert "SECRETS_0: ${SHOP_EDGE_TLS_CERTIFICATE}" in compose
    assert "BEGIN PRIVATE" not in compose
    write(found, "dev", tmp_path)
    assert read_secrets(tmp_path) == first
    # For other names, it is another one.
    write(recorded(tls={"mode": "self_signed"}, server_names=["a.test"]), "dev", tmp_path)
    assert read_secrets(tmp_path) != first


def test_a_certificate_that_expires_soon_is_made_again() -> None:
    [item] = wanted(recorded(tls={"mode": "self_signed"}))
    assert (item.hours, item.renewal_hours) == (8760, 720)
    known = made([item], {})
    assert made([item], known) == {}
    assert made([item], {**known, item.key: "bm9uc2Vuc2U="}) != {}
    soon = made([replace(item, hours=700)], {})
    assert made([item], soon) != {}
