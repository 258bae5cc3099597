"""What a hand-written snippet may not repeat."""

from collections.abc import Iterator

from pulumi_tiers.model.edge import SNIPPET_CONTEXTS, Edge, Snippets
from pulumi_tiers.model.nginx_syntax import Directive, parse_block
from pulumi_tiers.nginx.base import Facts
from pulumi_tiers.nginx.configuration import http, servers


def snippet_clashes(edge: Edge) -> Iterator[tuple[str, str]]:
    """Directives of snippets that nginx would find twice: the snippet's key, the directive."""
    bare = edge.model_copy(update={"snippets": Snippets()})
    server = servers(bare, Facts())[-1].block or ()
    for key, own in (("http", http(bare, Facts())), ("server", server)):
        taken = {_identity(item) for item in own} - {None}
        for item in parse_block(getattr(edge.snippets, key), SNIPPET_CONTEXTS[key]):
            if _identity(item) in taken:
                yield key, " ".join((item.name, *item.arguments))


#: nginx takes them more than once in a block.
_REPEATED = frozenset(
    {
        *("access_log", "add_header", "error_log", "gzip_types", "include", "listen"),
        *("proxy_hide_header", "proxy_set_header", "server_name", "set_real_ip_from"),
        *("ssl_certificate", "ssl_certificate_key", "ssl_protocols"),
    }
)


def _identity(item: Directive) -> tuple[str, ...] | None:
    """What a block has once. None: it may have several."""
    match item.name, item.arguments:
        case (("upstream" | "log_format"), (name, *_)):
            return (item.name, name)
        case (("map" | "geo"), (*_, variable)):
            return ("map", variable)
        case "limit_req_zone", (_, zone, *_):
            return (item.name, zone.partition(":")[0])
        case "location", (*modifier, path):
            # A path that ends the search for others is the same path.
            return (item.name, *(word for word in modifier if word != "^~"), path)
        case _ if item.block is not None or item.name in _REPEATED:
            return None
        case _:
            return (item.name,)
