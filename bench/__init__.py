"""What this library costs, against a flat Pulumi program and Docker Compose: `python -m bench`."""
