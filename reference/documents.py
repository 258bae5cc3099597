"""The API's own description, and pages that show it without anything from elsewhere."""

from __future__ import annotations

import inspect
import re

from flask import Flask, Response, jsonify, render_template_string

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{{ info.title }} - API</title>
<h1>{{ info.title }} {{ info.version }}</h1>
<p><a href="/openapi.json">openapi.json</a></p>
<dl>
{%- for path, operations in paths.items() %}
{%- for method, operation in operations.items() %}
<dt><code>{{ method | upper }} {{ path }}</code></dt><dd>{{ operation.summary }}</dd>
{%- endfor %}
{%- endfor %}
</dl>
</html>
"""


def add_document_routes(app: Flask, title: str, version: str) -> None:
    """/openapi.json, and /docs and /redoc, which list what is in it."""

    @app.get("/openapi.json")
    def openapi() -> Response:
        """Describe the API."""
        return jsonify(describe(app, title, version))

    @app.get("/docs")
    @app.get("/redoc")
    def documents() -> str:
        """List what the API can do."""
        return render_template_string(PAGE, **describe(app, title, version))


def describe(app: Flask, title: str, version: str) -> dict[str, object]:
    """The routes as an OpenAPI document; each view's docstring is its summary."""
    paths: dict[str, dict[str, object]] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        path = re.sub(r"<(\w+)>", r"{\1}", rule.rule)
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in sorted(rule.arguments)
        ]
        summary = inspect.getdoc(app.view_functions[rule.endpoint]) or ""
        for method in sorted((rule.methods or set()) & {"GET", "POST"}):
            paths.setdefault(path, {})[method.lower()] = {
                "summary": summary.splitlines()[0].rstrip(".") if summary else path,
                "parameters": parameters,
                "responses": {"default": {"description": "JSON, or a page"}},
            }
    return {"openapi": "3.0.3", "info": {"title": title, "version": version}, "paths": paths}
