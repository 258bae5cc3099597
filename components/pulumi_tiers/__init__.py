"""Component library: describe a system once, get it on Docker, Kubernetes and DigitalOcean."""
