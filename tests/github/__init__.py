"""A double of GitHub's REST API for tests: a stand-in, never GitHub itself.

The real provider plugin talks to it over loopback. It was written after GitHub's published REST
documentation and the source of the provider; real answers of GitHub were never seen. Its refusals
use the words that people report. Secrets are really encrypted for it, and really decrypted by it.
"""

from github.server import Double, Entry
from github.world import Repository, World

__all__ = ["Double", "Entry", "Repository", "World"]
