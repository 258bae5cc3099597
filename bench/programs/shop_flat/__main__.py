"""The objects of `shop`, written by hand with the providers alone."""

import hashlib

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random

STACK = {"tiers.stack": pulumi.get_stack(), "tiers.system": "shop"}
PATIENCE = pulumi.CustomTimeouts(create="5m", update="5m")

namespace = kubernetes.core.v1.Namespace(
    "namespace",
    metadata={
        "name": f"{pulumi.get_stack()}-shop",
        "labels": {
            **STACK,
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/warn": "restricted",
            "pod-security.kubernetes.io/audit": "restricted",
        },
    },
).metadata.name
kubernetes.networking.v1.NetworkPolicy(
    "default-deny",
    metadata={"name": "default-deny", "namespace": namespace, "labels": STACK},
    spec={"pod_selector": {}, "policy_types": ["Ingress", "Egress"]},
)
kubernetes.networking.v1.NetworkPolicy(
    "allow-internal",
    metadata={"name": "allow-internal", "namespace": namespace, "labels": STACK},
    spec={
        "pod_selector": {},
        "policy_types": ["Egress"],
        "egress": [
            {"to": [{"pod_selector": {}}]},
            {
                "to": [
                    {
                        "namespace_selector": {
                            "match_labels": {"kubernetes.io/metadata.name": "kube-system"}
                        }
                    },
                    {"ip_block": {"cidr": "169.254.20.10/32"}},
                ],
                "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
            },
        ],
    },
)

FORCED = {"pulumi.com/patchForce": "true"}


def labels(name: str) -> dict[str, str]:
    return {**STACK, "tiers.service": name, "app": name}


def metadata(
    name: str, annotations: dict[str, str] | None = None
) -> kubernetes.meta.v1.ObjectMetaArgsDict:
    made: kubernetes.meta.v1.ObjectMetaArgsDict = {
        "name": name,
        "namespace": namespace,
        "labels": labels(name),
    }
    if annotations:
        made["annotations"] = annotations
    return made


def policy(name: str, port: int | None, *, egress: bool) -> None:
    spec: kubernetes.networking.v1.NetworkPolicySpecArgsDict = {
        "pod_selector": {"match_labels": {"app": name}},
        "policy_types": ["Ingress", "Egress"],
    }
    if port:
        ports: list[kubernetes.networking.v1.NetworkPolicyPortArgsDict] = [
            {"port": port, "protocol": "TCP"}
        ]
        spec["ingress"] = [{"from_": [{"pod_selector": {}}], "ports": ports}]
    if egress:
        spec["egress"] = [
            {"to": [{"ip_block": {"cidr": "0.0.0.0/0", "except_": ["169.254.0.0/16"]}}]}
        ]
    kubernetes.networking.v1.NetworkPolicy(name, metadata=metadata(name), spec=spec)


def secret(name: str, values: dict[str, pulumi.Output[str]]) -> kubernetes.core.v1.Secret:
    return kubernetes.core.v1.Secret(name, metadata=metadata(name), string_data=values)


def digest(values: dict[str, pulumi.Output[str]]) -> pulumi.Output[str]:
    """On pods, so that they restart with new values."""
    text = pulumi.Output.json_dumps(values, sort_keys=True)
    return pulumi.Output.unsecret(
        text.apply(lambda known: hashlib.sha256(known.encode()).hexdigest()[:10])
    )


def service(name: str, port: int, *, headless: bool = False) -> None:
    spec: kubernetes.core.v1.ServiceSpecArgsDict = {
        "type": "ClusterIP",
        "selector": {"app": name},
        "ports": [{"name": f"tcp-{port}", "port": port, "target_port": port, "protocol": "TCP"}],
    }
    if headless:
        spec["cluster_ip"] = "None"
        spec["publish_not_ready_addresses"] = True
    kubernetes.core.v1.Service(
        name, metadata=metadata(name, {"pulumi.com/skipAwait": "true"}), spec=spec
    )


def probe(command: list[str], period: int, failures: int) -> kubernetes.core.v1.ProbeArgsDict:
    return {
        "exec_": {"command": command},
        "period_seconds": period,
        "timeout_seconds": 5,
        "failure_threshold": failures,
    }


def security(user: int) -> kubernetes.core.v1.PodSecurityContextArgsDict:
    return {
        "run_as_non_root": True,
        "run_as_user": user,
        "run_as_group": user,
        "fs_group": user,
        "fs_group_change_policy": "OnRootMismatch",
        "seccomp_profile": {"type": "RuntimeDefault"},
    }


RESTRICTED: kubernetes.core.v1.SecurityContextArgsDict = {
    "allow_privilege_escalation": False,
    "capabilities": {"drop": ["ALL"]},
    "read_only_root_filesystem": True,
}

# --- the database ---------------------------------------------------------------------------------

# Called as in `shop`: recordings have its name in place of its value, also in digests.
password = random.RandomPassword(
    "shop-data-postgres-postgres-password", length=32, special=False
).result
admin = {"POSTGRES_PASSWORD": password}
admin_secret = secret("postgres", admin)
policy("postgres", 5432, egress=False)
service("postgres", 5432, headless=True)
ready = ["pg_isready", "-h", "127.0.0.1", "-U", "postgres"]
postgres = kubernetes.apps.v1.StatefulSet(
    "postgres",
    metadata=metadata("postgres", FORCED),
    spec={
        "service_name": "postgres",
        "replicas": 1,
        "selector": {"match_labels": {"app": "postgres"}},
        "template": {
            "metadata": {
                "labels": labels("postgres"),
                "annotations": {"tiers.secrets": digest(admin)},
            },
            "spec": {
                "containers": [
                    {
                        "name": "postgres",
                        "image": "postgres:15",
                        "image_pull_policy": "IfNotPresent",
                        "env": [
                            {"name": "PGDATA", "value": "/var/lib/postgresql/data/pgdata"},
                            {"name": "POSTGRES_DB", "value": "postgres"},
                            {
                                "name": "POSTGRES_PASSWORD",
                                "value_from": {
                                    "secret_key_ref": {
                                        "name": admin_secret.metadata.name,
                                        "key": "POSTGRES_PASSWORD",
                                    }
                                },
                            },
                            {"name": "POSTGRES_USER", "value": "postgres"},
                        ],
                        "ports": [{"container_port": 5432}],
                        "volume_mounts": [
                            {"name": "tmpfs-0", "mount_path": "/tmp"},
                            {"name": "postgres-data", "mount_path": "/var/lib/postgresql/data"},
                            {"name": "tmpfs-1", "mount_path": "/var/run/postgresql"},
                        ],
                        "resources": {
                            "limits": {"cpu": "1000m", "memory": "256Mi"},
                            "requests": {"cpu": "250m", "memory": "256Mi"},
                        },
                        "security_context": RESTRICTED,
                        "startup_probe": probe(ready, 1, 60),
                        "readiness_probe": probe(ready, 1, 3),
                        "liveness_probe": probe(ready, 1, 60),
                    }
                ],
                "automount_service_account_token": False,
                "enable_service_links": False,
                "security_context": security(999),
                "termination_grace_period_seconds": 60,
                "volumes": [
                    {"name": "tmpfs-0", "empty_dir": {"medium": "Memory", "size_limit": "64Mi"}},
                    {"name": "tmpfs-1", "empty_dir": {"medium": "Memory", "size_limit": "64Mi"}},
                ],
            },
        },
        "volume_claim_templates": [
            {
                "metadata": {"name": "postgres-data"},
                "spec": {
                    "access_modes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "10Gi"}},
                },
            }
        ],
    },
    opts=pulumi.ResourceOptions(custom_timeouts=PATIENCE),
)

# --- the services ---------------------------------------------------------------------------------


def deployment(
    name: str,
    environment: list[kubernetes.core.v1.EnvVarArgsDict],
    port: int | None,
    before: kubernetes.apps.v1.StatefulSet | kubernetes.apps.v1.Deployment,
    *,
    secrets: pulumi.Output[str] | None = None,
    temporary: bool = False,
    replicas: int = 1,
) -> kubernetes.apps.v1.Deployment:
    policy(name, port, egress=True)
    if port:
        service(name, port)
    of_pods: kubernetes.meta.v1.ObjectMetaArgsDict = {"labels": labels(name)}
    if secrets is not None:
        of_pods["annotations"] = {"tiers.secrets": secrets}
    pod: kubernetes.core.v1.PodSpecArgsDict = {
        "containers": [
            {
                "name": name,
                "image": "busybox:1.37",
                "image_pull_policy": "IfNotPresent",
                "args": ["sleep", "infinity"],
                "env": environment,
                "ports": [{"container_port": port}] if port else [],
                "volume_mounts": [{"name": "tmpfs-0", "mount_path": "/tmp"}] if temporary else [],
                "resources": {
                    "limits": {"cpu": "500m", "memory": "128Mi"},
                    "requests": {"cpu": "125m", "memory": "128Mi"},
                },
                "security_context": RESTRICTED,
                "startup_probe": probe(["true"], 2, 15),
                "readiness_probe": probe(["true"], 2, 3),
                "liveness_probe": probe(["true"], 2, 15),
            }
        ],
        "automount_service_account_token": False,
        "enable_service_links": False,
        "security_context": security(1000),
        "termination_grace_period_seconds": 1,
    }
    if temporary:
        pod["volumes"] = [
            {"name": "tmpfs-0", "empty_dir": {"medium": "Memory", "size_limit": "16Mi"}}
        ]
    if replicas > 1:
        pod["topology_spread_constraints"] = [
            {
                "max_skew": 1,
                "topology_key": "kubernetes.io/hostname",
                "when_unsatisfiable": "ScheduleAnyway",
                "label_selector": {"match_labels": {"app": name}},
            }
        ]
        kubernetes.policy.v1.PodDisruptionBudget(
            name,
            metadata=metadata(name),
            spec={"max_unavailable": 1, "selector": {"match_labels": {"app": name}}},
        )
    gate = "postgres" if before is postgres else "api"
    return kubernetes.apps.v1.Deployment(
        name,
        metadata=metadata(name, {"tiers.depends_on": f"{gate}:service_healthy", **FORCED}),
        spec={
            "replicas": replicas,
            "selector": {"match_labels": {"app": name}},
            "strategy": {
                "type": "RollingUpdate",
                "rolling_update": {"max_unavailable": 0, "max_surge": 1},
            },
            "template": {"metadata": of_pods, "spec": pod},
        },
        opts=pulumi.ResourceOptions(depends_on=[before], custom_timeouts=PATIENCE),
    )


url = pulumi.Output.concat(
    "postgresql://postgres:", password, "@postgres:5432/postgres?sslmode=prefer"
)
api_secret = secret("api", {"DATABASE_URL": url})
api = deployment(
    "api",
    [
        {"name": "DATABASE_HOST", "value": "postgres"},
        {
            "name": "DATABASE_URL",
            "value_from": {
                "secret_key_ref": {"name": api_secret.metadata.name, "key": "DATABASE_URL"}
            },
        },
    ],
    8000,
    before=postgres,
    secrets=digest({"DATABASE_URL": url}),
)
api_url: list[kubernetes.core.v1.EnvVarArgsDict] = [{"name": "API_URL", "value": "http://api:8000"}]
deployment("web", api_url, 8080, before=api, temporary=True, replicas=2)
deployment("worker", api_url, None, before=api)
