"""Labels on everything that is made, so that it can be found and drawn without any state."""

import re

LABEL_STACK = "tiers.stack"
LABEL_SYSTEM = "tiers.system"
#: Whose it is: two folders with a stack of the same name must not take each other's data.
LABEL_OWNER = "tiers.owner"
LABEL_SERVICE = "tiers.service"
#: ``postgres:service_healthy,…``: Compose's depends_on, of which the engine keeps only the order.
LABEL_DEPENDS_ON = "tiers.depends_on"
#: The image was never run with this hardening.
LABEL_UNVERIFIED = "tiers.unverified"
#: The image as it was asked for; the engine starts containers by image id.
LABEL_IMAGE = "tiers.image"
#: ``always``: `tiers up` asks the registry each time; the engine pulls what is missing only.
LABEL_PULL_POLICY = "tiers.pull_policy"
#: ``true``: it runs to its end.
LABEL_JOB = "tiers.job"
#: ``true``: it runs when somebody asks for it only (``tiers run``).
LABEL_ON_DEMAND = "tiers.on_demand"
#: Changes with the files of a workload that reads them at its start only.
LABEL_FILES = "tiers.files"
#: Changes with what runs before a workload.
LABEL_INIT = "tiers.init"
#: Of a volume: how big it is meant to be. Docker holds no volume to it.
LABEL_SIZE = "tiers.size"
#: Of the pods that are in a network: ``tiers.network.data``.
LABEL_NETWORK = "tiers.network"
#: The workload that this container belongs to.
LABEL_PART_OF = "tiers.part_of"
#: Of what `tiers run` made: the service that it is like. It is none of the service's replicas.
LABEL_ONE_OFF = "tiers.one_off"
#: Where it is reached from outside, separated by commas.
LABEL_URLS = "tiers.urls"

#: Kubernetes' own: by it a NetworkPolicy means a namespace, because each has it.
LABEL_NAMESPACE = "kubernetes.io/metadata.name"
CLUSTER_DOMAIN = ".svc.cluster.local"
"""Follows a Service and its namespace: the domain of clusters that are called nothing else."""

LABELS_OF_LINES = (LABEL_STACK, LABEL_SYSTEM, LABEL_SERVICE)
"""Docker writes them into each line of a container's log, as ``attrs``."""


def tag_key(label: str) -> str:
    """A label as the beginning of a tag on DigitalOcean: ``tiers-system:shop``.

    Tags know letters, digits, colons, dashes and underscores only.
    """
    return re.sub(r"[^A-Za-z0-9_:-]", "-", label)
