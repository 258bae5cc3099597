"""Somebody's own program on Kubernetes: a database from the library beside its own Deployment.

Twice in one stack: each guestbook has its namespace, its database and its passwords.
"""

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_tiers import DataTier, Site, Target

config = pulumi.Config()


def guestbook(name: str) -> pulumi.Output[str]:
    """One guestbook; its namespace."""
    site = Site(name, {"target": Target.KUBERNETES})
    data = DataTier(
        f"{name}-data",
        {
            "site": site.ref,
            "stores": {
                "postgres": {
                    "engine": "postgres",
                    "databases": [{"name": "entries", "owner": "writer"}],
                }
            },
        },
    )
    secret = kubernetes.core.v1.Secret(
        f"{name}-database",
        metadata={"name": "database", "namespace": site.namespace},
        string_data={"url": data.connections["postgres"]["url"]},
    )
    kubernetes.apps.v1.Deployment(
        f"{name}-web",
        metadata={"name": "web", "namespace": site.namespace},
        spec={
            "selector": {"match_labels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    # The namespace refuses what could harm its node: Pod Security "restricted".
                    "security_context": {
                        "run_as_non_root": True,
                        "run_as_user": 1000,
                        "seccomp_profile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "web",
                            "image": config.require("image"),
                            "security_context": {
                                "allow_privilege_escalation": False,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "env": [
                                {
                                    "name": "DATABASE_URL",
                                    "value_from": {
                                        "secret_key_ref": {
                                            "name": secret.metadata.name,
                                            "key": "url",
                                        }
                                    },
                                }
                            ],
                        }
                    ],
                },
            },
        },
        # When the database takes connections, and not before.
        opts=pulumi.ResourceOptions(depends_on=[data]),
    )
    return site.namespace


pulumi.export("namespaces", [guestbook("home"), guestbook("work")])
