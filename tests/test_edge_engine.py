"""An edge on real Docker, through Docker Compose and through the engine."""

import base64
import json
import re
import ssl
import time
import urllib.request
from typing import Any

import pytest
from containers import stand_in
from real_nginx import free_ports
from sandbox import Sandbox

PROGRAM = '''
from pulumi_tiers import AppTier, EdgeProxy, Site

# Answers with what it was asked.
SERVER = """
import http.server, json, socket
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = json.dumps({"by": socket.gethostname(), **dict(self.headers)}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""
site = Site("shop", {})
api = {
    "image": "@IMAGE@",
    "entrypoint": ["python3", "-c", SERVER],
    "ports": [{"target": 8000}],
    "replicas": 2,
}
app = AppTier("shop-app", {"site": site.ref, "services": {"api": api}})
EdgeProxy(
    "shop-edge",
    {
        "site": site.ref,
        "image": "@IMAGE@",
        "endpoints": app.endpoints,
        "upstreams": {"api": {"endpoint": "api", "balance": "least_conn"}},
        "rate_limits": {"api": {"rate": "@RATE@", "burst": 5, "nodelay": True}},
        "routes": [{"path": "/", "upstream": "api", "rate_limit": "api"}],
        "tls": {"mode": "self_signed"},
        "log_volume": {"name": "logs", "target": "/var/log/nginx", "size": "500Mi"},
        "published": {"http": @HTTP@, "https": @HTTPS@},
    },
)
'''


class Shop:
    """The program above in a sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.http, self.https = free_ports(2)
        (sandbox.root / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
        (sandbox.root / f"Pulumi.{sandbox.stack}.yaml").write_text("config: {}\n")
        self.write("1000r/s")

    def write(self, rate: str) -> None:
        values = {"HTTPS": self.https, "HTTP": self.http, "RATE": rate}
        text = PROGRAM
        for word, value in {**values, "IMAGE": stand_in("nginx:1.30-alpine")}.items():
            text = text.replace(f"@{word}@", str(value))
        (self.sandbox.root / "__main__.py").write_text(text)

    def get(self, trusted: str) -> dict[str, Any]:
        """What the service was asked, over TLS; only `trusted` makes the certificate good."""
        context = ssl.create_default_context(cadata=trusted)
        address = f"https://localhost:{self.https}/"
        with urllib.request.urlopen(address, timeout=10, context=context) as answer:
            return json.loads(answer.read())

    def inspect(self) -> dict[str, Any]:
        found = json.loads(self.sandbox.docker("inspect", f"{self.sandbox.stack}-shop-edge"))
        return found[0]

    def identity(self) -> str:
        return str(self.inspect()["Id"])

    def edge(self, *command: str) -> str:
        return self.sandbox.docker("exec", self.identity(), *command)


def put_in_place(shop: Shop, *runner: str) -> None:
    """A changed limit is reloaded: the container stays."""
    before = shop.identity()
    shop.write("7r/s")
    shop.sandbox.tiers("up", *runner)
    assert shop.identity() == before
    # The file is there at once; nginx has it after two seconds.
    for _ in range(20):
        if "rate=7r/s" in shop.edge("cat", "/run/nginx/now/nginx.conf"):
            return
        time.sleep(0.5)
    pytest.fail("it was not reloaded")


@pytest.mark.docker
def test_an_edge_through_compose(sandbox: Sandbox) -> None:
    shop = Shop(sandbox)
    sandbox.tiers("up", "--runner", "compose")
    kept = (sandbox.root / ".tiers" / sandbox.stack / ".env").read_text()
    found = re.search(r"CERTIFICATE='?([A-Za-z0-9+/=]+)", kept)
    assert found is not None, kept
    trusted = base64.b64decode(found[1]).decode()
    answers = [shop.get(trusted) for _ in range(4)]
    assert len({answer["by"] for answer in answers}) == 2
    assert answers[0]["X-Forwarded-Proto"] == "https"
    assert answers[0]["Host"] == f"localhost:{shop.https}"
    # Its logs are on their volume, and nothing else of it can be written.
    assert "/var/log/nginx/access.log" in shop.edge("ls", "/var/log/nginx/access.log")
    host = shop.inspect()["HostConfig"]
    assert (host["ReadonlyRootfs"], host["CapDrop"]) == (True, ["ALL"])
    put_in_place(shop, "--runner", "compose")
    assert shop.get(trusted)


@pytest.mark.docker
@pytest.mark.engine
@pytest.mark.load
def test_an_edge_through_the_engine(sandbox: Sandbox) -> None:
    shop = Shop(sandbox)
    sandbox.tiers("up", "--runner", "pulumi")
    served = ssl.get_server_certificate(("127.0.0.1", shop.https))
    assert shop.get(served)["X-Forwarded-Proto"] == "https"
    ids = sandbox.ids()
    put_in_place(shop, "--runner", "pulumi")
    # Only what writes the files is another one.
    assert len(sandbox.ids() - ids) == 1
    assert "nothing to change" in sandbox.tiers("up", "--runner", "pulumi").stderr
    assert ssl.get_server_certificate(("127.0.0.1", shop.https)) == served
