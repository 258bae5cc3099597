"""A stack is checked as a whole before anything is made, and what it is given is in its place."""

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any
from unittest import mock

import pulumi
import pytest
from pulumi_tiers.checks import check_services, check_stores, weakness
from pulumi_tiers.model.errors import DescriptionError, Mistake
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import Condition, Port, PullPolicy
from pulumi_tiers.plan import Plan, make_plan
from pulumi_tiers.program import main
from pulumi_tiers.render import recorder
from pulumi_tiers.settings import read_settings
from pulumi_tiers.systems import SYSTEMS
from pulumi_tiers.systems.encontros_tech import encontros_tech

STRONG = "q7Rz!m2Lx0vT9wKd"
POSTGRES: dict[str, object] = {"engine": "postgres", "image": "postgres:15"}
HEALTH: dict[str, object] = {"test": ["CMD", "true"]}


def api(**keys: object) -> dict[str, object]:
    return {"image": "me/api:1", **keys}


def system(
    services: Mapping[str, object] | None = None,
    stores: Mapping[str, object] | None = None,
    **keys: object,
) -> System:
    given = {"name": "shop", "title": "Shop", "environment": "development", **keys}
    return System.model_validate({**given, "services": services or {}, "stores": stores or {}})


def described(made: System) -> Callable[[Environment], System]:
    """A system as a module of systems/ gives it."""

    def describe(_: Environment) -> System:
        return made

    return describe


def plan(*systems: System, stack: str = "dev", **config: object) -> Plan:
    """The plan of a stack with exactly these systems."""
    known = {made.name: described(made) for made in systems}
    with mock.patch.dict(SYSTEMS, known, clear=True):
        settings = {"systems": list(known), **config}
        return make_plan(
            stack, read_settings({f"tiers:{key}": value for key, value in settings.items()})
        )


def mistakes(*systems: System, stack: str = "dev", **config: object) -> list[Mistake]:
    with pytest.raises(DescriptionError) as caught:
        plan(*systems, stack=stack, **config)
    return caught.value.mistakes


# --- the stack ------------------------------------------------------------------------------------


@pytest.mark.parametrize("stack", ["", "Dev", "a_b", "-a", "a-", "a b", "é", "a" * 21, "a\n"])
def test_a_stack_begins_the_names_of_containers(stack: str) -> None:
    assert mistakes(system(), stack=stack) == [
        Mistake(
            "stack",
            f"{stack!r} cannot be the beginning of the names of containers and volumes",
            "name the stack with at most 20 lower-case letters, digits and hyphens",
        )
    ]


def test_mistakes_of_every_system_are_told_together() -> None:
    def blog(_: Environment) -> System:
        return system({"api": api(replicas=0)}, name="blog")

    shop = described(system({"api": api(depends_on={"ap": "service_started"})}))
    with (
        mock.patch.dict(SYSTEMS, {"shop": shop, "blog": blog}),
        pytest.raises(DescriptionError) as caught,
    ):
        make_plan("DEV", read_settings({"tiers:systems": ["shop", "blog"]}))
    assert str(caught.value) == (
        "3 mistakes in the description; nothing was changed\n"
        "  blog: services.api.replicas: input should be greater than or equal to 1 (got 0)\n"
        "    use at least 1\n"
        "  shop: services.api.depends_on.ap: there is no 'ap' in this system\n"
        "    valid: none\n"
        "  stack: 'DEV' cannot be the beginning of the names of containers and volumes\n"
        "    name the stack with at most 20 lower-case letters, digits and hyphens"
    )


@pytest.mark.parametrize(
    "config",
    [
        {"tiers:systems": ["encontros-tec"]},
        {"tiers:systems": "nonsense"},
        {"tiers:target": "moon"},
        {"tiers:nonsense": "x"},
        {"tiers:port_offset": "60000", "tiers:images": {"encontros-tech/x": "a:1"}},
        {"tiers:images": {"encontros-tech/encontros-tech": "Not An Image"}},
        {"tiers:secrets": {"encontros-tech/postgres/doadmin": ""}},
        {"tiers:environment": "production",
         "tiers:secrets": {"encontros-tech/postgres/doadmin": "change-me"}},
        {"tiers:registry": "mirror"},
    ],
    ids=json.dumps,
)  # fmt: skip
def test_a_user_gets_the_mistakes_without_a_traceback_and_nothing_is_made(
    config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = recorder.Recording()
    monkeypatch.setattr(recorder, "Recording", lambda: kept)
    # The engine prints a RunError without a traceback.
    with pytest.raises(pulumi.RunError, match=r"^\d mistakes? in the description; nothing was"):
        recorder.record(main, project="tiers", stack="dev", config=config)
    assert kept.resources == []


# --- host ports -----------------------------------------------------------------------------------

ANOTHER = (
    "publish another port, or none; tiers:port_offsets moves all ports of a system, and"
    " 'tiers:publish: edges' opens those of edges only (replicas take the numbers after the first)"
)


def published(number: int, **keys: object) -> dict[str, object]:
    return api(ports=[{"target": 80, "published": number, **keys}])


def test_a_host_port_is_published_once() -> None:
    made = system(
        {"api": published(8000), "web": api(ports=[{"target": 1, "published": 8001}, {"target": 2,
         "published": 8000}])}
    )  # fmt: skip
    why = "host port 8000 is already published by api"
    assert mistakes(made) == [Mistake("shop: services.web.ports[1]", why, ANOTHER)]


def test_a_host_port_is_published_once_by_stores_too() -> None:
    made = system(
        {"api": published(5432)}, {"db": {**POSTGRES, "published": 5432}, "x": {**POSTGRES,
         "published": 5432}}
    )  # fmt: skip
    why = "host port 5432 is already published by db"
    assert mistakes(made) == [
        Mistake("shop: services.api.ports[0]", why, ANOTHER),
        Mistake("shop: stores.x.published", why, ANOTHER),
    ]


def test_a_host_port_is_published_once_between_systems() -> None:
    assert mistakes(
        system({"api": published(8000)}), system({"api": published(8000)}, name="blog")
    ) == [
        Mistake(
            "blog: services.api.ports[0]",
            "host port 8000 is already published by shop/api",
            ANOTHER,
        )
    ]


def test_replicas_take_the_ports_that_follow() -> None:
    made = system({"api": {**published(8000), "replicas": 3}, "web": published(8002)})
    why = "host port 8002 is already published by api"
    assert mistakes(made) == [Mistake("shop: services.web.ports[0]", why, ANOTHER)]


def test_two_ports_of_one_service_may_not_run_into_each_other() -> None:
    ports = [{"target": 80, "published": 8000}, {"target": 81, "published": 8001}]
    why = "host port 8001 is already published by api"
    assert mistakes(system({"api": api(ports=ports, replicas=2)})) == [
        Mistake("shop: services.api.ports[1]", why, ANOTHER)
    ]


@pytest.mark.parametrize(
    ("one", "other", "clash"),
    [
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("0.0.0.0", "127.0.0.2", True),
        ("0.0.0.0", "0.0.0.0", True),
    ],
)
def test_addresses_of_the_host_have_ports_of_their_own(
    one: str, other: str, *, clash: bool
) -> None:
    made = system({"api": published(8000, host_ip=one), "web": published(8000, host_ip=other)})
    assert (len(mistakes(made)) == 1) if clash else plan(made)


def test_the_ports_of_replicas_end_where_ports_end() -> None:
    made = system({"api": {**published(8000), "replicas": 2}})
    assert mistakes(made, port_offset=57535) == [
        Mistake(
            "shop: services.api.ports[0]", "65536 is not a port", "lower it, or tiers:port_offset"
        )
    ]


@pytest.mark.parametrize(
    ("config", "key", "number", "most"),
    [
        ({"port_offset": 60000}, "tiers:port_offset", 68000, "at most 57535"),
        ({"port_offset": 57536}, "tiers:port_offset", 65536, "at most 57535"),
        (
            {"port_offset": 60000, "port_offsets": {"shop": 60000}},
            "tiers:port_offsets.shop",
            128000,
            "both together at most 57535",
        ),
    ],
)
def test_the_offset_ends_where_ports_end(
    config: dict[str, Any], key: str, number: int, most: str
) -> None:
    offset = number - 8000
    told = Mistake(
        key,
        f"with {offset} added, the port 8000 would be {number}",
        f"ports end at 65535: add {most}",
    )
    assert mistakes(system({"api": published(8000)}), **config) == [told]
    # Stores and edges are made of numbers that were checked.
    assert mistakes(system({}, {"db": {**POSTGRES, "published": 8000}}), **config) == [told]
    edges = {
        "nginx": {
            "upstreams": {"api": {"endpoint": "api"}},
            "routes": [{"path": "/", "upstream": "api"}],
            "published": {"http": 8000},
        }
    }
    service = api(ports=[{"target": 80}])
    tls = {"shop": {"mode": "off"}}
    assert mistakes(system({"api": service}, edges=edges), **config, tls=tls) == [told]


def test_the_offset_moves_every_published_port_of_the_docker_host() -> None:
    made = system(
        {"api": api(ports=[{"target": 80, "published": 8000, "load_balancer": 80},
                           {"target": 81}])},
        {"db": {**POSTGRES, "published": 5432}, "other": POSTGRES},
    )  # fmt: skip
    [moved] = plan(made, port_offset="100").systems
    assert moved.services["api"].ports == [
        Port(target=80, published=8100, load_balancer=80),
        Port(target=81),
    ]
    assert (moved.stores["db"].published, moved.stores["other"].published) == (5532, None)


@pytest.mark.parametrize("target", ["kubernetes", "digitalocean"])
def test_a_load_balancer_has_its_ports_for_itself(target: str) -> None:
    one, other = system({"api": published(8000)}), system({"api": published(8000)}, name="blog")
    made = plan(one, other, target=target, port_offset=60000)
    assert [item.services["api"].ports[0].published for item in made.systems] == [8000, 8000]


RENAME = "rename one of them"

# --- names ----------------------------------------------------------------------------------------


def test_a_store_and_a_service_cannot_have_the_same_host_name() -> None:
    why = "the container 'db' is already that of shop: stores.db"
    assert mistakes(system({"db": api()}, {"db": POSTGRES})) == [
        Mistake("shop: services.db", why, "rename one of them")
    ]


@pytest.mark.parametrize(
    ("services", "place", "why"),
    [
        (
            {"api": api(replicas=3), "api-3": api()},
            "shop: services.api-3",
            "the container 'api-3' is already that of shop: services.api",
        ),
        (
            {"db-setup": api()},
            "shop: services.db-setup",
            "the container 'db-setup' is already that of shop: stores.db",
        ),
        (
            {"api": api(volumes=[{"name": "db-data", "target": "/data"}])},
            "shop: services.api",
            "the volume 'db-data' is already that of shop: stores.db",
        ),
        (
            {
                "api": api(volumes=[{"name": "files", "target": "/files"}]),
                "web": api(volumes=[{"name": "files", "target": "/www"}]),
            },
            "shop: services.web",
            "the volume 'files' is already that of shop: services.api",
        ),
        (
            {
                "api": api(secrets={"A": "x"}, secret_name="keys"),
                "web": api(secrets={"A": "x"}, secret_name="keys"),
            },
            "shop: services.web",
            "the Kubernetes Secret 'keys' is already that of shop: services.api",
        ),
        (
            {"api": api(secrets={"A": "x"}, secret_name="db")},
            "shop: services.api",
            "the Kubernetes Secret 'db' is already that of shop: stores.db",
        ),
    ],
)
def test_what_is_made_from_a_name_is_made_once(
    services: Mapping[str, object], place: str, why: str
) -> None:
    databases = [{"name": "a", "owner": "a"}]
    made = system(services, {"db": {**POSTGRES, "databases": databases}})
    assert mistakes(made) == [Mistake(place, why, "rename one of them")]


def test_a_lone_component_finds_its_own_names_twice() -> None:
    volumes = [{"name": "files", "target": "/files"}]
    made = system({"api": api(volumes=volumes), "web": api(volumes=volumes)})
    assert [
        found.place for found in check_services("AppTier shop", made.services, Target.DOCKER, [])
    ] == ["AppTier shop.web"]
    stores = system({}, {"db": {**POSTGRES, "databases": [{"name": "a", "owner": "a"}]},
                         "db-setup": POSTGRES}).stores  # fmt: skip
    assert {found.place for found in check_stores("DataTier shop", stores, Target.DOCKER)} == {
        "DataTier shop.db-setup"
    }


def test_systems_have_names_of_their_own() -> None:
    services = {"api": api(volumes=[{"name": "files", "target": "/files"}], secrets={"A": "x"})}
    stores = {"db": POSTGRES}
    assert plan(system(services, stores), system(services, stores, name="blog"))


def test_documented_names_of_two_systems_may_be_equal_only_if_there_is_one_of_them() -> None:
    services, stores = {"api": api(), "web": api(replicas=2)}, {"db": POSTGRES}
    one = system(services, stores)
    other = system({"api": api(), "web-2": api()}, {"api2": POSTGRES}, name="blog")
    assert plan(one, names="documented")
    assert plan(one, other, names="unique")
    assert plan(one, other, names="documented", target="kubernetes")
    prefixed = other.model_copy(update={"container_prefix": "blog-"})
    assert plan(one, prefixed, names="documented")
    remedy = "set tiers:names to 'unique', or rename one of them"
    assert mistakes(one, other, names="documented") == [
        Mistake(
            "blog: services.api",
            "the container 'api' is already that of shop: services.api",
            remedy,
        ),
        Mistake(
            "blog: services.web-2",
            "the container 'web-2' is already that of shop: services.web",
            remedy,
        ),
    ]


def test_two_systems_have_names_that_differ_once_they_are_joined() -> None:
    def made(name: str, key: str) -> System:
        volume = {"name": f"{key}-data", "target": "/data"}
        return system({key: api(volumes=[volume])}, name=name, networks={key: {}})

    one, other = made("shop", "a-b"), made("shop-a", "b")
    why = "the {} 'dev-shop-a-b{}' is already that of shop: {}.a-b"
    assert mistakes(one, other) == [
        Mistake("shop-a: networks.b", why.format("network", "", "networks"), RENAME),
        Mistake("shop-a: services.b", why.format("container", "", "services"), RENAME),
        Mistake("shop-a: services.b", why.format("volume", "-data", "services"), RENAME),
    ]
    assert plan(one, other, target="kubernetes")


def test_a_namespace_that_is_given_is_no_other_systems_own() -> None:
    other = system(name="blog", namespace="shop-development")
    [mistake] = mistakes(system(), other, target="kubernetes")
    why = "the namespace 'shop-development' is already that of shop: namespace"
    assert (mistake.place, mistake.why) == ("blog: namespace", why)


def test_two_systems_need_two_namespaces() -> None:
    one = system(namespace="production")
    other = system(name="blog", namespace="production")
    assert plan(one, other)
    assert mistakes(one, other, target="kubernetes") == [
        Mistake(
            "blog: namespace",
            "the namespace 'production' is already that of shop: namespace",
            "rename one of them",
        )
    ]


def test_the_longest_store_name_is_long_enough_for_everything_made_of_it() -> None:
    name = "a" * 40
    databases = [{"name": "a", "owner": "a"}]
    assert plan(system({}, {name: {**POSTGRES, "databases": databases}}))


# --- images ---------------------------------------------------------------------------------------


def test_images_and_mirrors_are_put_in_place() -> None:
    made = system(
        {"api": api(), "web": {"build": {"context": "."}}, "job": {"build": {"context": "."}}},
        {"db": POSTGRES, "other": {"engine": "postgres"}, "mine": POSTGRES},
    )
    [placed] = plan(
        made,
        images={"shop/web": "ghcr.io/me/web:1", "shop/mine": "standin.local/postgres:15"},
        registry="mirror.example.com/hub",
    ).systems
    assert placed.services["api"].image == "mirror.example.com/hub/me/api:1"
    assert placed.services["job"].image is None
    assert placed.services["job"].build is not None
    assert placed.stores["db"].image == "mirror.example.com/hub/postgres:15"
    assert placed.stores["other"].image == "mirror.example.com/hub/postgres:17"
    # What the stack names itself is taken as it is written: it may be on this machine only.
    assert placed.services["web"].image == "ghcr.io/me/web:1"
    assert placed.services["web"].build is None
    assert placed.stores["mine"].image == "standin.local/postgres:15"


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("shop/apis", "did you mean 'shop/api'? "),
        ("api", ""),
        ("blog/api", ""),
        ("", ""),
        ("shop/", "did you mean 'shop/db'? "),
    ],
)
def test_an_image_for_nobody_is_refused(key: str, near: str) -> None:
    made = system({"api": api()}, {"db": POSTGRES})
    [found] = mistakes(made, images={key: "me/api:2"})
    assert (found.place, found.why) == (f"tiers:images.{key}", "the stack has no such service")
    assert found.remedy.endswith("valid: shop/api, shop/db")


# --- passwords ------------------------------------------------------------------------------------

DOCUMENTED_SAMPLES = [
    "OColecionador@2025",
    "dev-postgres-password",
    "dev-redis-password",
    "dev-secret-key-change-in-production",
    "admin",
    "CHANGE_THIS_TO_A_VERY_SECURE_SECRET_KEY",
    "CHANGE_THIS_TO_A_VERY_SECURE_REDIS_PASSWORD",
    "sua-chave-secreta-muito-segura",
    "sua-senha-postgres-muito-segura",
    "seu_github_id",
    "seu_ngrok_token",
    "gerar_chave_aleatoria_aqui",
    "sk-your-openai-key",
    "gsk_your-groq-key",
    "your-mistral-key",
    "app_password_generated_in_wp",
    "xxxx xxxx xxxx xxxx xxxx",
    "SENHA",
]


@pytest.mark.parametrize(
    "password",
    [*DOCUMENTED_SAMPLES, "changeme", "Change-Me-Please-1234", "postgrespostgres", "testtesttest",
     "correcthorse15c", "aaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababab", "1234567890123456",
     "abcdefghijklmnopqrstuvwxyz", "abcd1234abcd1234", "<put it here, please>", "${DB_PASSWORD}",
     "{{ password }}", "my-Passw0rd-is-very-long", "placeholder-1234567"],
)  # fmt: skip
def test_a_weak_password_is_refused_in_production_only(password: str) -> None:
    secrets = {"shop/db/postgres": password}
    remedy = "remove it to have one generated, or set a random one of 16 characters or more"
    for found in (
        mistakes(system({}, {"db": POSTGRES}), environment="production", secrets=secrets),
        mistakes(
            system(
                {},
                {"db": {**POSTGRES, "passwords": {"postgres": password}}},
                environment="production",
            ),
            environment="production",
        ),
    ):
        [only] = found
        assert only.place in {
            "tiers:secrets.shop/db/postgres",
            "shop: stores.db.passwords.postgres",
        }
        assert only.why.startswith("the password ")
        assert only.remedy == remedy
        assert password not in str(only).replace("the password", "")
    [only] = mistakes(
        system(
            {"api": api(secrets={"TOKEN": password.replace("$", "$$")})}, environment="production"
        ),
        environment="production",
    )
    assert only.place == "shop: services.api.secrets.TOKEN"
    assert only.remedy == "set the real one, random and of 16 characters or more"
    # Development takes what the documents say.
    made = system(
        {"api": api(secrets={"TOKEN": password.replace("$", "$$")})},
        {"db": {**POSTGRES, "passwords": {"postgres": password}}},
    )
    assert plan(made)
    assert plan(made, secrets=secrets)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("admin", "the password is a placeholder or a documented sample"),
        ("q7Rz!m2Lx0vT9wK", "the password has only 15 characters"),
        ("abca" * 8, "the password has only 3 different characters"),
        ("abcdefghijklmnop", "the password is a row of characters that anybody would try"),
        (STRONG, None),
        ("correct horse battery staple", None),
        ("çãõéíóúâêôàüñßøåæ", None),
    ],
)
def test_what_a_weakness_is(password: str, why: str | None) -> None:
    assert weakness(password) == why


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "the password is empty"),
        (STRONG + "\n", "the password holds a line break or the like"),
        ("\t" + STRONG, "the password holds a line break or the like"),
        (STRONG + "\u200b", "the password holds a line break or the like"),
    ],
)
def test_a_password_that_cannot_work_is_refused_everywhere(
    environment: str, password: str, why: str
) -> None:
    made = system({}, {"db": POSTGRES}, environment=environment)
    [found] = mistakes(made, environment=environment, secrets={"shop/db/postgres": password})
    assert (found.place, found.why) == ("tiers:secrets.shop/db/postgres", why)
    assert STRONG not in str(found)


def test_a_good_password_of_the_stack_replaces_a_weak_one_of_the_description() -> None:
    stores = {"db": {**POSTGRES, "passwords": {"postgres": "admin"}}}
    made = system({}, stores, environment="production")
    [placed] = plan(
        made, environment="production", secrets={"shop/db/postgres": STRONG}
    ).systems  # fmt: skip
    # The store takes the stack's: see test_compose.py.
    assert placed.stores["db"].passwords == {}


@pytest.mark.parametrize(
    "key", ["shop/db/nobody", "shop/db", "shop/db/", "db/postgres", "", "a/b/c"]
)
def test_a_password_for_nobody_is_refused(key: str) -> None:
    databases = [{"name": "shop", "owner": "seller"}]
    made = system({}, {"db": {**POSTGRES, "databases": databases}})
    [found] = mistakes(made, secrets={key: STRONG})
    assert (found.place, found.why) == (f"tiers:secrets.{key}", "the stack has no such secret")
    assert found.remedy.endswith("valid: shop/db/postgres, shop/db/seller")


def test_a_description_cannot_give_a_password_to_nobody() -> None:
    store = {**POSTGRES, "admin": "boss", "passwords": {"bos": STRONG, "boss": STRONG}}
    assert mistakes(system({}, {"db": store})) == [
        Mistake(
            "shop: stores.db.passwords.bos",
            "the store has no such user",
            "did you mean 'boss'? valid: boss",
        )
    ]


def test_secrets_that_refer_to_a_store_are_not_judged() -> None:
    secrets = {"URL": "${db.url}", "DSN": "password=${db.password}"}
    made = system({"api": api(secrets=secrets)}, {"db": POSTGRES}, environment="production")
    assert plan(made, environment="production")


# --- references -----------------------------------------------------------------------------------

STORES = {"db": {**POSTGRES, "databases": [{"name": "shop"}, {"name": "blog", "owner": "blogger"}]}}
FIELDS = "valid: ca, database, dotnet, host, password, port, url, user"


@pytest.mark.parametrize(
    ("text", "why", "remedy"),
    [
        ("${bd.host}", "'${bd.host}' names no store of this system",
         "valid: db, db.blog, db.shop"),
        ("${db.blgo.host}", "'${db.blgo.host}' names no store of this system",
         "did you mean 'db.blog'? valid: db, db.blog, db.shop"),
        ("${api.host}", "'${api.host}' names no store of this system",
         "valid: db, db.blog, db.shop"),
        ("${db.hots}", "'${db.hots}': a connection has no field 'hots'",
         f"did you mean 'host'? {FIELDS}"),
        ("${db.blog.hots}", "'${db.blog.hots}': a connection has no field 'hots'",
         f"did you mean 'host'? {FIELDS}"),
        ("${db.blog}", "'${db.blog}': a connection has no field 'blog'", FIELDS),
        ("${HOME}", "'${HOME}' is not a reference",
         "write ${store.field}, or $$ for a dollar sign"),
        ("a${}b", "'${}' is not a reference", "write ${store.field}, or $$ for a dollar sign"),
        ("${DB_HOST:-localhost}", "'${DB_HOST:-localhost}' is not a reference",
         "write ${store.field}, or $$ for a dollar sign"),
        ("${db.url}", "'${db.url}' is secret, and environment is not",
         "move the variable to 'secrets'"),
        ("postgres://x:${db.blog.password}@db",
         "'${db.blog.password}' is secret, and environment is not",
         "move the variable to 'secrets'"),
    ],
)  # fmt: skip
def test_a_reference_names_what_the_system_has(text: str, why: str, remedy: str) -> None:
    made = system({"api": api(environment={"A": "fine", "B": text})}, STORES)
    assert mistakes(made) == [Mistake("shop: services.api.environment.B", why, remedy)]


def test_the_text_for_dotnet_is_had_of_sql_server_alone() -> None:
    """Of others it would be empty."""
    stores = {**STORES, "sql": {"engine": "mssql"}}
    secrets = {"A": "${sql.dotnet}", "B": "x=${db.blog.dotnet}"}
    made = system({"api": api(secrets=secrets, secret_files={"C": "${db.dotnet}"})}, stores)
    assert mistakes(made) == [
        Mistake(f"shop: services.api.{at}", f"'{text}' is for mssql, and 'db' is postgres", remedy)
        for remedy in ["use its 'url', or put the text together of its other fields"]
        for at, text in (("secret_files.C", "${db.dotnet}"), ("secrets.B", "${db.blog.dotnet}"))
    ]


def test_every_wrong_reference_of_a_value_is_told() -> None:
    made = system({"api": api(environment={"A": "${x.host} ${db.host} ${y.host}"})}, STORES)
    assert [found.why for found in mistakes(made)] == [
        "'${x.host}' names no store of this system",
        "'${y.host}' names no store of this system",
    ]


def test_what_a_secret_holds_is_not_repeated_where_it_is_no_reference() -> None:
    made = system({"api": api(secrets={"TOKEN": f"${{{STRONG}}}"})}, STORES)
    assert mistakes(made) == [
        Mistake(
            "shop: services.api.secrets.TOKEN",
            "'${...}' is not a reference",
            "write ${store.field}, or $$ for a dollar sign",
        )
    ]


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("environment", "${db.host}:${db.port}/${db.shop.database}?user=${db.blog.user}"),
        ("environment", "$$ $HOME $(HOME) 100% {db.url} $${db.url} $$$${x}"),
        ("secrets", "${db.url} ${db.blog.url} ${db.password} ${db.host}"),
        ("secrets", "pa$$word$"),
    ],
)
def test_a_right_reference_is_one(section: str, text: str) -> None:
    assert plan(system({"api": api(**{section: {"A": text}})}, STORES))


# --- dependencies ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "condition", "why", "remedy"),
    [
        ("wbe", "service_started", "there is no 'wbe' in this system",
         "did you mean 'web'? valid: db, job, web, well"),
        ("web", "service_healthy", "'web' has no healthcheck, so it can never be healthy",
         "give it one, or use service_started"),
        ("web", "service_completed_successfully", "'web' is not a job, so it never completes",
         "set its job to true"),
        ("job", "service_started", "'job' is a job: it ends, and is neither up nor healthy then",
         "use service_completed_successfully"),
        ("job", "service_healthy", "'job' has no healthcheck, so it can never be healthy",
         "give it one, or use service_started"),
        ("db", "service_completed_successfully", "'db' is a store and never completes",
         "use service_healthy"),
    ],
)  # fmt: skip
def test_a_dependency_can_be_met(other: str, condition: str, why: str, remedy: str) -> None:
    services = {
        "api": api(depends_on={other: condition}),
        "web": api(),
        "well": api(healthcheck=HEALTH),
        "job": api(job=True),
    }
    found = mistakes(system(services, STORES))
    assert found == [Mistake(f"shop: services.api.depends_on.{other}", why, remedy)]


def test_a_health_check_that_is_switched_off_is_none() -> None:
    services = {
        "api": api(depends_on={"web": "service_healthy"}),
        "web": api(healthcheck={"test": ["NONE"]}),
    }
    [found] = mistakes(system(services))
    assert found.why == "'web' has no healthcheck, so it can never be healthy"


@pytest.mark.parametrize(
    "depends_on",
    [
        {"db": "service_healthy"},
        {"db": "service_started"},
        {"well": "service_healthy", "web": "service_started"},
        {"job": "service_completed_successfully"},
    ],
)
def test_a_dependency_that_can_be_met_is_taken(depends_on: Mapping[str, str]) -> None:
    services = {
        "api": api(depends_on=depends_on),
        "web": api(),
        "well": api(healthcheck=HEALTH),
        "job": api(job=True),
    }
    assert plan(system(services, STORES))


def started(*names: str) -> dict[str, object]:
    return api(depends_on=dict.fromkeys(names, "service_started"))


def test_nothing_waits_for_itself() -> None:
    assert mistakes(system({"api": started("api")})) == [
        Mistake("shop: services.api.depends_on", "a circle: api -> api", "remove one of them")
    ]


def test_every_circle_is_told() -> None:
    services = {
        "a": started("b"),
        "b": started("c", "e"),
        "c": started("a"),
        "d": started("e", "a"),
        "e": started("d"),
    }
    made = system(services)
    found = mistakes(made)
    assert {mistake.remedy for mistake in found} == {"remove one of them"}
    circles = [mistake.why.removeprefix("a circle: ").split(" -> ") for mistake in found]
    # Each is one: every member depends on the next.
    for circle in circles:
        assert circle[0] == circle[-1]
        for one, other in pairwise(circle):
            assert other in made.services[one].depends_on
    assert {frozenset(circle) for circle in circles} >= {frozenset("abc"), frozenset("de")}


def test_a_long_chain_of_dependencies_is_no_circle() -> None:
    count = 3000
    services = {f"s{number}": started(f"s{number + 1}") for number in range(count)}
    made = system({**services, f"s{count}": api()})
    assert list(check_services("shop", made.services, Target.DOCKER, [])) == []


# --- stores ---------------------------------------------------------------------------------------


def test_an_unknown_engine_is_one_mistake() -> None:
    services = {
        "api": api(
            environment={"HOST": "${db.host}", "DB": "${db.shop.database}"},
            depends_on={"db": "service_healthy"},
        )
    }
    stores = {"db": {"engine": "postgras", "databases": [{"name": "shop"}]}}
    assert mistakes(system(services, stores)) == [
        Mistake(
            "shop: stores.db.engine",
            "there is no engine 'postgras'",
            "did you mean 'postgres'? valid: elasticsearch, minio, mongo, mssql, postgres,"
            " rabbitmq, redis",
        )
    ]


def test_a_lone_data_tier_is_checked_the_same_way() -> None:
    stores = {"db": Store(engine="mysql", image="mysql:8")}
    [found] = check_stores("DataTier shop: stores", stores, Target.DOCKER)
    assert found.place == "DataTier shop: stores.db.engine"


# --- Encontros Tech: what its document says -------------------------------------------------------

COMMON = {
    "HOST": "0.0.0.0",
    "PORT": "8000",
    "SERVICE_NAME": "encontros-tech",
    "SERVICE_VERSION": "1.0.0",
    "PROMETHEUS_MULTIPROC_DIR": "/tmp/prometheus_multiproc",
}


@pytest.mark.parametrize(
    ("environment", "namespace", "tag", "replicas", "variables"),
    [
        (
            Environment.DEVELOPMENT,
            "homologacao",
            "develop",
            1,
            {
                "APP_TITLE": "Encontros Tech - HOMOLOGAÇÃO",
                "DEBUG": "true",
                "LOG_LEVEL": "DEBUG",
                "LOG_FORMAT": "colored",
            },
        ),
        (
            Environment.PRODUCTION,
            "production",
            "latest",
            2,
            {
                "APP_TITLE": "Encontros Tech",
                "DEBUG": "false",
                "LOG_LEVEL": "INFO",
                "LOG_FORMAT": "simple",
            },
        ),
    ],
)
def test_encontros_tech_is_what_is_documented(
    environment: Environment, namespace: str, tag: str, replicas: int, variables: dict[str, str]
) -> None:
    made = encontros_tech(environment)
    assert (made.name, made.environment) == ("encontros-tech", environment)
    # The Service selects app=encontros-tech, environment={homologacao|production}.
    assert (made.namespace, made.environment_label) == (namespace, namespace)
    assert list(made.services) == ["encontros-tech"]
    workload = made.services["encontros-tech"]
    assert workload.image == f"marcospaulo1991/encontros-tech:{tag}"
    assert workload.pull_policy is PullPolicy.ALWAYS
    assert workload.replicas == replicas
    assert workload.environment == COMMON | variables
    # A secretKeyRef to db-credentials, nowhere else.
    assert (workload.secrets, workload.secret_name) == (
        {"DATABASE_URL": "${postgres.url}"},
        "db-credentials",
    )
    assert workload.ports == [Port(target=8000, published=8000, load_balancer=80)]
    assert (workload.command, workload.entrypoint) == ([], [])
    # EN-07: the metrics' folder exists, is writable, and is empty at every start.
    assert "/tmp/prometheus_multiproc" in workload.tmpfs
    assert workload.depends_on == {"postgres": Condition.SERVICE_HEALTHY}
    [(name, store)] = made.stores.items()
    assert (name, store.engine, store.admin) == ("postgres", "postgres", "doadmin")
    assert [database.name for database in store.databases] == ["defaultdb"]
    # Not published, and no password of the document's.
    assert (store.published, store.passwords) == (None, {})


@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("target", ["docker", "kubernetes", "digitalocean"])
def test_encontros_tech_has_no_mistakes(environment: str, target: str) -> None:
    settings = read_settings({"tiers:environment": environment, "tiers:target": target})
    assert [made.name for made in make_plan("dev", settings).systems] == ["encontros-tech"]
