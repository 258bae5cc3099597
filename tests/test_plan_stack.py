"""What a stack says of its systems: addresses, numbers, parts, secrets, checkouts, edges."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pulumi_tiers.doubts import doubts
from pulumi_tiers.model.edge import Edge, TlsMode
from pulumi_tiers.model.errors import DescriptionError, Mistake
from pulumi_tiers.model.network import Network
from pulumi_tiers.model.system import PROFILE_OFF, Environment, System
from pulumi_tiers.model.workload import Autoscale, Build
from pulumi_tiers.plan import Plan, make_plan
from pulumi_tiers.settings import read_settings
from test_plan import FIELDS, POSTGRES, STORES, STRONG, api, mistakes, plan, published, system

REDIS: dict[str, object] = {"engine": "redis", "image": "redis:7-alpine"}


def edge(endpoint: str = "api", **keys: object) -> dict[str, object]:
    """An nginx in front of one service."""
    return {
        "upstreams": {"it": {"endpoint": endpoint}},
        "routes": [{"path": "/", "upstream": "it"}],
        **keys,
    }


# --- networks and fixed addresses -----------------------------------------------------------------

NETWORKS: dict[str, object] = {
    "front": {"subnet": "172.28.0.0/26"},
    "data": {"subnet": "172.28.0.64/26", "internal": True},
}
TAKEN = "or on an address that is taken there: its first two and its last"


def test_a_network_is_one_of_the_systems() -> None:
    made = system(
        {"api": api(networks=["frnt"]), "web": api(networks=["front"], ports=[{"target": 80}])},
        {"db": {**POSTGRES, "networks": ["dta"]}},
        networks=NETWORKS,
        edges={"nginx": edge("web", networks=["fornt"])},
    )
    valid = "valid: data, front"
    assert mistakes(made) == [
        Mistake(
            "shop: edges.nginx.networks[0]",
            "there is no network 'fornt'",
            f"did you mean 'front'? {valid}",
        ),
        Mistake(
            "shop: services.api.networks[0]",
            "there is no network 'frnt'",
            f"did you mean 'front'? {valid}",
        ),
        Mistake(
            "shop: stores.db.networks[0]",
            "there is no network 'dta'",
            f"did you mean 'data'? {valid}",
        ),
    ]


NO_SUBNET = "a fixed address needs a network that has a subnet"
OTHERS, GIVE_ONE = "choose others, or another network", "give the network one, or remove it"


@pytest.mark.parametrize(
    ("addresses", "keys", "networks", "why", "remedy"),
    [
        (
            "172.29.0.20",
            {},
            NETWORKS,
            f"172.29.0.20 lies outside of 172.28.0.0/26, 172.28.0.64/26, {TAKEN}",
            OTHERS,
        ),
        # Half of it in one network, half in the other.
        (
            "172.28.0.60-172.28.0.70",
            {"replicas": 2},
            NETWORKS,
            f"172.28.0.60-172.28.0.70 lies outside of 172.28.0.0/26, 172.28.0.64/26, {TAKEN}",
            OTHERS,
        ),
        (
            "172.28.0.70",
            {"networks": ["front"]},
            NETWORKS,
            f"172.28.0.70 lies outside of 172.28.0.0/26, {TAKEN}",
            OTHERS,
        ),
        # Docker's gateway.
        (
            "172.28.0.1",
            {},
            NETWORKS,
            f"172.28.0.1 lies outside of 172.28.0.0/26, 172.28.0.64/26, {TAKEN}",
            OTHERS,
        ),
        ("172.28.0.10", {}, {"front": {}}, NO_SUBNET, GIVE_ONE),
        ("172.28.0.10", {}, {}, NO_SUBNET, GIVE_ONE),
    ],
)
def test_a_fixed_address_lies_in_a_network(
    addresses: str, keys: Mapping[str, object], networks: object, why: str, remedy: str
) -> None:
    made = system({"api": api(addresses=addresses, **keys)}, networks=networks)
    assert mistakes(made) == [Mistake("shop: services.api.addresses", why, remedy)]
    # Kubernetes gives addresses itself.
    assert plan(made, target="kubernetes")


def test_a_fixed_address_is_one_containers() -> None:
    made = system(
        {
            "api": api(addresses="172.28.0.20-172.28.0.29", ports=[{"target": 80}]),
            "web": api(addresses="172.28.0.29-172.28.0.30"),
        },
        {
            "db": {**POSTGRES, "address": "172.28.0.100"},
            "redis": {**REDIS, "address": "172.28.0.100"},
        },
        networks=NETWORKS,
        edges={"nginx": edge(addresses="172.28.0.20")},
    )
    assert mistakes(made) == [
        Mistake(
            "shop: edges.nginx.addresses",
            "172.28.0.20 overlaps with 172.28.0.20-172.28.0.29 of shop: services.api",
            "give each its own",
        ),
        Mistake(
            "shop: services.web.addresses",
            "172.28.0.29-172.28.0.30 overlaps with 172.28.0.20-172.28.0.29 of shop: services.api",
            "give each its own",
        ),
        Mistake(
            "shop: stores.redis.address",
            "172.28.0.100 overlaps with 172.28.0.100 of shop: stores.db",
            "give each its own",
        ),
    ]


def test_what_has_no_fixed_address_gets_none_that_is_anothers() -> None:
    front = {"subnet": "172.28.0.0/26", "ip_range": "172.28.0.16/28"}
    made = system(
        {"api": api(addresses="172.28.0.30-172.28.0.33")},
        subnet="172.28.0.0/16",
        networks={"front": front},
    )
    assert mistakes(made) == [
        Mistake(
            "shop: services.api.addresses",
            "172.28.0.30-172.28.0.33 reaches into 172.28.0.16/28, which is for all that have no"
            " fixed address",
            "choose others, or move the front network's 'ip_range'",
        )
    ]
    made = system({"api": api()}, subnet="172.28.0.0/16", networks={"front": front})
    [moved] = plan(made, subnets={"shop": "10.1.0.0/16"}).systems
    assert moved.networks["front"].ip_range == "10.1.0.16/28"
    for wrong, why in (
        ({"ip_range": "172.28.0.16/28"}, "there is none"),
        ({**front, "ip_range": "172.28.1.0/28"}, "is no part of"),
    ):
        with pytest.raises(ValueError, match=why):
            system(networks={"front": wrong})


def test_networks_of_a_stack_lie_beside_each_other() -> None:
    beside = {"a": {"subnet": "172.28.0.0/24"}, "b": {"subnet": "172.28.0.128/25"}}
    remedy = "move one of them; see tiers:subnets"
    assert mistakes(system(networks=beside)) == [
        Mistake(
            "shop: networks.b.subnet",
            "172.28.0.128/25 overlaps with 172.28.0.0/24 of shop: networks.a.subnet",
            remedy,
        )
    ]
    one = system(networks={"a": {"subnet": "172.28.0.0/24"}}, subnet="172.28.0.0/16")
    other = system(networks={"x": {"subnet": "172.28.0.0/16"}}, name="blog")
    assert mistakes(one, other) == [
        Mistake(
            "blog: networks.x.subnet",
            "172.28.0.0/16 overlaps with 172.28.0.0/24 of shop: networks.a.subnet",
            remedy,
        )
    ]
    assert plan(one, other, target="kubernetes")
    assert plan(one, other, subnets={"shop": "172.29.0.0/16"})


def test_a_subnet_moves_every_address_of_its_system() -> None:
    made = system(
        {"api": api(addresses="172.28.0.20-172.28.0.29", ports=[{"target": 80}])},
        {"db": {**POSTGRES, "address": "172.28.0.100"}, "other": POSTGRES},
        networks={**NETWORKS, "free": {}},
        subnet="172.28.0.0/16",
        ml={"worker": api(addresses="172.28.0.30")},
        edges={"nginx": edge(addresses="172.28.0.10")},
    )
    [moved] = plan(made, subnets={"shop": "10.7.0.0/16"}).systems
    assert {name: network.subnet for name, network in moved.networks.items()} == {
        "front": "10.7.0.0/26",
        "data": "10.7.0.64/26",
        "free": None,
    }
    assert moved.networks["data"].internal
    assert str(moved.services["api"].addresses) == "10.7.0.20-10.7.0.29"
    assert str(moved.ml["worker"].addresses) == "10.7.0.30"
    assert str(moved.stores["db"].address) == "10.7.0.100"
    assert moved.stores["other"].address is None
    assert str(moved.edges["nginx"].addresses) == "10.7.0.10"


@pytest.mark.parametrize(
    ("keys", "subnets", "place", "why", "remedy"),
    [
        (
            {"subnet": "172.28.0.0/16"},
            {"shop": "10.0.0.0/8"},
            "tiers:subnets.shop",
            "10.0.0.0/8 is not as large as 172.28.0.0/16, in which the addresses are described",
            "give a network that ends in /16",
        ),
        (
            {},
            {"shop": "10.0.0.0/16"},
            "tiers:subnets.shop",
            "'shop' has no fixed addresses",
            "remove it",
        ),
        (
            {},
            {"shp": "10.0.0.0/16"},
            "tiers:subnets.shp",
            "the stack has no system 'shp'",
            "did you mean 'shop'? valid: shop",
        ),
        (
            {"subnet": "172.28.0.0/16"},
            {"shop": "172.28.1.0/16"},
            "tiers:subnets.shop",
            "'172.28.1.0/16' is not an IPv4 network",
            "write it like '172.28.0.0/16', with the first address of the network",
        ),
    ],
)
def test_a_subnet_that_cannot_be_is_refused(
    keys: dict[str, Any], subnets: object, place: str, why: str, remedy: str
) -> None:
    assert mistakes(system(**keys), subnets=subnets) == [Mistake(place, why, remedy)]


# --- numbers --------------------------------------------------------------------------------------


def numbered() -> System:
    return system(
        {
            "api": api(ports=[{"target": 80}], addresses="172.28.0.20-172.28.0.21"),
            "worker": api(
                concurrency=2,
                command=["work", "--jobs=${concurrency}"],
                environment={"JOBS": "${concurrency}"},
            ),
        },
        {"db": POSTGRES, "mongo": {"engine": "mongo", "replica_set": "rs0", "replicas": 3}},
        networks=NETWORKS,
        edges={"nginx": edge()},
    )


def test_numbers_are_put_in_place() -> None:
    [made] = plan(
        numbered(),
        replicas={"shop/api": 2, "shop/mongo": 5, "shop/nginx": 2},
        concurrency={"shop/worker": 8},
        target="kubernetes",
        autoscale={"shop/worker": {"min": 2, "max": 6, "cpu": 50}},
    ).systems
    assert made.services["api"].replicas == 2
    assert made.stores["mongo"].replicas == 5
    assert made.edges["nginx"].replicas == 2
    assert made.services["worker"].concurrency == 8
    assert made.services["worker"].autoscale == Autoscale(min=2, max=6, cpu=50)


SERVICES = "shop/api, shop/mongo, shop/nginx, shop/worker"


@pytest.mark.parametrize(
    ("config", "place", "why", "remedy"),
    [
        (
            {"replicas": {"shop/apis": 3}},
            "tiers:replicas.shop/apis",
            "the stack has no such service",
            f"did you mean 'shop/api'? valid: {SERVICES}",
        ),
        (
            {"replicas": {"shop/api": 0}},
            "tiers:replicas.shop/api",
            "input should be greater than or equal to 1 (got 0)",
            "use at least 1",
        ),
        (
            {"replicas": {"shop/api": "2"}},
            "tiers:replicas.shop/api",
            "input should be a valid integer (got '2')",
            "write a whole number, without quotes",
        ),
        (
            {"replicas": {"shop/api": 3}},
            "shop: services.api.replicas",
            "3 replicas do not fit into the 2 addresses 172.28.0.20-172.28.0.21",
            "lower the replicas, or widen 'addresses'",
        ),
        (
            {"replicas": {"shop/mongo": 2}, "target": "kubernetes"},
            "shop: stores.mongo: replicas",
            "a replica set of 2 members stops where 1 of them are away, like one of 1",
            "give an odd number, such as 3",
        ),
        (
            {"autoscale": {"shop/worker": {"max": 3}}},
            "shop: services.worker.autoscale",
            "Docker has no autoscaler",
            "remove it for this target, and set 'replicas' (tiers:replicas)",
        ),
        (
            {"autoscale": {"shop/db": {"max": 3}}, "target": "kubernetes"},
            "tiers:autoscale.shop/db",
            "the stack has no such service",
            "did you mean 'shop/api'? valid: shop/api, shop/worker",
        ),
        (
            {"autoscale": {"shop/api": {"min": 3, "max": 2}}, "target": "kubernetes"},
            "tiers:autoscale.shop/api",
            "the smallest number, 3, is above the largest, 2",
            "exchange them",
        ),
        (
            {
                "autoscale": {"shop/worker": {"max": 3}},
                "replicas": {"shop/worker": 2},
                "target": "kubernetes",
            },
            "tiers:replicas.shop/worker",
            "the autoscaler decides how many there are",
            "remove one of the two",
        ),
        (
            {"concurrency": {"shop/api": 3}},
            "tiers:concurrency.shop/api",
            "the stack has no such service with jobs",
            "valid: shop/worker",
        ),
        (
            {"concurrency": {"shop/worker": 0}},
            "tiers:concurrency.shop/worker",
            "input should be greater than or equal to 1 (got 0)",
            "use at least 1",
        ),
        (
            {"port_offsets": {"shp": 100}},
            "tiers:port_offsets.shp",
            "the stack has no system 'shp'",
            "did you mean 'shop'? valid: shop",
        ),
    ],
)
def test_a_number_that_cannot_be_is_refused(
    config: dict[str, Any], place: str, why: str, remedy: str
) -> None:
    assert mistakes(numbered(), **config) == [Mistake(place, why, remedy)]


def test_two_servers_of_one_database_would_hold_different_data() -> None:
    found = mistakes(numbered(), replicas={"shop/db": 3})
    assert {mistake.place for mistake in found} == {
        "shop: stores.db: replicas",
        "tiers:replicas.shop/db",
    }


def test_one_system_can_be_moved_alone() -> None:
    one, other = system({"api": published(8000)}), system({"api": published(8000)}, name="blog")
    made = plan(one, other, port_offset=5, port_offsets={"blog": 100})
    assert [item.services["api"].ports[0].published for item in made.systems] == [8005, 8105]


def test_the_number_of_jobs_needs_a_number() -> None:
    worker = api(
        entrypoint=["run", "--n=${concurrency}"],
        command=["work", "${concurrency}"],
        environment={"N": "${concurrency}"},
    )
    assert mistakes(system({"worker": worker})) == [
        Mistake(
            f"shop: services.worker.{key}",
            "the workload has no concurrency",
            "set the workload's 'concurrency'",
        )
        for key in ("command[1]", "entrypoint[1]", "environment.N")
    ]


@pytest.mark.parametrize("text", ["${db.url}", "--host=${db.host}", "${secret.TOKEN}"])
def test_a_reference_in_a_command_would_stay_as_it_is(text: str) -> None:
    made = api(entrypoint=[text], command=["work", text], healthcheck={"test": ["CMD", text]})
    found = mistakes(system({"api": made}, {"db": {"engine": "postgres"}}))
    places = ("command[1]", "entrypoint[0]", "healthcheck.test[1]")
    assert [item.place for item in found] == [f"shop: services.api.{key}" for key in places]
    assert {item.remedy for item in found} == {
        "put it into a variable of 'environment' or 'secrets'"
    }
    # A shell's own are its own.
    shell = api(command=["sh", "-c", "echo ${db} $db ${db[1]} ${x.y}"])
    assert plan(system({"api": shell}, {"db": {"engine": "postgres"}}))


# --- parts, variables, secrets --------------------------------------------------------------------


def optional() -> System:
    return system(
        {
            "api": api(
                environment={"LEVEL": "INFO"},
                optional_environment=["URL"],
                optional_secrets=["API_KEY"],
                secrets={"SIGN": "${secret.JWT_SECRET}"},
            ),
            "worker": api(
                optional_environment=["URL"],
                secret_files={"sign": "${secret.JWT_SECRET}", "own": "${secret.OWN_KEY}"},
            ),
            "flower": api(profiles=["flower", "all"]),
        }
    )


def test_a_part_with_a_profile_is_there_where_it_is_wanted() -> None:
    [without] = plan(optional()).systems
    assert list(without.services) == ["api", "worker"]
    assert without.disabled == {"flower": PROFILE_OFF}
    for profile in ("flower", "all"):
        [chosen] = plan(optional(), profiles={"shop": [profile]}).systems
        assert list(chosen.services) == ["api", "worker", "flower"]
        assert chosen.disabled == {}


@pytest.mark.parametrize(
    ("profiles", "place", "why", "remedy"),
    [
        (
            {"shop": ["all", "flowr"]},
            "tiers:profiles.shop[1]",
            "'shop' has no profile 'flowr'",
            "did you mean 'flower'? valid: all, flower",
        ),
        (
            {"shp": ["flower"]},
            "tiers:profiles.shp",
            "the stack has no system 'shp'",
            "did you mean 'shop'? valid: shop",
        ),
        (
            {"shop": "flower"},
            "tiers:profiles.shop",
            "input should be a valid list (got 'flower')",
            "write a list",
        ),
    ],
)
def test_a_profile_is_one_of_the_systems(
    profiles: object, place: str, why: str, remedy: str
) -> None:
    assert mistakes(optional(), profiles=profiles) == [Mistake(place, why, remedy)]


def test_what_is_left_out_is_missed_by_name() -> None:
    """By a service, by an edge, and by the keys that are for services."""
    made = system(
        {
            "api": api(depends_on={"cache": "service_started"}),
            "cache": api(profiles=["fast"], ports=[{"target": 80}]),
        },
        edges={"nginx": edge("cache")},
    )
    assert mistakes(made, images={"shop/cache": "a:1"}) == [
        Mistake(
            "shop: edges.nginx.upstreams.it.endpoint",
            "'cache' is not a part of this stack: its profile is off",
            "switch its profile on, or make the upstream 'optional', or remove it",
        ),
        Mistake(
            "shop: services.api.depends_on.cache",
            "'cache' is not a part of this stack: its profile is off",
            "switch its profile on, or remove the dependency",
        ),
        Mistake(
            "tiers:images.shop/cache",
            "its profile is off in this stack",
            "choose it in tiers:profiles.shop, or remove this",
        ),
    ]
    assert plan(made, profiles={"shop": ["fast"]})


def test_variables_reach_every_service_that_takes_them() -> None:
    [without] = plan(optional()).systems
    assert without.services["api"].environment == {"LEVEL": "INFO"}
    assert "API_KEY" not in without.services["api"].secrets
    [made] = plan(
        optional(),
        variables={"shop/LEVEL": "DEBUG", "shop/URL": "https://example.com"},
        secrets={"shop/API_KEY": "sk-a$b${db}"},
    ).systems
    assert made.services["api"].environment == {"LEVEL": "DEBUG", "URL": "https://example.com"}
    assert made.services["worker"].environment == {"URL": "https://example.com"}
    # It is no reference to anything.
    assert made.services["api"].secrets["API_KEY"] == "sk-a$$b$${db}"
    assert "API_KEY" not in made.services["worker"].secrets


ONE_GENERATED = "remove it to have one generated, or set a random one of 16 characters or more"


@pytest.mark.parametrize(
    ("config", "place", "why", "remedy"),
    [
        (
            {"variables": {"shop/LEVL": "x"}},
            "tiers:variables.shop/LEVL",
            "no service of the stack takes such a variable",
            "did you mean 'shop/LEVEL'? valid: shop/LEVEL, shop/URL",
        ),
        # A secret is none of them.
        (
            {"variables": {"shop/API_KEY": "x"}},
            "tiers:variables.shop/API_KEY",
            "no service of the stack takes such a variable",
            "valid: shop/LEVEL, shop/URL",
        ),
        (
            {"variables": {"shop/URL": 5}},
            "tiers:variables.shop/URL",
            # It may be a secret in the wrong place.
            "input should be a valid string",
            "write a text (in YAML, put it into quotes)",
        ),
        (
            {"secrets": {"shop/API_KY": "x"}},
            "tiers:secrets.shop/API_KY",
            "the stack has no such secret",
            "did you mean 'shop/API_KEY'? valid: shop/API_KEY, shop/JWT_SECRET, shop/OWN_KEY",
        ),
        (
            {"secrets": {"shop/API_KEY": ""}},
            "tiers:secrets.shop/API_KEY",
            "the password is empty",
            "set the real one, or remove it",
        ),
        (
            {"secrets": {"shop/JWT_SECRET": "a\nb"}},
            "tiers:secrets.shop/JWT_SECRET",
            "the password holds a line break or the like",
            ONE_GENERATED,
        ),
        (
            {"sources": {"shop": "../shop"}},
            "tiers:sources.shop",
            "nothing of 'shop' is built from a checkout",
            "remove it",
        ),
        (
            {"sources": {"shp": "../shop"}},
            "tiers:sources.shp",
            "the stack has no system 'shp'",
            "did you mean 'shop'? valid: shop",
        ),
        (
            {"domains": {"shop": "shop.example.com"}},
            "tiers:domains.shop",
            "'shop' has no edge in development",
            "remove it",
        ),
        (
            {"tls": {"shop": {"mode": "self_signed"}}},
            "tiers:tls.shop",
            "'shop' has no edge in development",
            "remove it",
        ),
    ],
)
def test_what_a_stack_says_of_its_services_is_checked(
    config: dict[str, Any], place: str, why: str, remedy: str
) -> None:
    assert mistakes(optional(), **config) == [Mistake(place, why, remedy)]


@pytest.mark.parametrize("text", ["${db.url}", "https://${db.host}/x", "${secret.JWT_SECRET}"])
def test_a_stacks_secret_holds_no_reference(text: str) -> None:
    made = system(
        {"api": api(optional_secrets=["API_KEY"], secrets={"SIGN": "${secret.JWT_SECRET}"})},
        {"db": {"engine": "postgres"}},
    )
    assert mistakes(made, secrets={"shop/API_KEY": text}) == [
        Mistake(
            "tiers:secrets.shop/API_KEY",
            "it holds a reference, ${...}, and what a stack gives is taken as it is",
            "write the value itself, or the reference into the description",
        )
    ]


@pytest.mark.parametrize("key", ["JWT_SECRET", "API_KEY"])
def test_placeholders_for_secrets_of_services_are_refused_in_production(key: str) -> None:
    made = optional().model_copy(update={"environment": Environment.PRODUCTION})
    for placeholder in ("sk-your-key", "${API_KEY_OF_MY_SHELL}"):
        secrets = {f"shop/{key}": placeholder}
        [found] = mistakes(made, environment="production", secrets=secrets)
        assert found.why == "the password is a placeholder or a documented sample"
        assert found.place == f"tiers:secrets.shop/{key}"
    assert plan(made, environment="production", secrets={f"shop/{key}": STRONG})
    assert plan(optional(), secrets={f"shop/{key}": "sk-your-key"})


def test_alerts_are_sent_in_production_and_not_to_a_placeholder() -> None:
    made = system(
        {"api": api()},
        observability={"node": False},
    ).model_copy(update={"environment": Environment.PRODUCTION})
    url = "https://hooks.slack.com/services/T0A1B2C3D/B4E5F6G7H/"
    email = {"to": ["a@b.c"], "sender": "a@b.c", "smarthost": "b.c:25", "username": "a"}

    def told(token: str) -> dict[str, object]:
        channels = {"slack": {"webhook_url": url + token}, "email": {**email, "password": token}}
        return {"shop": {"alerts": channels}}

    assert plan(made, environment="production", observability=told(STRONG))
    # Whoever runs the mail server has chosen it.
    assert plan(made, environment="production", observability=told("xk29vd"))
    found = mistakes(made, environment="production", observability=told("your-token-of-slack"))
    files = "shop: services.alertmanager.secret_files."
    assert {mistake.place for mistake in found} == {f"{files}slack", f"{files}email-password"}
    assert "your-token" not in str(found)


def test_a_service_with_models_is_named_where_it_stands() -> None:
    made = system(
        {"work": api(ports=[{"target": 80}], addresses="172.28.0.10"), "work-2": api(queue="db")},
        networks=NETWORKS,
        ml={"worker": api(addresses="172.28.0.10", queue="db", environment={"A": "${x.host}"})},
    )
    assert [(mistake.place, mistake.why) for mistake in mistakes(made)] == [
        (
            "shop: ml.worker.addresses",
            "172.28.0.10 overlaps with 172.28.0.10 of shop: services.work",
        ),
        ("shop: ml.worker.environment.A", "'${x.host}' names no store of this system"),
        ("shop: ml.worker.queue", "there is no store 'db' in this system"),
        ("shop: services.work-2.queue", "there is no store 'db' in this system"),
    ]
    [mistake] = mistakes(
        system(networks=NETWORKS, ml={"worker": api(addresses="172.28.0.10")}),
        replicas={"shop/worker": 2},
    )
    assert mistake.place == "shop: ml.worker.replicas"


def test_a_secret_of_two_tiers_is_given() -> None:
    """Each would generate its own, and neither could read what the other has signed."""
    uses = api(secrets={"KEY": "${secret.JWT_SECRET}"})
    made = system({"api": uses}, ml={"worker": uses})
    assert mistakes(made) == [
        Mistake(
            "tiers:secrets.shop/JWT_SECRET",
            "is missing: two tiers use it, and each would generate one of its own",
            "set a random one of 16 characters or more",
        )
    ]
    assert plan(made, secrets={"shop/JWT_SECRET": STRONG})


def test_a_literal_secret_in_a_file_is_judged_too() -> None:
    made = system({"api": api(secret_files={"key": "changeme"})}, environment="production")
    assert mistakes(made, environment="production") == [
        Mistake(
            "shop: services.api.secret_files.key",
            "the password is a placeholder or a documented sample",
            "set the real one, random and of 16 characters or more",
        )
    ]


@pytest.mark.parametrize(
    ("section", "text", "why", "remedy"),
    [
        (
            "environment",
            "${secret.JWT_SECRET}",
            "'${secret.JWT_SECRET}' is secret, and environment is not",
            "move the variable to 'secrets'",
        ),
        (
            "secrets",
            "${secret.jwt}",
            "'${secret.jwt}' is not the name of a secret",
            "write it like ${secret.JWT_SECRET}",
        ),
        (
            "secret_files",
            "${secret.A.B}",
            "'${secret.A.B}' is not the name of a secret",
            "write it like ${secret.JWT_SECRET}",
        ),
        (
            "secret_files",
            "${db.hots}",
            "'${db.hots}': a connection has no field 'hots'",
            f"did you mean 'host'? {FIELDS}",
        ),
        (
            "secret_files",
            "${bd.url}",
            "'${bd.url}' names no store of this system",
            "valid: db, db.blog, db.shop",
        ),
        (
            "secret_files",
            "a ${whatever} b",
            "'${...}' is not a reference",
            "write ${store.field}, or $$ for a dollar sign",
        ),
    ],
)
def test_references_to_secrets_are_checked(section: str, text: str, why: str, remedy: str) -> None:
    made = system({"api": api(**{section: {"A": text}})}, STORES)
    assert mistakes(made) == [Mistake(f"shop: services.api.{section}.A", why, remedy)]


@pytest.mark.parametrize(
    ("queue", "stores", "why", "remedy"),
    [
        (
            "rediss",
            {"redis": REDIS},
            "there is no store 'rediss' in this system",
            "did you mean 'redis'? valid: redis",
        ),
        ("redis", {}, "there is no store 'redis' in this system", "valid: none"),
        # NF-10: BullMQ and Celery lose jobs otherwise.
        (
            "redis",
            {"redis": {**REDIS, "settings": {"maxmemory-policy": "allkeys-lru"}}},
            "the maxmemory-policy allkeys-lru throws jobs away when the memory is full",
            "set it to noeviction, or give the queue a store of its own",
        ),
    ],
)
def test_a_queue_is_a_store_that_throws_nothing_away(
    queue: str, stores: Mapping[str, object], why: str, remedy: str
) -> None:
    made = system({"worker": api(queue=queue)}, stores)
    assert mistakes(made) == [Mistake("shop: services.worker.queue", why, remedy)]


@pytest.mark.parametrize("settings", [{}, {"maxmemory-policy": "noeviction"}])
def test_a_queue_that_keeps_everything_is_taken(settings: Mapping[str, str]) -> None:
    stores = {"redis": {**REDIS, "settings": settings}}
    assert plan(system({"worker": api(queue="redis")}, stores))


# --- checkouts ------------------------------------------------------------------------------------

SOURCE = {"context": "server", "dockerfile": "infra/Dockerfile", "mount": "/app"}


def test_a_checkout_is_built_and_in_development_mounted() -> None:
    services = {"api": api(source=SOURCE), "web": api()}
    [made] = plan(system(services), sources={"shop": "../shop"}).systems
    assert made.services["api"].image is None
    assert made.services["api"].build == Build(
        context="../shop/server", dockerfile="infra/Dockerfile"
    )
    assert made.services["api"].binds == {"/app": "../shop"}
    assert made.services["web"].image == "me/api:1"
    production = system(services, environment="production")
    config = {"environment": "production", "sources": {"shop": "../shop"}}
    [made] = plan(production, **config).systems
    assert made.services["api"].build
    assert made.services["api"].binds == {}
    # An image that the stack names is taken as it is.
    [made] = plan(production, **config, images={"shop/api": "me/api:2"}).systems
    assert (made.services["api"].image, made.services["api"].build) == ("me/api:2", None)


def test_a_checkout_is_a_folder(tmp_path: Path) -> None:
    """Where the program runs, somebody looks; paths begin where the project is."""
    config = {"tiers:systems": ["pigmeu"]}

    def made(folder: str) -> Plan:
        settings = read_settings({**config, "tiers:sources": {"pigmeu": folder}})
        return make_plan("dev", settings, tmp_path / "project")

    for folder in ("../pigmeu", "~/pigmeu", "a" * 5000, "a\nb"):
        with pytest.raises(DescriptionError) as caught:
            made(folder)
        [told] = caught.value.mistakes
        assert told.place == "tiers:sources.pigmeu"
        assert told.why.startswith("there is no folder '/")
        assert "from the project's folder on" in told.remedy
    with pytest.raises(DescriptionError, match=r"tiers:sources\.pigmeu: the text is empty"):
        made("")
    with pytest.raises(DescriptionError, match="cannot hold a NUL"):
        made("a\0b")
    (tmp_path / "pigmeu").mkdir()
    [system] = made("../pigmeu").systems
    build = system.services["api"].build
    assert build is not None
    assert build.context == str(tmp_path / "pigmeu")


def test_a_checkout_is_for_docker() -> None:
    made = system({"api": api(source=SOURCE)})
    assert mistakes(made, sources={"shop": "../shop"}, target="kubernetes") == [
        Mistake(
            "shop: services.api.binds",
            "Kubernetes has no folders of this machine",
            "remove them for this target; they are for development on Docker",
        ),
        Mistake(
            "shop: services.api.build",
            "Kubernetes runs images from a registry, it builds none",
            "build and push the image, then name it in 'image' (or tiers:images)",
        ),
    ]


# --- edges ----------------------------------------------------------------------------------------


def edged(environment: str = "development") -> System:
    service = api(ports=[{"target": 80}], environment={"URL": "${nginx.url}/x"})
    return system(
        {"api": service}, edges={"nginx": edge()}, encrypted=True, environment=environment
    )


DOMAINS = {"shop": "shop.example.com"}
OFF = {"shop": {"mode": "off"}}


@pytest.mark.parametrize(
    ("config", "url"),
    [
        ({}, "https://localhost/x"),
        ({"port_offset": 8000}, "https://localhost:8443/x"),
        ({"tls": OFF}, "http://localhost/x"),
        ({"tls": OFF, "port_offset": 8000}, "http://localhost:8080/x"),
        ({"domains": DOMAINS}, "https://shop.example.com/x"),
        (
            {"domains": DOMAINS, "target": "kubernetes", "port_offset": 8000},
            "https://shop.example.com/x",
        ),
    ],
)
def test_services_know_what_clients_call_the_edge(config: dict[str, Any], url: str) -> None:
    [made] = plan(edged(), **config).systems
    assert made.services["api"].environment == {"URL": url}
    assert made.edges["nginx"].server_names == [*config.get("domains", {}).values()]


@pytest.mark.parametrize(
    ("config", "place", "why"),
    [
        ({}, "tiers:tls.shop", "is missing, and the system's document demands TLS in production"),
        (
            {"tls": {"shop": {"mode": "self_signed"}}, "target": "kubernetes"},
            "tiers:domains.shop",
            "is missing, and 'api' tells clients the address of the edge",
        ),
        (
            {"tls": {"shop": {"mode": "of"}}},
            "tiers:tls.shop.mode",
            "this is not one of the valid words (got 'of')",
        ),
        (
            {"tls": {"shop": {"mode": "given"}}},
            "tiers:tls.shop.certificate",
            "is missing, and the mode is given",
        ),
        (
            {"tls": {"shop": {"mode": "lets_encrypt"}}},
            "shop: edges.nginx: server_names",
            "a certificate is for a host name, and this edge has none",
        ),
        (
            {
                "tls": {"shop": {"mode": "lets_encrypt"}},
                "domains": DOMAINS,
                "target": "kubernetes",
            },
            "shop: edges.nginx.tls.mode",
            "lets_encrypt is for docker, and the target is kubernetes",
        ),
        (
            {"tls": OFF, "domains": {"shop": "a b"}},
            "tiers:domains.shop",
            "'a b' is not a host name",
        ),
    ],
)
def test_an_edge_in_production_is_told_what_it_needs(
    config: dict[str, Any], place: str, why: str
) -> None:
    found = mistakes(edged("production"), environment="production", **config)
    assert (place, why) in [(mistake.place, mistake.why) for mistake in found]
    assert all(mistake.remedy for mistake in found)


def test_tls_may_be_switched_off_where_something_else_has_it() -> None:
    [made] = plan(edged("production"), environment="production", tls=OFF).systems
    assert not made.edges["nginx"].tls.on
    # In development, nobody has to say anything.
    [made] = plan(edged()).systems
    assert made.edges["nginx"].tls.mode is TlsMode.SELF_SIGNED


def test_who_speaks_to_another_is_in_a_network_with_it() -> None:
    networks: dict[str, dict[str, object]] = {"front": {}, "data": {}}
    reads = {"environment": {"HOST": "${db.host}", "PORT": "${db.port}"}}

    def made(web: list[str], db: list[str], nginx: list[str]) -> System:
        return system(
            {"api": api(ports=[{"target": 80}], networks=web, **reads)},
            {"db": {**POSTGRES, "networks": db}},
            edges={"nginx": edge(networks=nginx)},
            networks=networks,
        )

    assert plan(made([], ["data"], ["front"]))
    assert plan(made(["front"], [], []))
    for target in ("docker", "kubernetes"):
        assert mistakes(made(["data"], ["front"], ["front"]), target=target) == [
            Mistake(
                "shop: edges.nginx.upstreams.it.endpoint",
                "'api' is in no network with it, and can't be reached",
                "put it into one of data, or 'api' into one of its",
            ),
            Mistake(
                "shop: services.api.environment.HOST",
                "'db' is in no network with it, and can't be reached",
                "put it into one of front, or 'db' into one of its",
            ),
        ]


@pytest.mark.parametrize("field", ["url", "dotnet"])
def test_who_is_told_a_whole_connection_is_in_a_network_with_its_store(field: str) -> None:
    reads = {"secrets": {"DB": f"${{db.{field}}}"}}
    [found] = mistakes(
        system(
            {"api": api(networks=["front"], **reads)},
            {"db": {"engine": "mssql", "networks": ["data"]}},
            networks={"front": {}, "data": {}},
        )
    )
    assert found.place == "shop: services.api.secrets.DB"
    assert found.why == "'db' is in no network with it, and can't be reached"


def test_a_domain_is_one_host() -> None:
    for domain, why in (("*.example.com", "nobody can be told it"), ("A.b", "is not a host name")):
        [told] = mistakes(edged(), domains={"shop": domain})
        assert told.place == "tiers:domains.shop"
        assert why in told.why


def test_an_edge_that_does_not_fit_is_told_with_the_rest() -> None:
    made = edged().model_copy(
        update={
            "networks": {"front": Network(subnet="172.28.0.0/24")},
            "edges": {"nginx": Edge.model_validate({**edge(), "addresses": "172.28.0.10"})},
        }
    )
    assert [told.place for told in mistakes(made, replicas={"shop/nginx": 2})] == [
        "shop: edges.nginx.replicas"
    ]
    # Kubernetes gives addresses itself.
    assert plan(made, replicas={"shop/nginx": 2}, target="kubernetes", domains=DOMAINS)
    routes = [
        {"path": f"/{number}/", "upstream": "it", "websocket": True, "strip_prefix": True}
        for number in range(300)
    ]
    made = system({"api": api(ports=[{"target": 80}])}, edges={"nginx": edge(routes=routes)})
    [told] = mistakes(made)
    assert told.place == "shop: edges.nginx.routes"
    assert told.why == "nginx's configuration would have more than 119000 bytes"


@pytest.mark.parametrize("section", ["services", "stores", "edges"])
def test_internal_networks_publish_nothing(section: str) -> None:
    parts: dict[str, Any] = {
        "services": {"services": {"api": published(8000)}},
        "stores": {"stores": {"api": {**POSTGRES, "published": 5432}}},
        "edges": {
            "services": {"web": api(ports=[{"target": 80}])},
            "edges": {"api": edge("web")},
        },
    }[section]
    inside = {"data": {"internal": True}}
    [told] = mistakes(system(**parts, networks=inside))
    assert told == Mistake(
        f"shop: {section}.api.networks",
        "it is in internal networks only, and Docker publishes no port from these",
        "add a network that isn't internal, or publish no port",
    )
    assert plan(system(**parts, networks={**inside, "front": {}}))
    assert plan(system(**parts, networks=inside), target="kubernetes")


@pytest.mark.parametrize(
    ("keys", "place", "why"),
    [
        (
            {"edges": {"nginx": edge("apis")}},
            "shop: edges.nginx.upstreams.it.endpoint",
            "there is no service or store 'apis'",
        ),
        (
            {"edges": {"nginx": edge("worker")}},
            "shop: edges.nginx.upstreams.it.endpoint",
            "'worker' listens on no port",
        ),
        (
            {"edges": {"nginx": {**edge(), "upstreams": {"it": {"endpoint": "api", "port": 81}}}}},
            "shop: edges.nginx.upstreams.it.port",
            "'api' does not listen on port 81",
        ),
        (
            {"edges": {"worker": edge()}},
            "shop: edges.worker",
            "the container 'worker' is already that of shop: services.worker",
        ),
        (
            {"edges": {"nginx": edge(published={"http": 8000, "https": 443})}},
            "shop: edges.nginx.ports[0]",
            "host port 8000 is already published by web",
        ),
    ],
)
def test_an_edge_leads_to_what_is_there(keys: dict[str, Any], place: str, why: str) -> None:
    services = {"api": api(ports=[{"target": 80}]), "worker": api(), "web": published(8000)}
    [found] = mistakes(system(services, **keys))
    assert (found.place, found.why) == (place, why)
    assert found.remedy


def test_two_edges_of_one_host_need_two_ports() -> None:
    one, other = edged(), edged().model_copy(update={"name": "blog"})
    assert {(mistake.place, mistake.why) for mistake in mistakes(one, other)} == {
        ("blog: edges.nginx.ports[0]", "host port 80 is already published by shop/nginx"),
        ("blog: edges.nginx.ports[1]", "host port 443 is already published by shop/nginx"),
    }
    assert plan(one, other, port_offsets={"blog": 8000})


# --- what is right as described, and dangerous all the same ---------------------------------------


def test_production_without_a_certificate_that_clients_trust_is_told() -> None:
    settings = {"tiers:environment": "production", "tiers:systems": ["pigmeu"]}

    def said(mode: str) -> list[str]:
        stack = make_plan(
            "prod", read_settings({**settings, "tiers:tls": {"pigmeu": {"mode": mode}}})
        )
        return [doubt for doubt in doubts(stack.systems, stack.target) if "edges" in doubt]

    assert said("off") == ["pigmeu: edges.nginx: TLS is off; its document demands it"]
    assert said("self_signed") == [
        "pigmeu: edges.nginx: no client trusts a self-signed certificate"
    ]


@pytest.mark.parametrize(
    ("cloud", "told"),
    [
        ({}, True),
        ({"nodes": 3, "node_size": "s-8vcpu-16gb"}, False),
        ({"nodes": 1, "max_nodes": 3, "node_size": "s-8vcpu-16gb"}, False),
    ],
)
def test_pods_that_find_no_room_are_told(cloud: dict[str, object], *, told: bool) -> None:
    config = {
        "tiers:environment": "production",
        "tiers:target": "digitalocean",
        "tiers:systems": ["pigmeu"],
        "tiers:tls": {"pigmeu": {"mode": "self_signed"}},
        "tiers:digitalocean": cloud,
    }
    stack = make_plan("prod", read_settings(config))
    found = [
        doubt
        for doubt in doubts(stack.systems, stack.target, stack.settings.digitalocean)
        if "GiB" in doubt
    ]
    # An API of 2, 4 workers of 2, Redis of 1, 3 MongoDBs of 4, and nginx.
    expected = (
        "digitalocean: the pods request 23.1 GiB of memory, and 2 nodes of s-2vcpu-4gb have 8:"
        " some pods will wait for room (tiers:digitalocean.node_size, nodes, max_nodes)"
    )
    assert found == ([expected] if told else [])


def test_what_belongs_to_a_profile_that_is_off_is_told_so() -> None:
    config = {"tiers:systems": ["pigmeu"], "tiers:replicas": {"pigmeu/flower": 2}}
    with pytest.raises(DescriptionError) as caught:
        make_plan("dev", read_settings(config))
    assert caught.value.mistakes == [
        Mistake(
            "tiers:replicas.pigmeu/flower",
            "its profile is off in this stack",
            "choose it in tiers:profiles.pigmeu, or remove this",
        )
    ]


def test_secrets_of_a_profile_that_is_off_may_stay() -> None:
    """Who switches it off for a day could not write an encrypted one down again."""
    secrets = {"pigmeu/FLOWER_PASSWORD": STRONG, "ocolecionador/postgres/metabase": STRONG}
    config: dict[str, object] = {
        "tiers:systems": ["pigmeu", "ocolecionador"],
        "tiers:port_offsets": {"pigmeu": 100},
        "tiers:profiles": {"ocolecionador": []},
        "tiers:secrets": secrets,
    }
    made = make_plan("dev", read_settings(config))
    assert "flower" not in made.systems[0].services
    config["tiers:secrets"] = {**secrets, "pigmeu/FLOWR_PASSWORD": STRONG}
    with pytest.raises(DescriptionError) as caught:
        make_plan("dev", read_settings(config))
    [mistake] = caught.value.mistakes
    assert mistake.place == "tiers:secrets.pigmeu/FLOWR_PASSWORD"


def test_an_edge_is_published_where_the_stack_says() -> None:
    tls = {"mode": "lets_encrypt", "email": "me@example.com"}
    config: dict[str, object] = {
        "tiers:environment": "production",
        "tiers:systems": ["pigmeu"],
        "tiers:tls": {"pigmeu": tls},
        "tiers:domains": {"pigmeu": "copilot.example.com"},
    }

    def made(**more: object) -> tuple[str, list[str]]:
        stack = make_plan("prod", read_settings({**config, **more}))
        said = [doubt for doubt in doubts(stack.systems, stack.target) if "127.0.0.1" in doubt]
        return stack.systems[0].edges["nginx"].host_ip, said

    hidden = (
        "pigmeu: edges.nginx: the certificate's host name is proved from outside, and 127.0.0.1 is"
        " reached from this machine only (tiers:host_ips)"
    )
    assert made() == ("127.0.0.1", [hidden])
    assert made(**{"tiers:host_ips": {"pigmeu": "0.0.0.0"}}) == ("0.0.0.0", [])


def test_an_edges_url_stands_in_secrets_and_files_too() -> None:
    url = "${nginx.url}/hook?key=${secret.HOOK_KEY}"
    made = system(
        {"api": api(secrets={"HOOK": url}, secret_files={"hook": url}, ports=[{"target": 80}])},
        edges={"nginx": edge()},
    )
    [planned] = plan(made, domains={"shop": "shop.example.com"}).systems
    known = "https://shop.example.com/hook?key=${secret.HOOK_KEY}"
    assert planned.services["api"].secrets == {"HOOK": known}
    assert planned.services["api"].secret_files == {"hook": known}
