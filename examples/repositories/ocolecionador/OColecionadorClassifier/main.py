"""Stands for the classifier."""

from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers the health check."""

    def do_GET(self) -> None:
        """200 for the health check, 404 for the rest."""
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()


HTTPServer(("", 5001), Handler).serve_forever()
