"""A stack's configuration is checked key by key; all mistakes are told together."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from pulumi_tiers.model.errors import DescriptionError, Mistake
from pulumi_tiers.model.image import Mirrors
from pulumi_tiers.model.system import Environment, Target
from pulumi_tiers.model.workload import Autoscale
from pulumi_tiers.settings import STRUCTURED, Names, Settings, read_settings

PROJECT = Path(__file__).parent.parent
QUOTES = "write a text (in YAML, put it into quotes)"
PASSWORD = "correct-horse-battery"


def mistakes(**config: object) -> list[Mistake]:
    """What is wrong with ``tiers:`` keys."""
    with pytest.raises(DescriptionError) as caught:
        read_settings({f"tiers:{key}": value for key, value in config.items()})
    return caught.value.mistakes


def mistake(key: str, value: object) -> Mistake:
    [found] = mistakes(**{key: value})
    return found


# --- what is read ---------------------------------------------------------------------------------


def test_nothing_set_is_development_on_local_docker() -> None:
    settings = read_settings({})
    assert settings.environment is Environment.DEVELOPMENT
    assert settings.target is Target.DOCKER
    assert settings.systems == ["encontros-tech"]
    assert settings.names is Names.UNIQUE
    assert (settings.port_offset, settings.images, settings.secrets) == (0, {}, {})
    assert settings.registry == Mirrors()


def test_the_engine_hands_everything_over_as_texts() -> None:
    settings = read_settings(
        {
            "tiers:environment": "production",
            "tiers:target": "kubernetes",
            "tiers:systems": '["encontros-tech"]',
            "tiers:images": '{"encontros-tech/encontros-tech": "me/api:1"}',
            "tiers:registry": "mirror.example.com/hub",
            "tiers:port_offset": "100",
            "tiers:names": "documented",
            "tiers:secrets": json.dumps({"encontros-tech/postgres/doadmin": PASSWORD}),
            "docker:host": "unix:///run/docker.sock",
            "kubernetes:context": "kind",
        }
    )
    assert settings == Settings(
        environment=Environment.PRODUCTION,
        target=Target.KUBERNETES,
        systems=["encontros-tech"],
        images={"encontros-tech/encontros-tech": "me/api:1"},
        registry=Mirrors((("", "mirror.example.com/hub"),)),
        port_offset=100,
        names=Names.DOCUMENTED,
        secrets={"encontros-tech/postgres/doadmin": PASSWORD},
    )


@pytest.mark.parametrize("value", [100, 100.0, "100"])
def test_numbers_may_come_as_numbers(value: object) -> None:
    assert read_settings({"tiers:port_offset": value}).port_offset == 100


# --- what is wrong --------------------------------------------------------------------------------


def test_all_mistakes_are_told_together_and_in_order() -> None:
    with pytest.raises(DescriptionError) as caught:
        read_settings(
            {
                "tiers:target": "dokcer",
                "tiers:enviroment": "production",
                "tiers:systems": ["encontros-tec", "encontros-tech", "encontros-tech"],
                "tiers:port_offset": "many",
                "tiers:images": {"encontros-tech/postgres": "Postgres"},
                "other:enviroment": "is somebody else's",
            }
        )
    assert str(caught.value) == (
        "5 mistakes in the description; nothing was changed\n"
        "  tiers:enviroment: there is no such configuration key\n"
        "    did you mean 'environment'? valid: autoscale, concurrency, databases, digitalocean,"
        " docker_sockets, domains, environment, github, gpu, host_ips, images, load_balancers,"
        " managed, models, names, observability, owner, pipelines, port_offset, port_offsets,"
        " profiles, protect, publish, registry, registry_logins, replicas, secrets, sources,"
        " subnets, systems, target, tls, variables\n"
        "  tiers:images.encontros-tech/postgres: 'Postgres' is not an image reference\n"
        "    write it like 'postgres:15' or 'ghcr.io/owner/name:tag', in lower case\n"
        "  tiers:port_offset: input should be a valid integer (got 'many')\n"
        "    write a whole number, without quotes\n"
        "  tiers:systems[0]: there is no system 'encontros-tec'\n"
        "    did you mean 'encontros-tech'? valid: encontros-tech, nutrifitcoach, ocolecionador,"
        " pigmeu, vision\n"
        "  tiers:target: this is not one of the valid words (got 'dokcer')\n"
        "    did you mean 'docker'? valid: digitalocean, docker, kubernetes"
    )


@pytest.mark.parametrize("key", ["", "x", "images.a", "Target", "portoffset"])
def test_an_unknown_key_is_refused(key: str) -> None:
    found = mistake(key, "x")
    assert found.place == f"tiers:{key}"
    assert found.why == "there is no such configuration key"
    assert found.remedy.endswith("subnets, systems, target, tls, variables")


@pytest.mark.parametrize(
    ("key", "value", "why", "remedy"),
    [
        (
            "environment",
            "prod",
            "this is not one of the valid words (got 'prod')",
            "valid: development, production",
        ),
        (
            "environment",
            "Production",
            "this is not one of the valid words (got 'Production')",
            "did you mean 'production'? valid: development, production",
        ),
        ("environment", None, "input should be a valid string (got nothing)", QUOTES),
        ("environment", ["production"], "input should be a valid string (got a list)", QUOTES),
        (
            "names",
            "",
            "this is not one of the valid words (got '')",
            "valid: documented, unique",
        ),
        ("port_offset", "-1", "input should be greater than or equal to 0 (got '-1')",
         "use at least 0"),
        ("port_offset", 60001, "input should be less than or equal to 60000 (got 60001)",
         "use at most 60000"),
        ("port_offset", "1" * 5000, "input should be a valid integer (got '" + "1" * 77 + "'...)",
         "write a whole number, without quotes"),
        ("port_offset", "\u0661", "input should be a valid integer (got '\u0661')",
         "write a whole number, without quotes"),
        ("port_offset", "1.5", "input should be a valid integer (got '1.5')",
         "write a whole number, without quotes"),
        ("port_offset", True, "input should be a valid integer (got True)",
         "write a whole number, without quotes"),
        ("registry", ["m.example.com"], "input should be a valid string (got a list)", QUOTES),
        ("registry", {"rules": [["", "m.example.com"]]},
         "input should be a valid string (got a map)", QUOTES),
        ("registry", None, "input should be a valid string (got nothing)", QUOTES),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(key: str, value: object, why: str, remedy: str) -> None:
    assert mistake(key, value) == Mistake(f"tiers:{key}", why, remedy)


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ("encontros-tech", "'encontros-tech'"),
        ('"encontros-tech"', "'encontros-tech'"),
        ("[encontros-tech]", "'[encontros-tech]'"),
        ('{"encontros-tech": 1}', "a map"),
        ("", "''"),
        ("null", "nothing"),
        (None, "nothing"),
        ("1", "1"),
        (1, "1"),
        (True, "True"),
        ("[" * 100_000, "'" + "[" * 77 + "'..."),
        pytest.param("9" * 5000, "'" + "9" * 77 + "'...", id="endless"),
    ],
)
def test_systems_are_a_list(value: object, got: str) -> None:
    why = f"input should be a valid list (got {got})"
    assert mistake("systems", value) == Mistake("tiers:systems", why, "write a list")


@pytest.mark.parametrize("value", ["[]", []])
def test_a_stack_has_a_system(value: object) -> None:
    assert mistake("systems", value) == Mistake(
        "tiers:systems", "the list is empty (got a list)", "give at least 1"
    )


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([1], "input should be a valid string (got 1)"),
        ([None], "input should be a valid string (got nothing)"),
        ([["encontros-tech"]], "input should be a valid string (got a list)"),
        ('["Encontros-Tech"]', "there is no system 'Encontros-Tech'"),
        ([""], "there is no system ''"),
        (["encontros-tech "], "there is no system 'encontros-tech '"),
        (["x" * 10**5], "there is no system '" + "x" * 77 + "'..."),
    ],
    ids=str,
)
def test_a_system_is_named(value: object, why: str) -> None:
    found = mistake("systems", value)
    assert (found.place, found.why) == ("tiers:systems[0]", why)


def test_a_system_stands_once() -> None:
    why = "the system 'encontros-tech' stands here twice"
    assert mistakes(systems=["encontros-tech"] * 3) == [
        Mistake("tiers:systems[1]", why, "give it once"),
        Mistake("tiers:systems[2]", why, "give it once"),
    ]


@pytest.mark.parametrize(
    ("value", "got"),
    [("postgres:15", "'postgres:15'"), ("[]", "a list"), ([], "a list"), ("1", "1"),
     ("null", "nothing"), (None, "nothing"), ("{", "'{'"), ('"a"', "'a'"), (1.5, "1.5")],
)  # fmt: skip
def test_images_are_a_map(value: object, got: str) -> None:
    why = f"input should be a map (got {got})"
    assert mistake("images", value) == Mistake("tiers:images", why, "write a map")


@pytest.mark.parametrize(
    ("value", "got"),
    [
        (1, "1"),
        (None, "nothing"),
        (["postgres:15"], "a list"),
        ({"postgres": {"image": "postgres:15"}}, "a map"),
    ],
)
def test_an_image_is_a_text(value: object, got: str) -> None:
    place = "tiers:images.encontros-tech/postgres"
    found = mistake("images", {"encontros-tech/postgres": value})
    assert found == Mistake(place, f"input should be a valid string (got {got})", QUOTES)


@pytest.mark.parametrize(
    "reference",
    ["", " ", "Postgres:15", "post gres", "postgrés", "postgres:", "\u03c1ostgres", "🐘"],
)
def test_an_image_can_be_parsed(reference: str) -> None:
    assert mistake("images", {"encontros-tech/postgres": reference}) == Mistake(
        "tiers:images.encontros-tech/postgres",
        f"{reference!r} is not an image reference",
        "write it like 'postgres:15' or 'ghcr.io/owner/name:tag', in lower case",
    )


def test_half_a_character_in_json_is_refused() -> None:
    found = mistake("images", r'{"encontros-tech/postgres": "\ud800"}')
    assert found.why == "this text holds half of a character"
    str(DescriptionError([found])).encode()


@pytest.mark.parametrize(
    "value",
    [PASSWORD, json.dumps(PASSWORD), json.dumps([PASSWORD]), [PASSWORD], f"{{{PASSWORD}", None, 1],
)
def test_secrets_are_a_map_and_never_shown(value: object) -> None:
    assert mistake("secrets", value) == Mistake(
        "tiers:secrets", "input should be a map", "write a map"
    )


@pytest.mark.parametrize("value", [[PASSWORD], {"password": PASSWORD}, None, 12345678, True])
def test_a_secret_is_a_text_and_never_shown(value: object) -> None:
    key = "encontros-tech/postgres/doadmin"
    for secrets in ({key: value}, json.dumps({key: value})):
        found = mistake("secrets", secrets)
        assert found == Mistake(f"tiers:secrets.{key}", "input should be a valid string", QUOTES)


# --- maps by system, or by a part of one ----------------------------------------------------------


def test_what_a_stack_can_say_of_its_systems() -> None:
    given: dict[str, Any] = {
        "replicas": {"pigmeu/worker": 4},
        "autoscale": {"pigmeu/api": {"min": 2, "max": 8, "cpu": 60}},
        "concurrency": {"pigmeu/worker": 8},
        "profiles": {"pigmeu": ["flower"]},
        "port_offsets": {"pigmeu": 100},
        "subnets": {"nutrifitcoach": "172.29.0.0/16"},
        "domains": {"pigmeu": "copilot.example.com"},
        "tls": {"pigmeu": {"mode": "lets_encrypt", "email": "me@example.com"}},
        "sources": {"pigmeu": "../pigmeu"},
        "variables": {"pigmeu/WORDPRESS_URL": "https://blog.example.com"},
        "secrets": {"pigmeu/OPENAI_API_KEY": PASSWORD},
    }
    plain = read_settings({f"tiers:{key}": value for key, value in given.items()})
    # The engine hands maps over as JSON.
    texts = read_settings({f"tiers:{key}": json.dumps(value) for key, value in given.items()})
    assert plain == texts
    assert plain.model_dump(mode="json", include=set(given), exclude_unset=True) == given
    assert read_settings({"tiers:autoscale": {"a/b": {"max": 3}}}).autoscale["a/b"] == Autoscale(
        min=1, max=3
    )


INTEGER = "write a whole number, without quotes"
MAP = "write a map of its keys"


@pytest.mark.parametrize(
    ("key", "value", "below", "why", "remedy"),
    [
        ("replicas", 0, "", "input should be greater than or equal to 1 (got 0)", "use at least 1"),
        ("replicas", 101, "", "input should be less than or equal to 100 (got 101)",
         "use at most 100"),
        ("replicas", "3", "", "input should be a valid integer (got '3')", INTEGER),
        ("replicas", 2.5, "", "input should be a valid integer (got 2.5)", INTEGER),
        ("replicas", True, "", "input should be a valid integer (got True)", INTEGER),
        ("replicas", None, "", "input should be a valid integer (got nothing)", INTEGER),
        ("autoscale", 3, "", "input should be a map (got 3)", MAP),
        ("autoscale", {}, ".max", "field required", "add it"),
        ("autoscale", {"min": 5, "max": 2}, "",
         "the smallest number, 5, is above the largest, 2", "exchange them"),
        ("autoscale", {"max": 2, "memory": 70}, ".memory", "there is no key 'memory' here",
         "valid: cpu, max, min, queue_length, queue_name"),
        ("concurrency", 1001, "", "input should be less than or equal to 1000 (got 1001)",
         "use at most 1000"),
        ("concurrency", "two", "", "input should be a valid integer (got 'two')", INTEGER),
        ("profiles", "flower", "", "input should be a valid list (got 'flower')", "write a list"),
        ("port_offsets", -1, "", "input should be greater than or equal to 0 (got -1)",
         "use at least 0"),
        ("subnets", "172.29.0.1/16", "", "'172.29.0.1/16' is not an IPv4 network",
         "write it like '172.28.0.0/16', with the first address of the network"),
        ("subnets", "8.8.0.0/16", "",
         "8.8.0.0/16 is not a private network: what lies there could not be reached any more",
         "use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"),
        ("subnets", "172.29.0.0", "", "'172.29.0.0' has no useful size",
         "use a prefix from /8 to /29"),
        ("domains", "https://x.example.com", "", "'https://x.example.com' is not a host name",
         "write it in lower case, such as 'api.example.com' or '*.example.com'"),
        ("domains", 5, "", "input should be a valid string (got 5)", QUOTES),
        ("tls", "self_signed", "", "input should be a map", MAP),
        # What YAML makes of `off`.
        ("tls", {"mode": False}, ".mode", "input should be a valid string (got False)", QUOTES),
        ("tls", {"mode": "givn"}, ".mode", "this is not one of the valid words (got 'givn')",
         "did you mean 'given'? valid: digitalocean, given, lets_encrypt, off, self_signed"),
        ("tls", {"mode": "digitalocean"}, ".certificate_id",
         "is missing, and the mode is digitalocean", "add it, or choose a mode"),
        ("tls", {"mode": "self_signed", "email": "me@example.com"}, ".email",
         "'email' says nothing where the mode is self_signed",
         "remove it, or set the mode to lets_encrypt"),
        ("sources", ["../pigmeu"], "", "input should be a valid string (got a list)", QUOTES),
        # Somebody may have put a password there.
        ("variables", 1234, "", "input should be a valid string", QUOTES),
    ],
)  # fmt: skip
def test_a_wrong_value_in_a_map_is_named(
    key: str, value: object, below: str, why: str, remedy: str
) -> None:
    found = mistake(key, {"pigmeu/worker": value})
    assert found == Mistake(f"tiers:{key}.pigmeu/worker{below}", why, remedy)


def test_mistakes_in_maps_are_told_together() -> None:
    found = mistakes(
        replicas={"a/b": 0, "a/c": "many"},
        autoscale={"a/b": {"max": 0}},
        subnets={"a": "no"},
        domains="x.example.com",
        tls={"a": {"mode": "given"}},
        profiles={"a": ["X"]},
    )
    assert [item.place for item in found] == [
        "tiers:autoscale.a/b.max",
        "tiers:domains",
        "tiers:profiles.a[0]",
        "tiers:replicas.a/b",
        "tiers:replicas.a/c",
        "tiers:subnets.a",
        "tiers:tls.a.certificate",
        "tiers:tls.a.key",
    ]


KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "tls",
    [
        KEY,
        [KEY],
        {"pigmeu": KEY},
        {"pigmeu": [KEY]},
        json.dumps({"pigmeu": {"key": KEY}})[:-1],
        {"pigmeu": {"mode": KEY}},
        {"pigmeu": {"mode": "given", "keyy": KEY}},
        {"pigmeu": {"mode": "given", "key": [KEY]}},
        {"pigmeu": {"mode": "given", "key": {"pem": KEY}, "certificate": KEY}},
        {"pigmeu": {"mode": "given", "key": KEY, "certificate": KEY}},
        {"pigmeu": {"mode": "lets_encrypt", "email": KEY, "directory": KEY}},
        {"pigmeu": {"mode": "digitalocean", "certificate_id": KEY}},
    ],
)
def test_a_private_key_is_never_repeated(tls: object) -> None:
    with pytest.raises(DescriptionError) as told:
        read_settings({"tiers:tls": tls})
    assert "MIIEv" not in str(told.value)
    assert "tiers:tls" in str(told.value)


# --- mirrors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("", ()),
        (" , ", ()),
        ("mirror.example.com/hub", (("", "mirror.example.com/hub"),)),
        ("localhost:5000/", (("", "localhost:5000"),)),
        (
            "docker.io=m.example.com/h, ghcr.io/=m.example.com/g/",
            (("docker.io", "m.example.com/h"), ("ghcr.io", "m.example.com/g")),
        ),
        (
            "m.example.com,docker.io=a.example.com,docker.io/me=b.example.com",
            (
                ("docker.io/me", "b.example.com"),
                ("docker.io", "a.example.com"),
                ("", "m.example.com"),
            ),
        ),
    ],
)
def test_rules_for_mirrors_are_read_longest_first(
    text: str, rules: tuple[tuple[str, str], ...]
) -> None:
    assert read_settings({"tiers:registry": text}).registry.rules == rules


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mirror", "'mirror' is not a rule for images: its replacement 'mirror' is not a registry"),
        ("https://m.example.com", "'https://m.example.com' is not a rule for images:"
         " its replacement 'https://m.example.com' is not a registry"),
        ("m.example.com/Hub", "'m.example.com/Hub' is not a rule for images:"
         " its replacement 'm.example.com/Hub' is not a registry"),
        ("m.example.com/hub:1", "'m.example.com/hub:1' is not a rule for images:"
         " its replacement 'm.example.com/hub:1' is not a registry"),
        ("docker.io=", "'docker.io=' is not a rule for images: its replacement '' is not a"
         " registry"),
        ("hub=m.example.com", "'hub=m.example.com' is not a rule for images:"
         " its prefix 'hub' is not a registry"),
        ("a.io=b.io=c.io", "'a.io=b.io=c.io' is not a rule for images:"
         " its prefix 'a.io=b.io' is not a registry"),
        ("=m.example.com", "'=m.example.com' has nothing before '='"),
        ("docker.io=a.io,docker.io/=b.io", "two rules for docker.io: 'a.io' and 'b.io'"),
        ("a.io,b.io", "two rules for every image: 'a.io' and 'b.io'"),
        ("ü.io", "'ü.io' is not a rule for images: its replacement 'ü.io' is not a registry"),
    ],
)  # fmt: skip
def test_a_malformed_rule_for_mirrors_is_refused(text: str, why: str) -> None:
    found = mistake("registry", text)
    assert (found.place, found.why) == ("tiers:registry", why)
    assert found.remedy


# --- the project file -----------------------------------------------------------------------------


def test_the_project_file_declares_the_same_keys_types_and_defaults() -> None:
    declared: dict[str, dict[str, Any]] = yaml.safe_load(
        (PROJECT / "Pulumi.yaml").read_text(encoding="utf-8")
    )["config"]
    declared = {key: entry for key, entry in declared.items() if ":" not in key}
    # Maps are checked by the library alone.
    maps = STRUCTURED - {"systems"}
    assert set(declared) == set(Settings.model_fields) - maps
    schema = Settings.model_json_schema(mode="serialization")["properties"]
    words = (
        *("registry", "environment", "target", "names", "databases", "protect", "gpu", "publish"),
    )
    types = dict.fromkeys(words, "string")
    defaults = {"registry": ""}
    for key, entry in declared.items():
        assert entry["type"] == types.get(key) or schema[key]["type"], key
        assert entry["default"] == defaults.get(key, schema[key].get("default")), key
        assert entry["description"], key
    assert declared["systems"]["items"] == schema["systems"]["items"] == {"type": "string"}


@pytest.mark.parametrize(
    ("stack", "environment", "target"),
    [
        ("dev", Environment.DEVELOPMENT, Target.DOCKER),
        ("prod", Environment.PRODUCTION, Target.DIGITALOCEAN),
    ],
)
def test_the_documented_stacks_are_valid(
    stack: str, environment: Environment, target: Target
) -> None:
    content = yaml.safe_load((PROJECT / f"Pulumi.{stack}.yaml").read_text(encoding="utf-8"))
    settings = read_settings(content["config"])
    assert (settings.environment, settings.target) == (environment, target)


@pytest.mark.parametrize(
    "logins",
    [
        {"docker.io": {"username": "me", "password": 4242424242}},
        {"docker.io": "me:4242424242"},
        "4242424242",
        '{"docker.io": {"username": "me", "password": "4242424242"',
        {"me:4242424242@ghcr.io": {"username": "me", "password": "x" * 20}},
    ],
)
def test_a_login_is_never_repeated(logins: object) -> None:
    with pytest.raises(DescriptionError) as told:
        read_settings({"tiers:registry_logins": logins})
    assert "4242424242" not in str(told.value)
    assert "registry_logins" in str(told.value)
