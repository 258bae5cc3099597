"""A double of DigitalOcean's API for tests: a stand-in, never DigitalOcean itself.

The real provider plugin talks to it over loopback. Real answers of DigitalOcean were never seen.
The double was written after the published OpenAPI description and the source of the provider. Where
the description is silent, its refusals use the words that people report. On 2026-11-22 Prism (npm's
`@stoplight/prism-cli`) stood before it as a validating proxy, with that description and `--errors`:
it had nothing left to object to in the requests and answers of `test_digitalocean_double.py`. In
the provider's own requests it objected to an empty `project_id`, to `rules` and parts of a cluster
that are null, and to tags on databases. The provider is DigitalOcean's own: the double takes them.
"""

from digitalocean.server import Double, Entry, Hang
from digitalocean.world import KubernetesServer, World

__all__ = ["Double", "Entry", "Hang", "KubernetesServer", "World"]
