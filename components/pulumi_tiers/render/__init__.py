"""A recorded program as files: a graph, Compose, Kubernetes, a picture. Pure functions."""
