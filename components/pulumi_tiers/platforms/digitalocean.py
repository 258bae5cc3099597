"""DigitalOcean: Kubernetes whose cluster, databases and load balancers are the cloud's own."""

from dataclasses import dataclass
from typing import ClassVar

import pulumi
import pulumi_digitalocean as digitalocean
import pulumi_kubernetes as kubernetes

from pulumi_tiers.component import Component
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.engines.base import Service
from pulumi_tiers.limits import bucket_name, managed_name
from pulumi_tiers.model.cloud import CREDENTIAL_VERSION, LATEST, Cloud
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.platforms.base import ClusterRef, Server, SiteRef, ready
from pulumi_tiers.platforms.kubernetes import KubernetesPlatform
from pulumi_tiers.platforms.kubernetes.metadata import metadata_of, network_label
from pulumi_tiers.platforms.kubernetes.network import EVERYWHERE
from pulumi_tiers.platforms.labels import LABEL_SERVICE, tag_key

#: What people read who run kubectl or Pulumi where the command isn't on PATH.
_INSTALL_HINT = (
    "The command that gets a token for the cluster is not on PATH. 'tiers' comes with the Python"
    " package pulumi-tiers: activate its virtual environment. Or name another command, such as"
    " doctl's, in 'credentials'."
)


class DigitalOceanPlatform(KubernetesPlatform):
    """What differs from any Kubernetes."""

    # https://docs.digitalocean.com/products/kubernetes/details/managed/, "labels and taints".
    gpu_label: ClassVar[str] = "doks.digitalocean.com/gpu-model"

    def managed(self, owner: Component, site: SiteRef, name: str, store: Store) -> Server:
        service = ENGINES[store.engine].service
        assert service is not None
        self._let_out(owner, site, name, store, service.port)
        if service.engine == "spaces":
            return _spaces(owner, site, name, store)
        return _database(owner, site, name, store, service)

    def _let_out(self, owner: Component, site: SiteRef, name: str, store: Store, port: int) -> None:
        """Lets pods reach the store's port from internal networks: the server is outside."""
        networks = site.get("networks", {})
        for network in store.networks or networks:
            if networks[network].get("internal"):
                kubernetes.networking.v1.NetworkPolicy(
                    owner.child(f"{name}-{network}"),
                    metadata=metadata_of(site, name, f"{name}-{network}"),
                    spec={
                        "pod_selector": {"match_labels": {network_label(network): "true"}},
                        "policy_types": ["Egress"],
                        # Its address is the cloud's choice.
                        "egress": [{"to": [{"ip_block": EVERYWHERE}], "ports": [{"port": port}]}],
                    },
                    opts=owner.child_options(),
                )

    def _service_annotations(
        self, site: SiteRef, name: str, workload: Workload
    ) -> dict[str, pulumi.Input[str]]:
        prefix = "service.beta.kubernetes.io/do-loadbalancer"
        balancer = workload.load_balancer
        annotations: dict[str, pulumi.Input[str]] = {f"{prefix}-name": f"{site['name']}-{name}"}
        if balancer.proxy_protocol or balancer.certificate is not None:
            # The default passes packets on as they are: it can add nothing, and ends no TLS.
            annotations[f"{prefix}-type"] = "REGIONAL"
        if balancer.proxy_protocol:
            annotations[f"{prefix}-enable-proxy-protocol"] = "true"
        if balancer.certificate is not None:
            annotations |= {
                f"{prefix}-protocol": "http",
                f"{prefix}-tls-ports": "443",
                f"{prefix}-certificate-id": balancer.certificate,
            }
        return annotations


def _database(owner: Component, site: SiteRef, name: str, store: Store, service: Service) -> Server:
    """A cluster of servers with the store's databases and users."""
    cluster = site["cluster"]
    engine = ENGINES[store.engine]
    protected = owner.child_options(protect=site.get("protect", False))
    database = digitalocean.DatabaseCluster(
        owner.child(name),
        name=managed_name(site["name"], name, store),
        engine=service.engine,
        version=engine.managed_version(store),
        region=cluster["region"],
        size=store.managed.size,
        node_count=store.managed.nodes,
        # EN-10: only then it has a private address that the cluster reaches.
        private_network_uuid=cluster["vpc"],
        tags=_tags(site, name),
        opts=protected,
    )
    firewall = digitalocean.DatabaseFirewall(
        owner.child(name),
        cluster_id=database.id,
        rules=[{"type": "k8s", "value": cluster["id"]}],
        # Without it, a database that a destroy has left would be open to everybody.
        opts=protected,
    )
    made: list[pulumi.Resource] = [database, firewall]
    passwords = {service.admin: pulumi.Output.secret(database.password)}
    for user in engine.users(store):
        if user != service.admin:
            account = digitalocean.DatabaseUser(
                owner.child(f"{name}-{user}"),
                name=user,
                cluster_id=database.id,
                opts=protected,
            )
            made.append(account)
            passwords[user] = pulumi.Output.secret(account.password)
    for item in store.databases:
        if item.name != service.database:
            made.append(
                digitalocean.DatabaseDb(
                    owner.child(f"{name}-{item.name}"),
                    name=item.name,
                    cluster_id=database.id,
                    opts=protected,
                )
            )
    if service.engine == "valkey":
        made.append(
            digitalocean.DatabaseValkeyConfig(
                owner.child(name),
                cluster_id=database.id,
                valkey_maxmemory_policy=store.settings.get("maxmemory-policy", "noeviction"),
                # Without it, a restart forgets everything.
                persistence="rdb",
                opts=owner.child_options(),
            )
        )
    authority = digitalocean.get_database_ca_output(
        cluster_id=database.id, opts=pulumi.InvokeOutputOptions(parent=owner)
    )
    return Server(
        host=database.private_host,
        port=database.port,
        passwords=passwords,
        ready=ready(*made),
        tls=True,
        ca=authority.certificate,
    )


#: Regions without Spaces, and the nearest that has them:
#: https://docs.digitalocean.com/products/spaces/details/availability/, 2026-03-23.
_NEAREST_SPACES = {"nyc1": "nyc3", "nyc2": "nyc3", "ric1": "atl1"}
#: How long what is overwritten or deleted in a bucket of states can be brought back.
_OLD_STATE_DAYS = 90


def _spaces(owner: Component, site: SiteRef, name: str, store: Store) -> Server:
    """Buckets, and a key for each of their owners. There is no server of one's own."""
    engine = ENGINES[store.engine]
    region = pulumi.Output.from_input(site["cluster"]["region"]).apply(
        lambda slug: _NEAREST_SPACES.get(slug, slug)
    )
    protected = owner.child_options(protect=site.get("protect", False))
    made: list[pulumi.Resource] = []
    buckets: dict[str, digitalocean.SpacesBucket] = {}
    for item in store.buckets:
        buckets[item.name] = digitalocean.SpacesBucket(
            owner.child(f"{name}-{item.name}"),
            name=bucket_name(site["name"], name, store, item.name),
            region=region,
            acl="private",
            versioning=digitalocean.SpacesBucketVersioningArgs(enabled=True)
            if item.versioning
            else None,
            # Objects are never deleted by the way.
            force_destroy=False,
            opts=protected,
        )
    made += buckets.values()
    passwords: dict[str, pulumi.Output[str]] = {}
    users: dict[str, pulumi.Input[str]] = {}
    for user in engine.users(store):
        own = [
            item.name for item in store.buckets if (item.owner or engine.admin_of(store)) == user
        ]
        if own:
            key = digitalocean.SpacesKey(
                owner.child(f"{name}-{user}"),
                name=f"{managed_name(site['name'], name, store)}-{user}",
                grants=[
                    {"bucket": buckets[bucket].name, "permission": "readwrite"} for bucket in own
                ],
                opts=owner.child_options(),
            )
            made.append(key)
            users[user] = key.access_key
            passwords[user] = pulumi.Output.secret(key.secret_key)
    return Server(
        host=pulumi.Output.concat(region, ".digitaloceanspaces.com"),
        port=443,
        passwords=passwords,
        ready=ready(*made),
        tls=True,
        users=users,
        databases={bucket: made.name for bucket, made in buckets.items()},
    )


@dataclass(frozen=True)
class MadeStateBucket:
    """A bucket for the state of stacks, and how it is reached."""

    bucket: pulumi.Output[str]
    backend_url: pulumi.Output[str]
    access_key_id: pulumi.Output[str]
    secret_access_key: pulumi.Output[str]


def make_state_bucket(
    owner: Component, name: str, region: str, *, versioning: bool, protect: bool
) -> MadeStateBucket:
    """A bucket that only its own key opens. `versioning`: what was there before is kept a while."""
    region = _NEAREST_SPACES.get(region, region)
    rule = digitalocean.SpacesBucketLifecycleRuleArgs(
        id="leftovers", enabled=True, abort_incomplete_multipart_upload_days=1
    )
    if versioning:
        rule.noncurrent_version_expiration = (
            digitalocean.SpacesBucketLifecycleRuleNoncurrentVersionExpirationArgs(
                days=_OLD_STATE_DAYS
            )
        )
    bucket = digitalocean.SpacesBucket(
        owner.child("bucket"),
        name=name,
        region=region,
        acl="private",
        versioning=digitalocean.SpacesBucketVersioningArgs(enabled=versioning),
        lifecycle_rules=[rule],
        force_destroy=False,
        opts=owner.child_options(protect=protect),
    )
    key = digitalocean.SpacesKey(
        owner.child("key"),
        name=name,
        grants=[{"bucket": bucket.name, "permission": "readwrite"}],
        opts=owner.child_options(),
    )
    return MadeStateBucket(
        bucket.name,
        # https://pkg.go.dev/gocloud.dev/aws. Without the last one, each read brings a warning.
        pulumi.Output.concat(
            "s3://",
            bucket.name,
            f"?endpoint=https://{region}.digitaloceanspaces.com&region={region}"
            "&response_checksum_validation=when_required",
        ),
        key.access_key,
        pulumi.Output.secret(key.secret_key),
    )


def _tags(site: SiteRef, name: str) -> list[str]:
    """The labels, as DigitalOcean knows them."""
    labels = {**site["labels"], LABEL_SERVICE: name}
    return sorted(f"{tag_key(label)}:{tag_key(value)}" for label, value in labels.items())


@dataclass(frozen=True)
class MadeCluster:
    """A cluster, and the provider that speaks to it."""

    ref: ClusterRef
    kubeconfig: pulumi.Output[str]
    provider: kubernetes.Provider


def make_cluster(owner: Component, cloud: Cloud, name: str, *, protect: bool) -> MadeCluster:
    """The VPC, the cluster and the registry of a stack; an existing cluster is only read."""
    made = (
        _existing_cluster(owner, cloud)
        if cloud.cluster_id
        else _new_cluster(owner, cloud, name, protect=protect)
    )
    kubeconfig = _kubeconfig(made, cloud.credentials)
    provider = kubernetes.Provider(
        owner.child("kubernetes"),
        kubeconfig=kubeconfig,
        # A renewed certificate is no other cluster.
        cluster_identifier=made.ref["id"],
        # Else a changed file or secret is deleted first, and missing until it is made again.
        enable_config_map_mutable=True,
        enable_secret_mutable=True,
        opts=owner.child_options(),
    )
    return MadeCluster(made.ref, kubeconfig, provider)


@dataclass(frozen=True)
class _Found:
    """A cluster, and how it is reached."""

    ref: ClusterRef
    endpoint: pulumi.Input[str]
    certificate: pulumi.Input[str]


def _existing_cluster(owner: Component, cloud: Cloud) -> _Found:
    # Not KubernetesCluster.get: that one writes a tag to the nodes, and wants one pool only.
    try:
        found = digitalocean.get_kubernetes_cluster(
            name=cloud.cluster_name, opts=pulumi.InvokeOptions(parent=owner)
        )
    except Exception as error:
        raise pulumi.RunError(
            f"the existing cluster {cloud.cluster_name} can't be looked up: {error}"
        ) from None
    # None: nobody was asked, because this is a rendering.
    if found.id not in (None, cloud.cluster_id):
        raise pulumi.RunError(
            f"the cluster {cloud.cluster_name} has the id {found.id},"
            f" and cluster_id is {cloud.cluster_id}: correct one of them"
        )
    assert cloud.cluster_id is not None
    return _Found(
        {"id": cloud.cluster_id, "region": found.region, "vpc": found.vpc_uuid},
        found.endpoint,
        str(found.kube_configs[0].cluster_ca_certificate),
    )


def _new_cluster(owner: Component, cloud: Cloud, name: str, *, protect: bool) -> _Found:
    vpc = digitalocean.Vpc(
        owner.child("vpc"),
        name=name,
        region=cloud.region,
        ip_range=cloud.vpc_range,
        opts=owner.child_options(),
    )
    # The cluster can be tied to a registry that is there already.
    before: list[pulumi.Resource] = []
    if cloud.registry:
        registry = digitalocean.ContainerRegistry(
            owner.child("registry"),
            name=cloud.registry,
            subscription_tier_slug=cloud.registry_tier,
            opts=owner.child_options(protect=protect),
        )
        before.append(registry)
    pool: digitalocean.KubernetesClusterNodePoolArgsDict = {
        "name": "default",
        "size": cloud.node_size,
    }
    if cloud.max_nodes:
        # Without a count: it would be sent with any later change, and undo the autoscaler's work.
        pool["auto_scale"] = True
        pool["min_nodes"] = cloud.nodes
        pool["max_nodes"] = cloud.max_nodes
    else:
        pool["node_count"] = cloud.nodes
    latest = cloud.version == LATEST
    cluster = digitalocean.KubernetesCluster(
        owner.child("cluster"),
        name=name,
        region=cloud.region,
        version=cloud.version,
        auto_upgrade=latest,
        surge_upgrade=True,
        ha=cloud.high_availability,
        vpc_uuid=vpc.id,
        registry_integration=cloud.registry is not None,
        node_pool=pool,
        # Load balancers and volumes that the cluster made would go on costing money.
        destroy_all_associated_resources=True,
        opts=owner.child_options(
            protect=protect,
            # What DigitalOcean makes of it is no difference from what was asked for.
            ignore_changes=["version"] if latest else [],
            depends_on=before,
        ),
    )
    if cloud.gpu:
        # DigitalOcean gives these nodes the taint nvidia.com/gpu, and the cluster their plugin:
        # https://docs.digitalocean.com/products/kubernetes/how-to/add-node-pools/
        digitalocean.KubernetesNodePool(
            owner.child("gpu"),
            cluster_id=cluster.id,
            name="gpu",
            size=cloud.gpu.size,
            auto_scale=True,
            min_nodes=cloud.gpu.min_nodes,
            max_nodes=cloud.gpu.max_nodes or max(1, cloud.gpu.min_nodes),
            # How many there are is the autoscaler's, and the taint DigitalOcean's.
            opts=owner.child_options(ignore_changes=["node_count", "taints"]),
        )
    return _Found(
        # Not the cluster's own outputs: databases would be replaced together with it.
        {"id": cluster.id, "region": cloud.region, "vpc": vpc.id},
        cluster.endpoint,
        cluster.kube_configs.apply(lambda configs: str(configs[0].cluster_ca_certificate)),
    )


def _kubeconfig(cluster: _Found, credentials: list[str]) -> pulumi.Output[str]:
    """A kubeconfig without any secret: a command gets the token whenever one is needed."""
    command, *arguments = credentials
    name = "digitalocean"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {
                    "server": cluster.endpoint,
                    "certificate-authority-data": pulumi.Output.unsecret(
                        pulumi.Output.from_input(cluster.certificate)
                    ),
                },
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "exec": {
                        # The one that doctl speaks, too.
                        "apiVersion": CREDENTIAL_VERSION,
                        "command": command,
                        "args": [*arguments, cluster.ref["id"]],
                        "interactiveMode": "Never",
                        "provideClusterInfo": False,
                        "installHint": _INSTALL_HINT,
                    }
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    return pulumi.Output.json_dumps(config, sort_keys=True)
