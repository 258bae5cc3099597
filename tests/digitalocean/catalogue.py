"""What can be had: regions, sizes, versions.

The slugs are the published ones, a small choice of them. The Kubernetes patch versions are made up.
"""

from typing import Any

Json = dict[str, Any]

REGIONS = {
    "ams3": "Amsterdam 3",
    "atl1": "Atlanta 1",
    "blr1": "Bangalore 1",
    "fra1": "Frankfurt 1",
    "lon1": "London 1",
    "nyc1": "New York 1",
    "nyc2": "New York 2",
    "nyc3": "New York 3",
    "ric1": "Richmond 1",
    "sfo2": "San Francisco 2",
    "sfo3": "San Francisco 3",
    "sgp1": "Singapore 1",
    "syd1": "Sydney 1",
    "tor1": "Toronto 1",
}
REGISTRY_REGIONS = ("nyc3", "sfo3", "ams3", "sgp1", "fra1")

# Slug: memory in MiB, processors, disk in GiB, dollars a month.
DROPLET_SIZES = {
    "s-1vcpu-512mb-10gb": (512, 1, 10, 4),
    "s-1vcpu-1gb": (1024, 1, 25, 6),
    "s-1vcpu-2gb": (2048, 1, 50, 12),
    "s-2vcpu-2gb": (2048, 2, 60, 18),
    "s-2vcpu-4gb": (4096, 2, 80, 24),
    "s-4vcpu-8gb": (8192, 4, 160, 48),
    "s-8vcpu-16gb": (16384, 8, 320, 96),
    "c-2": (4096, 2, 25, 42),
    "c-4": (8192, 4, 50, 84),
    "g-2vcpu-8gb": (8192, 2, 25, 63),
    "g-4vcpu-16gb": (16384, 4, 50, 126),
    "m-2vcpu-16gb": (16384, 2, 50, 84),
    "gpu-4000adax1-20gb": (32768, 8, 500, 565),
    "gpu-h100x1-80gb": (245760, 20, 720, 3281),
}
# Kubernetes takes no nodes with less than 2 GiB.
NODE_SIZES = tuple(slug for slug, size in DROPLET_SIZES.items() if size[0] >= 2048)

# Slug: the storage that comes with it, in MiB.
DATABASE_SIZES = {
    "db-s-1vcpu-1gb": 10240,
    "db-s-1vcpu-2gb": 30720,
    "db-s-2vcpu-4gb": 61440,
    "db-s-4vcpu-8gb": 117760,
    "db-s-6vcpu-16gb": 276480,
    "gd-2vcpu-8gb": 25600,
    "gd-4vcpu-16gb": 61440,
}
# The smallest size has no standby nodes.
SINGLE_NODE_SIZES = ("db-s-1vcpu-1gb",)

DATABASE_VERSIONS = {
    "pg": ("15", "16", "17"),
    "mysql": ("8",),
    "valkey": ("8",),
    "mongodb": ("6.0", "7.0"),
    "kafka": ("3.8",),
    "opensearch": ("2",),
}
# Engine: scheme, port, first database, the word by which clients ask for encryption.
DATABASE_ADDRESSES = {
    "pg": ("postgres", 25060, "defaultdb", "?sslmode=require"),
    "mysql": ("mysql", 25060, "defaultdb", "?ssl-mode=REQUIRED"),
    "valkey": ("valkeys", 25061, "", ""),
    "mongodb": ("mongodb", 27017, "admin", "?tls=true"),
    "kafka": ("", 25073, "", ""),
    "opensearch": ("https", 25060, "", ""),
}

# What a new cluster is set to.
VALKEY_DEFAULTS: Json = {
    "valkey_maxmemory_policy": "noeviction",
    "valkey_pubsub_client_output_buffer_limit": 64,
    "valkey_number_of_databases": 16,
    "valkey_io_threads": 1,
    "valkey_lfu_log_factor": 10,
    "valkey_lfu_decay_time": 1,
    "valkey_ssl": True,
    "valkey_timeout": 300,
    "valkey_notify_keyspace_events": "",
    "valkey_persistence": "rdb",
    "valkey_acl_channels_default": "allchannels",
    "frequent_snapshots": True,
    "valkey_active_expire_effort": 1,
}

KUBERNETES_VERSIONS = ("1.36.3-do.0", "1.35.7-do.1", "1.34.9-do.0")

TIERS: dict[str, Json] = {
    "starter": {
        "name": "Starter",
        "slug": "starter",
        "included_repositories": 1,
        "included_storage_bytes": 524288000,
        "allow_storage_overage": False,
        "included_bandwidth_bytes": 524288000,
        "monthly_price_in_cents": 0,
    },
    "basic": {
        "name": "Basic",
        "slug": "basic",
        "included_repositories": 5,
        "included_storage_bytes": 5368709120,
        "allow_storage_overage": True,
        "included_bandwidth_bytes": 5368709120,
        "monthly_price_in_cents": 500,
        "storage_overage_price_in_cents": 2,
    },
    "professional": {
        "name": "Professional",
        "slug": "professional",
        "included_repositories": 0,
        "included_storage_bytes": 107374182400,
        "allow_storage_overage": True,
        "included_bandwidth_bytes": 107374182400,
        "monthly_price_in_cents": 2000,
        "storage_overage_price_in_cents": 2,
    },
}


def regions() -> list[Json]:
    return [
        {
            "slug": slug,
            "name": name,
            "available": True,
            "features": ["backups", "ipv6", "metadata", "storage", "image_transfer"],
            "sizes": list(DROPLET_SIZES),
        }
        for slug, name in REGIONS.items()
    ]


def sizes() -> list[Json]:
    return [
        {
            "slug": slug,
            "memory": memory,
            "vcpus": processors,
            "disk": disk,
            "transfer": 1.0,
            "price_monthly": float(price),
            "price_hourly": round(price / 672, 5),
            "regions": list(REGIONS),
            "available": True,
            "description": "Basic" if slug.startswith("s-") else "Dedicated",
        }
        for slug, (memory, processors, disk, price) in DROPLET_SIZES.items()
    ]


def kubernetes_options(versions: list[str]) -> Json:
    return {
        "regions": [{"name": name, "slug": slug} for slug, name in REGIONS.items()],
        "versions": [
            {
                "slug": slug,
                "kubernetes_version": slug.partition("-")[0],
                "supported_features": [
                    "cluster-autoscaler",
                    "docr-integration",
                    "ha-control-plane",
                    "token-authentication",
                ],
            }
            for slug in versions
        ],
        "sizes": [{"name": slug, "slug": slug} for slug in NODE_SIZES],
    }


def database_options() -> Json:
    return {
        engine: {
            "regions": list(REGIONS),
            "versions": list(versions),
            "layouts": [
                {
                    "num_nodes": nodes,
                    "sizes": [
                        s for s in DATABASE_SIZES if nodes == 1 or s not in SINGLE_NODE_SIZES
                    ],
                }
                for nodes in (1, 2, 3)
            ],
        }
        for engine, versions in DATABASE_VERSIONS.items()
    }
