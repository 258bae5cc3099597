"""Stands for the API."""

from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    """Answers what a deployment asks for."""

    def do_GET(self) -> None:
        """200 for the health check, 404 for the rest."""
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("", 8000), Handler).serve_forever()
