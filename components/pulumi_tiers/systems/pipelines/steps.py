"""Steps that several of the documented pipelines take."""

from pulumi_tiers.model.workflow import Step


def python(version: str, *requirements: str) -> Step:
    """Python, and a cache of what pip downloads that changes with the files of requirements."""
    return Step(
        name=f"Set up Python {version}",
        uses="actions/setup-python",
        inputs={
            "python-version": version,
            "cache": "pip",
            "cache-dependency-path": "\n".join(requirements),
        },
    )


def node(version: str, lock: str) -> Step:
    """Node, and a cache of what npm downloads that changes with the lock file."""
    return Step(
        name=f"Set up Node.js {version}",
        uses="actions/setup-node",
        inputs={"node-version": version, "cache": "npm", "cache-dependency-path": lock},
    )
