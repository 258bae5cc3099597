"""Every part of a description says what is wrong with it: where, why, and what to do."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pulumi
import pytest
from pulumi_tiers.app_tier import (
    AppTierArgs,
    AppTierSpec,
    AutoscaleArgs,
    BuildArgs,
    HealthcheckArgs,
    LoadBalancerArgs,
    PortArgs,
    SourceArgs,
    VolumeArgs,
    WorkloadArgs,
)
from pulumi_tiers.cluster import ClusterArgs, ClusterSpec
from pulumi_tiers.component import validated
from pulumi_tiers.data_tier import (
    BucketArgs,
    DatabaseArgs,
    DataTierArgs,
    DataTierSpec,
    IndexArgs,
    ManagedArgs,
    PolicyArgs,
    QueueArgs,
    ResourcesArgs,
    StoreArgs,
    StoreHealthArgs,
    VhostArgs,
    VhostUserArgs,
)
from pulumi_tiers.edge_proxy import (
    EdgePortsArgs,
    EdgeProxyArgs,
    EdgeProxySpec,
    Endpoint,
    RateLimitArgs,
    RouteArgs,
    SnippetsArgs,
    TimeoutsArgs,
    TlsArgs,
    UpstreamArgs,
)
from pulumi_tiers.model import observability
from pulumi_tiers.model.base import Model, seconds, size_in_bytes
from pulumi_tiers.model.edge import (
    EdgePorts,
    RateLimit,
    Route,
    Snippets,
    Timeouts,
    Tls,
    Upstream,
)
from pulumi_tiers.model.errors import (
    DescriptionError,
    Mistake,
    mistakes_of,
    nearest,
    place_of,
    shown,
)
from pulumi_tiers.model.image import Image, Mirrors, RegistryLogin
from pulumi_tiers.model.network import AddressRange, Network
from pulumi_tiers.model.place import ClusterPlace, NetworkPlace, Place
from pulumi_tiers.model.references import Reference, literal, references, substitute
from pulumi_tiers.model.store import (
    Bucket,
    Database,
    Index,
    Managed,
    Policy,
    Queue,
    Store,
    StoreHealth,
    Vhost,
    VhostUser,
)
from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.model.workload import (
    Autoscale,
    Build,
    Condition,
    Healthcheck,
    LoadBalancer,
    Port,
    Resources,
    RestartPolicy,
    Source,
    Volume,
    Workload,
)
from pulumi_tiers.observability import component as watching
from pulumi_tiers.platforms.base import ClusterRef, EndpointArgs, NetworkRef, SiteRef
from pulumi_tiers.site import NetworkArgs, RegistryLoginArgs, SiteArgs, SiteSpec
from pulumi_tiers.state_bucket import StateBucketArgs, StateBucketSpec
from pydantic import ValidationError

DIGEST = "sha256:" + "0123456789abcdef" * 4


def mistakes(kind: type[Model], values: Mapping[str, object]) -> list[Mistake]:
    """What is wrong with a part of a description, in order."""
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(values)
    return sorted(mistakes_of(caught.value))


def workload(**keys: object) -> dict[str, object]:
    return {"image": "me/api:1", **keys}


# --- how mistakes are told ------------------------------------------------------------------------


def test_a_mistake_names_place_why_and_remedy() -> None:
    assert str(Mistake("services.api", "it is blue", "paint it")) == (
        "services.api: it is blue\n    paint it"
    )


def test_a_mistake_without_a_remedy_keeps_its_place() -> None:
    assert str(Mistake("services.api", "it is blue", "")) == "services.api: it is blue"


def test_mistakes_are_counted_sorted_and_told_once() -> None:
    error = DescriptionError([Mistake("b", "2", ""), Mistake("a", "1", ""), Mistake("b", "2", "")])
    assert str(error) == "2 mistakes in the description; nothing was changed\n  a: 1\n  b: 2"
    assert str(DescriptionError([Mistake("a", "1", "")])).startswith("1 mistake in")


def test_nothing_in_a_message_acts_on_the_terminal_or_cannot_be_printed() -> None:
    told = str(Mistake("a\nb", "\x1b[31mred\u202e \ud800", "caf\u00e9"))
    assert told == r"a\nb: \x1b[31mred\u202e \ud800" + "\n    café"
    told.encode()


def test_a_message_is_not_endless() -> None:
    assert len(str(Mistake("a" * 10**6, "b" * 10**6, ""))) == 2002


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        ("red", "'red'"),
        ("x" * 81, "'" + "x" * 77 + "'..."),
        (True, "True"),
        (1.5, "1.5"),
        pytest.param(10**5000, "a value of type int", id="endless"),
        (["hidden"], "a list"),
        (("hidden",), "a list"),
        ({"hidden": 1}, "a map"),
        (object(), "a value of type object"),
    ],
)
def test_values_are_shown_short(value: object, text: str) -> None:
    assert shown(value) == text


def test_the_nearest_word_comes_first() -> None:
    assert nearest("pythn", ["ruby", "python"]) == "did you mean 'python'? valid: python, ruby"
    assert nearest("x", ["ruby", "python"]) == "valid: python, ruby"
    assert nearest("x", []) == "valid: none"
    # Comparing takes time that grows with the square of the length.
    assert nearest("x" * 10**6, ["python"]) == "valid: python"


def test_a_place_is_written_as_people_write_it() -> None:
    assert place_of(["services", "api", "ports", 1, "target"]) == "services.api.ports[1].target"


# --- keys and kinds of values ---------------------------------------------------------------------


def test_an_unknown_key_suggests_the_nearest() -> None:
    [found] = mistakes(Workload, workload(enviroment={}))
    assert found.place == "enviroment"
    assert found.why == "there is no key 'enviroment' here"
    valid = ", ".join(sorted(Workload.model_fields))
    assert found.remedy == f"did you mean 'environment'? valid: {valid}"


def test_an_unknown_key_below_names_its_own_neighbours() -> None:
    assert mistakes(Workload, workload(ports=[{"target": 80}, {"target": 81, "publish": 1}])) == [
        Mistake(
            "ports[1].publish",
            "there is no key 'publish' here",
            "did you mean 'published'? valid: host_ip, load_balancer, published, scheme, target",
        )
    ]


@pytest.mark.parametrize(
    ("key", "value", "why", "remedy"),
    [
        ("command", "sh -c ls", "input should be a valid list (got 'sh -c ls')", "write a list"),
        ("environment", ["A=1"], "input should be a map (got a list)", "write a map"),
        ("depends_on", ["db"], "input should be a map (got a list)", "write a map"),
        ("resources", "big", "input should be a map (got 'big')", "write a map of its keys"),
        ("ports", None, "input should be a valid list (got nothing)", "write a list"),
        ("read_only", "yes", "input should be a valid boolean (got 'yes')", "write true or false"),
        ("read_only", 1, "input should be a valid boolean (got 1)", "write true or false"),
        (
            "user",
            1000,
            "input should be a valid string (got 1000)",
            "write a text (in YAML, put it into quotes)",
        ),
        (
            "restart",
            "allways",
            "this is not one of the valid words (got 'allways')",
            "did you mean 'always'? valid: always, no, on-failure, unless-stopped",
        ),
        # YAML reads a bare `no` as a truth value.
        (
            "restart",
            False,
            "input should be a valid string (got False)",
            "write a text (in YAML, put it into quotes)",
        ),
    ],
)
def test_a_wrong_kind_of_value_is_named(key: str, value: object, why: str, remedy: str) -> None:
    assert mistakes(Workload, workload(**{key: value})) == [Mistake(key, why, remedy)]


@pytest.mark.parametrize("value", [8000, True, None, 1.5, ["x"]])
def test_an_environment_value_is_a_text(value: object) -> None:
    assert mistakes(Workload, workload(environment={"PORT": value})) == [
        Mistake(
            "environment.PORT",
            f"input should be a valid string (got {shown(value)})",
            "write a text (in YAML, put it into quotes)",
        )
    ]


@pytest.fixture
def later() -> Iterator[pulumi.Output[str]]:
    """A value that is known later, with the event loop that it needs."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield pulumi.Output.from_input("me/api:1")
    loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop)))
    loop.close()
    asyncio.set_event_loop(None)


def test_a_value_that_is_known_later_is_a_text_too(later: pulumi.Output[str]) -> None:
    made = Workload.model_validate({"image": later, "environment": {"A": later}})
    assert made.image is later
    assert made.environment["A"] is later


def test_a_value_that_is_known_later_is_not_a_number(later: pulumi.Output[str]) -> None:
    why = "input should be a valid integer (got a value of type Output)"
    assert mistakes(Workload, workload(replicas=later)) == [Mistake("replicas", why, WHOLE)]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\0b", "a text cannot hold a NUL character"),
        ("\ud800", "this text holds half of a character"),
        ("é" * 60_001, "this text has 120002 bytes, more than Linux gives to a program in one"),
    ],
)
@pytest.mark.parametrize("key", ["environment", "secrets"])
def test_a_text_must_fit_into_a_variable(key: str, text: str, why: str) -> None:
    [found] = mistakes(Workload, workload(**{key: {"A": text}}))
    assert found.place == f"{key}.A"
    assert found.why.startswith(why)


# --- numbers and sizes ----------------------------------------------------------------------------

WHOLE = "write a whole number, without quotes"


@pytest.mark.parametrize(
    ("value", "why", "remedy"),
    [
        (0, "input should be greater than or equal to 1 (got 0)", "use at least 1"),
        (-1, "input should be greater than or equal to 1 (got -1)", "use at least 1"),
        (101, "input should be less than or equal to 100 (got 101)", "use at most 100"),
        pytest.param(
            10**5000,
            "input should be less than or equal to 100 (got a value of type int)",
            "use at most 100",
            id="endless",
        ),
        (True, "input should be a valid integer (got True)", WHOLE),
        ("2", "input should be a valid integer (got '2')", WHOLE),
        (1.5, "input should be a valid integer (got 1.5)", WHOLE),
        (None, "input should be a valid integer (got nothing)", WHOLE),
        (float("nan"), "input should be a valid integer (got nan)", WHOLE),
    ],
)
def test_replicas_are_a_small_whole_number(value: object, why: str, remedy: str) -> None:
    assert mistakes(Workload, workload(replicas=value)) == [Mistake("replicas", why, remedy)]


def test_whole_numbers_may_be_written_as_floats_as_plugins_are_given_them() -> None:
    made = Workload.model_validate(workload(replicas=2.0, ports=[{"target": 8000.0}]))
    assert (made.replicas, made.ports[0].target) == (2, 8000)
    assert isinstance(made.replicas, int)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (0, "0 is not a port"),
        (65536, "65536 is not a port"),
        (-1, "-1 is not a port"),
        ("80", "input should be a valid integer (got '80')"),
        (True, "input should be a valid integer (got True)"),
    ],
)
@pytest.mark.parametrize("key", ["target", "published", "load_balancer"])
def test_a_port_is_1_to_65535(key: str, value: object, why: str) -> None:
    [found] = mistakes(Port, {"target": 80, key: value})
    assert (found.place, found.why) == (key, why)


@pytest.mark.parametrize(
    ("value", "why", "remedy"),
    [
        (0, "input should be greater than or equal to 0.01 (got 0)", "use at least 0.01"),
        (0.001, "input should be greater than or equal to 0.01 (got 0.001)", "use at least 0.01"),
        (-1.0, "input should be greater than or equal to 0.01 (got -1.0)", "use at least 0.01"),
        (513, "input should be less than or equal to 512 (got 513)", "use at most 512.0"),
        ("1", "input should be a valid number (got '1')", "write a number, without quotes"),
        (True, "input should be a valid number (got True)", "write a number, without quotes"),
    ],
)
def test_cpus_are_a_number_that_the_kernel_can_share_out(
    value: object, why: str, remedy: str
) -> None:
    assert mistakes(Resources, {"cpus": value}) == [Mistake("cpus", why, remedy)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_cpus_are_finite(value: float) -> None:
    [found] = mistakes(Resources, {"cpus": value})
    assert found.place == "cpus"


@pytest.mark.parametrize(
    "size",
    ["lots", "0", "0m", "-1m", "1MiB", "1.5g", "1t", "m", "", "64 m", "1bb", "512",
     "\u0663m", "1\u212a", "9" * 16 + "b", "1" * 5000 + "m"],
)  # fmt: skip
def test_a_memory_size_that_is_none_is_refused(size: str) -> None:
    assert mistakes(Resources, {"memory": size}) == [
        Mistake(
            "memory",
            f"{shown(size)} is not a memory size",
            "write it like Compose does: '64m', '1g'",
        )
    ]


def test_memory_has_bounds() -> None:
    for size in ("5m", "1k", "6291455b"):
        assert mistakes(Resources, {"memory": size}) == [
            Mistake(
                "memory",
                f"a memory limit of '{size}' is too small to run anything",
                "give at least '6m'",
            )
        ]
    [found] = mistakes(Resources, {"memory": "1048577g"})
    assert found.remedy == "give at most '1048576g'"
    for size in ("6m", "1048576g"):
        assert Resources(memory=size).memory == size


@pytest.mark.parametrize(
    ("size", "count"),
    [("7000000b", 7_000_000), ("64m", 64 * 2**20), ("64MB", 64 * 2**20), ("1g", 2**30),
     ("9000K", 9000 * 1024), ("1GB", 2**30)],
)  # fmt: skip
def test_memory_is_counted_as_compose_counts(size: str, count: int) -> None:
    assert size_in_bytes(Resources(memory=size).memory) == count


@pytest.mark.parametrize("size", ["10", "10G", "0Gi", "-1Gi", "1.5Gi", "\u0663Gi", "1234567Gi"])
def test_a_storage_size_that_is_none_is_refused(size: str) -> None:
    assert mistakes(Volume, {"name": "data", "target": "/data", "size": size}) == [
        Mistake("size", f"'{size}' is not a storage size", "write it like Kubernetes does: '10Gi'")
    ]


@pytest.mark.parametrize("text", ["", "30", "s", "1.5s", "-1s", "1s1m", "30 s", "\u0663s"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    assert mistakes(Workload, workload(stop_grace_period=text)) == [
        Mistake(
            "stop_grace_period",
            f"{shown(text)} is not a duration",
            "write it like Compose does: '30s', '1m30s', '500ms'",
        )
    ]


def test_a_duration_is_a_day_at_most() -> None:
    assert mistakes(Workload, workload(stop_grace_period="24h1ms")) == [
        Mistake("stop_grace_period", "'24h1ms' is longer than a day", "use at most '24h'")
    ]
    assert Workload.model_validate(workload(stop_grace_period="24h")).stop_grace_period == "24h"


@pytest.mark.parametrize(
    ("text", "count"), [("500ms", 0.5), ("30s", 30), ("1m30s", 90), ("1h1m1s1ms", 3661.001)]
)
def test_durations_are_counted(text: str, count: float) -> None:
    assert seconds(text) == count


# --- names and paths ------------------------------------------------------------------------------

NAME_RULE = (
    "use lower-case letters, digits and hyphens, starting with a letter and not ending in a hyphen"
)


@pytest.mark.parametrize("name", ["", "Api", "1api", "-api", "api-", "a_b", "a.b", "a b", "api\n",
                                  "é", "\u0430pi", "api/../x", "${x}"])  # fmt: skip
@pytest.mark.parametrize("key", ["services", "stores"])
def test_an_invalid_name_is_refused(key: str, name: str) -> None:
    part: dict[str, object] = workload() if key == "services" else {"engine": "postgres"}
    assert mistakes(System, system(**{key: {name: part}})) == [
        Mistake(f"{key}.{name}", f"{name!r} is not a valid name", NAME_RULE)
    ]


@pytest.mark.parametrize(
    "name", ["localhost", "host", "gateway", "default", "kubernetes", "tiers", "secret"]
)
def test_a_reserved_name_is_refused(name: str) -> None:
    assert mistakes(System, system(services={name: workload()})) == [
        Mistake(
            f"services.{name}",
            f"the name '{name}' is reserved",
            "choose another: a host or an object is called so already",
        )
    ]


def test_a_name_has_40_characters_at_most() -> None:
    assert System.model_validate(system(services={"a" * 40: workload()}))
    assert mistakes(System, system(services={"a" * 41: workload()})) == [
        Mistake(f"services.{'a' * 41}", f"'{'a' * 41}' has 41 characters", "use at most 40")
    ]


def test_a_volume_is_named_after_what_it_belongs_to() -> None:
    assert Volume(name="a" * 40 + "-data", target="/data")


@pytest.mark.parametrize(
    "path", ["", "data", "./data", "/", "/data/", "//data", "/a//b", "/a/../b", "/a/./b", "/a:b",
             "/a,b", "/a\nb", "/a\0b"],
)  # fmt: skip
@pytest.mark.parametrize("key", ["volumes", "tmpfs"])
def test_a_path_has_one_spelling(key: str, path: str) -> None:
    value = [{"name": "data", "target": path}] if key == "volumes" else {path: ""}
    assert mistakes(Workload, workload(**{key: value})) == [
        Mistake(
            "volumes[0].target" if key == "volumes" else f"tmpfs.{path}",
            f"{path!r} is not an absolute path",
            "write the whole path, such as '/data', without '..', ':', ',' or a '/' at its end",
        )
    ]


def test_paths_may_have_dots() -> None:
    assert Volume(name="data", target="/a/.b/..c/d.e").target == "/a/.b/..c/d.e"


@pytest.mark.parametrize("name", ["", "1A", "A-B", "A B", "A=B", "A.B", "Á"])
@pytest.mark.parametrize("key", ["environment", "secrets"])
def test_a_variable_that_no_program_could_read_is_refused(key: str, name: str) -> None:
    assert mistakes(Workload, workload(**{key: {name: "x"}})) == [
        Mistake(
            f"{key}.{name}",
            f"{name!r} is not a name for an environment variable",
            "use letters, digits and underscores, not starting with a digit",
        )
    ]


@pytest.mark.parametrize("address", ["", "localhost", "lots", "256.0.0.1", "::", "127.0.0.1 ", "*"])
def test_a_host_address_is_an_ipv4_address(address: str) -> None:
    assert mistakes(Port, {"target": 80, "host_ip": address}) == [
        Mistake(
            "host_ip",
            f"{address!r} is not an address of the Docker host",
            "write an IPv4 address: '127.0.0.1', or '0.0.0.0' for every address it has",
        )
    ]


@pytest.mark.parametrize("user", ["", "root", "1000", "1000:", ":1000", "a:b", "1:2:3", "-1:0",
                                  "\u0661:\u0661", "2147483648:0"])  # fmt: skip
def test_a_user_is_two_numbers(user: str) -> None:
    assert mistakes(Workload, workload(user=user)) == [
        Mistake("user", f"{user!r} is not uid:gid", "write numbers, such as '1000:1000'")
    ]


@pytest.mark.parametrize(
    ("test", "text"),
    [
        ([], "''"),
        (["CMD"], "'CMD'"),
        (["CMD-SHELL"], "'CMD-SHELL'"),
        # The first is always healthy, the others never are.
        (["CMD-SHELL", ""], "'CMD-SHELL '"),
        (["CMD-SHELL", " "], "'CMD-SHELL  '"),
        (["CMD", ""], "'CMD '"),
        (["CMD-SHELL", "a", "b"], "'CMD-SHELL a b'"),
        (["curl", "-f", "http://localhost"], "'curl -f http://localhost'"),
        (["NONE", "x"], "'NONE x'"),
    ],
)
def test_a_health_check_has_composes_form(test: list[str], text: str) -> None:
    assert mistakes(Healthcheck, {"test": test}) == [
        Mistake(
            "test",
            f"{text} is not a test",
            "write [CMD, program, argument ...], [CMD-SHELL, a line for the shell] or [NONE]",
        )
    ]


@pytest.mark.parametrize(
    "options",
    ["rw,noexec", "size=64m,uid=1000,gid=1000,mode=0700", "size=50%", "size=7000000", ""],
)
def test_a_tmpfs_takes_dockers_options(options: str) -> None:
    assert Workload.model_validate(workload(tmpfs={"/tmp": options})).tmpfs == {"/tmp": options}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (" ", "' ' is not an option of a tmpfs"),
        ("=1", "'=1' is not an option of a tmpfs"),
        ("size", "'size' is not an option of a tmpfs"),
        ("size=64m,", "'' is not an option of a tmpfs"),
        ("size=64m,,rw", "'' is not an option of a tmpfs"),
        ("rw\n", "'rw\\n' is not an option of a tmpfs"),
        ("foo=1", "'foo=1' is not an option of a tmpfs"),
        ("noexc", "'noexc' is not an option of a tmpfs"),
        ("size=", "'' is not a size of a tmpfs"),
        ("size=6 4m", "'6 4m' is not a size of a tmpfs"),
        ("size=1\u212a", "'1\u212a' is not a size of a tmpfs"),
        ("mode=0999", "'0999' is not a mode of a tmpfs"),
        ("rw," * 100 + "rw", "are not options of a tmpfs"),
    ],
)
def test_what_is_no_option_of_a_tmpfs_is_refused(options: str, why: str) -> None:
    [found] = mistakes(Workload, workload(tmpfs={"/tmp": options}))
    assert found.place == "tmpfs./tmp"
    assert why in found.why
    if options == "noexc":
        assert "did you mean 'noexec'?" in found.remedy


@pytest.mark.parametrize("key", ["interval", "timeout"])
def test_a_health_check_takes_its_time(key: str) -> None:
    """Docker takes 0 for its own default."""
    wrong = {"test": ["CMD", "true"], key: "0s"}
    [found] = mistakes(Workload, workload(healthcheck=wrong))
    assert found.place == f"healthcheck.{key}"
    [found] = mistakes(Store, {"engine": "redis", "healthcheck": {key: "0s"}})
    assert found.place == f"healthcheck.{key}"


@pytest.mark.parametrize(
    ("folder", "why"),
    [
        ("/var/run/docker.sock", "the daemon's socket"),
        ("/run/./docker.sock/", "the daemon's socket"),
        ("/a:b", "holds a colon"),
    ],
)
def test_a_folder_of_the_machine_is_no_way_round(folder: str, why: str) -> None:
    [found] = mistakes(Workload, workload(binds={"/app": folder}))
    assert found.place == "binds./app"
    assert why in found.why


@pytest.mark.parametrize(
    "capability", ["", "FOO", "NET BIND", "NET-BIND", "k\u0131ll", "A" * 41, "ALL\n"]
)
def test_a_capability_is_one_of_the_kernels(capability: str) -> None:
    assert mistakes(Workload, workload(cap_add=[capability])) == [
        Mistake(
            "cap_add[0]",
            f"{capability!r} is not a capability",
            "write it like 'NET_BIND_SERVICE'",
        )
    ]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("path", "health", "'health' is not the path of a URL"),
        ("path", "/a b", "'/a b' is not the path of a URL"),
        ("retries", 0, "input should be greater than or equal to 1 (got 0)"),
        ("retries", True, "input should be a valid integer (got True)"),
        ("interval", "often", "'often' is not a duration"),
    ],
)
def test_a_health_check_is_checked(key: str, value: object, why: str) -> None:
    [found] = mistakes(Healthcheck, {"test": ["CMD", "true"], key: value})
    assert (found.place, found.why) == (key, why)


@pytest.mark.parametrize("scheme", ["", "HTTP", "http://", "1http"])
def test_a_scheme_begins_a_url(scheme: str) -> None:
    [found] = mistakes(Port, {"target": 80, "scheme": scheme})
    assert found.why == f"{scheme!r} is not the beginning of a URL"


@pytest.mark.parametrize("key", ["context", "dockerfile", "target"])
def test_a_build_says_what_it_builds(key: str) -> None:
    assert mistakes(Build, {"context": ".", key: ""}) == [
        Mistake(key, "the text is empty", "write it out, or leave the key out")
    ]


# --- images ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reference", "image"),
    [
        ("postgres", Image("docker.io", "postgres", None, None)),
        ("postgres:15", Image("docker.io", "postgres", "15", None)),
        ("me/api:main-1a2B", Image("docker.io", "me/api", "main-1a2B", None)),
        ("ghcr.io/owner/api", Image("ghcr.io", "owner/api", None, None)),
        ("localhost/api:1", Image("localhost", "api", "1", None)),
        ("registry:5000/a/b_c/d--e.f:1", Image("registry:5000", "a/b_c/d--e.f", "1", None)),
        ("Mirror.example.com/api", Image("Mirror.example.com", "api", None, None)),
        (f"postgres@{DIGEST}", Image("docker.io", "postgres", None, DIGEST)),
        (f"ghcr.io/a/b:1@{DIGEST}", Image("ghcr.io", "a/b", "1", DIGEST)),
        ("a/" * 100 + "a", Image("docker.io", "a/" * 100 + "a", None, None)),
    ],
)
def test_an_image_reference_is_understood(reference: str, image: Image) -> None:
    assert Image.parse(reference) == image
    assert str(image) == reference


@pytest.mark.parametrize(
    "reference",
    ["", " ", "Postgres", "me/API:1", "my image", "postgres:", "postgres:a b", ":15", "/postgres",
     "postgres/", "a//b", "-a", "a_", "a___b", "http://ghcr.io/a/b", "postgres:15\n", "${IMAGE}",
     "postgres:15:16", "postgrés", "postgres:ünï", "\u03c1ostgres", "a:" + "1" * 129,
     "a@sha256:abc", "a@" + DIGEST[:-1], "a@" + DIGEST.upper(), "a@md5:" + "0" * 32, "a" * 10**5],
)  # fmt: skip
def test_what_is_no_image_reference_is_refused(reference: str) -> None:
    assert mistakes(Workload, {"image": reference}) == [
        Mistake(
            "image",
            f"{shown(reference)} is not an image reference",
            "write it like 'postgres:15' or 'ghcr.io/owner/name:tag', in lower case",
        )
    ]


def test_an_image_name_has_255_characters_at_most() -> None:
    longest = "a" * (255 - len("docker.io/"))
    assert Image.parse(longest)
    [found] = mistakes(Workload, {"image": longest + "a"})
    assert found.remedy == "use at most 255 characters before the tag"


@pytest.mark.parametrize(
    ("rules", "reference", "mirrored"),
    [
        ("", "postgres:15", "postgres:15"),
        ("mirror.example.com/hub", "postgres:15", "mirror.example.com/hub/postgres:15"),
        ("mirror.example.com/hub/", "me/api", "mirror.example.com/hub/me/api"),
        ("mirror.example.com/hub", "ghcr.io/a/b:1", "mirror.example.com/hub/a/b:1"),
        ("m.example.com", "docker.io/postgres:15", "m.example.com/postgres:15"),
        ("m.example.com", f"postgres:15@{DIGEST}", f"m.example.com/postgres:15@{DIGEST}"),
        ("docker.io=m.example.com/h", "postgres:15", "m.example.com/h/postgres:15"),
        ("docker.io=m.example.com/h", "docker.io/me/api:1", "m.example.com/h/me/api:1"),
        ("docker.io=m.example.com/h", "ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        ("docker.io=m.example.com/h,ghcr.io=m.example.com/g", "ghcr.io/a/b", "m.example.com/g/a/b"),
        # The longest prefix wins, wherever it stands.
        ("docker.io=a.example.com,docker.io/me=b.example.com", "me/api:1", "b.example.com/api:1"),
        ("docker.io/me=b.example.com,docker.io=a.example.com", "me/api:1", "b.example.com/api:1"),
        ("docker.io/me=b.example.com,docker.io=a.example.com", "mea/b:1", "a.example.com/mea/b:1"),
        ("quay.io=q.example.com,m.example.com", "postgres", "m.example.com/postgres"),
        # One repository.
        ("docker.io/me/api=m.example.com/it", "me/api:1", "m.example.com/it:1"),
        # The other name of Docker Hub's own images.
        ("docker.io/library=m.example.com/l", "postgres:15", "m.example.com/l/postgres:15"),
        ("docker.io/library=m.example.com/l", "library/postgres", "m.example.com/l/postgres"),
        ("docker.io/library=m.example.com/l", "me/api:1", "me/api:1"),
        # What is there already stays.
        ("m.example.com/hub", "m.example.com/hub/postgres:15", "m.example.com/hub/postgres:15"),
        ("docker.io=docker.io/me", "me/api:1", "me/api:1"),
    ],
)
def test_images_come_from_mirrors(rules: str, reference: str, mirrored: str) -> None:
    mirrors = Mirrors.parse(rules)
    assert mirrors.apply(reference) == mirrored
    assert mirrors.apply(mirrored) == mirrored


# --- references -----------------------------------------------------------------------------------


def test_references_are_found_in_their_order() -> None:
    assert references("${db.host}:${db.port}/${db.shop.database}") == [
        Reference("db.host", "db", "db", "host"),
        Reference("db.port", "db", "db", "port"),
        Reference("db.shop.database", "db", "db.shop", "database"),
    ]


@pytest.mark.parametrize("inner", ["", "db", ".", "db.", ".host", "a.b.c.d", "a..b"])
def test_a_malformed_reference_has_no_store(inner: str) -> None:
    assert references("${" + inner + "}") == [Reference(inner, "", "", "")]


@pytest.mark.parametrize("text", ["$HOME", "$", "100$", "${db.host", "$(db.host)", "{db.host}"])
def test_everything_else_stays_as_it_is(text: str) -> None:
    assert references(text) == []
    assert substitute(text, lambda _: "x") == text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("$${db.host}", "${db.host}"),
        ("$$$${db.host}", "$${db.host}"),
        ("$$${db.host}", "$x"),
        ("${db.host}$$", "x$"),
        ("$$HOME", "$HOME"),
    ],
)
def test_two_dollar_signs_are_one(text: str, meant: str) -> None:
    assert substitute(text, lambda _: "x") == meant


@pytest.mark.parametrize("text", ["$", "$$", "${db.host}", "DO $body$ x $body$", "$${a}$"])
def test_a_literal_text_means_itself(text: str) -> None:
    assert references(literal(text)) == []
    assert substitute(literal(text), lambda _: "x") == text


@pytest.mark.parametrize(
    ("field", "secret"),
    [("host", False), ("port", False), ("user", False), ("database", False), ("password", True),
     ("url", True)],
)  # fmt: skip
def test_some_fields_are_secret(field: str, *, secret: bool) -> None:
    [found] = references("${db." + field + "}")
    assert found.secret is secret


# --- parts that must fit together -----------------------------------------------------------------


def test_a_workload_tells_all_of_its_contradictions_together() -> None:
    assert mistakes(
        Workload,
        {
            "entrypoint": [""],
            "command": ["sh", ""],
            "environment": {"A": "1", "B": "2", "C": "3"},
            "secrets": {"A": "1", "C": "3"},
            "ports": [{"target": 80}, {"target": 81}, {"target": 80}],
            "tmpfs": {"/tmp": ""},
            "volumes": [
                {"name": "a", "target": "/a"},
                {"name": "b", "target": "/a"},
                {"name": "a", "target": "/c"},
                {"name": "d", "target": "/tmp"},
            ],
        },
    ) == [
        Mistake(
            "Workload",
            "this has neither an image nor a build",
            "set exactly one of 'image' and 'build'",
        ),
        Mistake(
            "command[1]",
            "a command holds an empty text",
            "remove it; Docker refuses to start it",
        ),
        Mistake(
            "entrypoint[0]",
            "a command holds an empty text",
            "remove it; Docker refuses to start it",
        ),
        Mistake(
            "environment.A",
            "the variable is set both in environment and in secrets",
            "keep it in one of them",
        ),
        Mistake(
            "environment.C",
            "the variable is set both in environment and in secrets",
            "keep it in one of them",
        ),
        Mistake("ports[2]", "the container port 80 stands twice in ports", "give each target once"),
        Mistake("volumes[1]", "something else is mounted at /a", "mount each path once"),
        Mistake("volumes[2]", "the volume 'a' stands here twice", "give each volume one target"),
        Mistake("volumes[3]", "something else is mounted at /tmp", "mount each path once"),
    ]


def test_an_image_and_a_build_exclude_each_other() -> None:
    [found] = mistakes(Workload, workload(build={"context": "."}))
    assert found.why == "this has an image and a build"


@pytest.mark.parametrize(
    "name",
    ["", "a-b", "a b", "1a", "é", "a" * 64, 'a"; DROP TABLE x; --', "a'b", "a\nb", "a\\b", "a$b"],
)
@pytest.mark.parametrize("key", ["name", "owner", "admin", "user"])
def test_a_database_or_user_name_cannot_carry_sql(key: str, name: str) -> None:
    places: dict[str, tuple[str, dict[str, object]]] = {
        "name": ("databases[0].name", {"databases": [{"name": name}]}),
        "owner": ("databases[0].owner", {"databases": [{"name": "shop", "owner": name}]}),
        "admin": ("admin", {"admin": name}),
        "user": (f"passwords.{name}", {"passwords": {name: "x"}}),
    }
    place, values = places[key]
    assert mistakes(Store, {"engine": "postgres", **values}) == [
        Mistake(
            place,
            f"{name!r} is not a name for a database or a user",
            "use at most 63 letters, digits and underscores, not starting with a digit",
        )
    ]


@pytest.mark.parametrize("name", ["pg_signal_backend", "template0", "template1", "public", "none"])
def test_a_name_of_the_server_itself_is_refused(name: str) -> None:
    assert mistakes(Database, {"name": name}) == [
        Mistake("name", f"the name '{name}' is reserved by the server", "choose another")
    ]


def test_the_name_of_an_sql_script_cannot_carry_sql() -> None:
    name = "a'); DROP TABLE x; --"
    assert mistakes(Database, {"name": "shop", "init_sql": {name: "SELECT 1"}}) == [
        Mistake(f"init_sql.{name}", f"{name!r} is not a valid name", NAME_RULE)
    ]


def test_a_database_stands_once() -> None:
    databases = [{"name": "a"}, {"name": "b"}, {"name": "a"}, {"name": "b"}]
    assert mistakes(Store, {"engine": "postgres", "databases": databases}) == [
        Mistake("databases[2]", "the database 'a' stands here twice", "give it once"),
        Mistake("databases[3]", "the database 'b' stands here twice", "give it once"),
    ]


def system(**keys: object) -> dict[str, object]:
    return {"name": "shop", "title": "Shop", "environment": "development", **keys}


def test_all_mistakes_of_a_system_are_told_together_with_their_places() -> None:
    error = DescriptionError(
        mistakes(
            System,
            system(
                environment="prod",
                stores={"db": {"size": "big"}},
                services={
                    "api": workload(image="No", replicas=0),
                    "Web": workload(ports=[{"target": 0}]),
                },
                servcies={},
            ),
        )
    )
    assert str(error) == (
        "8 mistakes in the description; nothing was changed\n"
        "  environment: this is not one of the valid words (got 'prod')\n"
        "    valid: development, production\n"
        "  servcies: there is no key 'servcies' here\n"
        f"    did you mean 'services'? valid: {', '.join(sorted(System.model_fields))}\n"
        f"  services.Web: 'Web' is not a valid name\n    {NAME_RULE}\n"
        "  services.Web.ports[0].target: 0 is not a port\n"
        "    use 1 to 65535\n"
        "  services.api.image: 'No' is not an image reference\n"
        "    write it like 'postgres:15' or 'ghcr.io/owner/name:tag', in lower case\n"
        "  services.api.replicas: input should be greater than or equal to 1 (got 0)\n"
        "    use at least 1\n"
        "  stores.db.engine: field required\n"
        "    add it\n"
        "  stores.db.size: 'big' is not a storage size\n"
        "    write it like Kubernetes does: '10Gi'"
    )


# --- files, networks, addresses, numbers ----------------------------------------------------------

FILE_RULE = "use at most 63 letters, digits, '_', '-' and '.', not beginning with '-' or '.'"


@pytest.mark.parametrize("name", ["", ".", "..", ".env", "a/b", "-a", "a b", "é", "a" * 64, "a\n"])
@pytest.mark.parametrize("key", ["configs", "secret_files"])
def test_a_file_has_a_name_without_a_folder(key: str, name: str) -> None:
    assert mistakes(Workload, workload(**{key: {name: "x"}})) == [
        Mistake(f"{key}.{name}", f"{name!r} is not a name for a file", FILE_RULE)
    ]


@pytest.mark.parametrize("name", ["a", "nginx.conf", "tls.key", "DATABASE_URL", "_x-1", "a" * 63])
def test_usual_names_of_files_are_taken(name: str) -> None:
    made = Workload.model_validate(
        workload(secret_files={name: "x"}, configs={f"{name[:62]}1": ""})
    )
    assert f"/run/secrets/{name}" in made.files
    assert f"/run/configs/{name[:62]}1" in made.files


@pytest.mark.parametrize(
    ("keys", "place", "why", "remedy"),
    [
        (
            {"configs": {"a": "x"}, "secret_files": {"a": "y", "b": "z"}},
            "configs.a",
            "the file is also in secret_files",
            "keep it in one of them",
        ),
        (
            {"configs": {"a": "x"}, "tmpfs": {"/run/configs": ""}},
            "Workload",
            "two things are mounted at /run/configs",
            "mount each path once",
        ),
        (
            {"secret_files": {"a": "x"}, "volumes": [{"name": "a", "target": "/run/secrets"}]},
            "volumes[0]",
            "something else is mounted at /run/secrets",
            "mount each path once",
        ),
        (
            {"binds": {"/app": "."}, "tmpfs": {"/app": ""}},
            "Workload",
            "two things are mounted at /app",
            "mount each path once",
        ),
        (
            {"binds": {"/app": "."}, "volumes": [{"name": "a", "target": "/app"}]},
            "volumes[0]",
            "something else is mounted at /app",
            "mount each path once",
        ),
        (
            {"binds": {"/app": ""}},
            "binds./app",
            "the text is empty",
            "write it out, or leave the key out",
        ),
        (
            {"networks": ["a", "b", "a"]},
            "networks[2]",
            "the network 'a' stands here twice",
            "give it once",
        ),
        ({"networks": ["A"]}, "networks[0]", "'A' is not a valid name", NAME_RULE),
        ({"queue": "Re dis"}, "queue", "'Re dis' is not a valid name", NAME_RULE),
        ({"profiles": ["A"]}, "profiles[0]", "'A' is not a valid name", NAME_RULE),
        (
            {"autoscale": {"min": 3, "max": 2}},
            "autoscale",
            "the smallest number, 3, is above the largest, 2",
            "exchange them",
        ),
        ({"autoscale": {}}, "autoscale.max", "field required", "add it"),
        (
            {"autoscale": {"max": 2, "cpu": 0}},
            "autoscale.cpu",
            "input should be greater than or equal to 1 (got 0)",
            "use at least 1",
        ),
        (
            {"autoscale": {"max": 2}, "job": True},
            "autoscale",
            "nothing scales a job by itself",
            "remove it",
        ),
        (
            {"autoscale": {"max": 2}, "stateful": True},
            "autoscale",
            "nothing scales what keeps data by itself",
            "remove it",
        ),
        ({"concurrency": "2"}, "concurrency", "input should be a valid integer (got '2')", WHOLE),
        (
            {"concurrency": 0},
            "concurrency",
            "input should be greater than or equal to 1 (got 0)",
            "use at least 1",
        ),
        (
            {"load_balancer": {"proxyprotocol": True}},
            "load_balancer.proxyprotocol",
            "there is no key 'proxyprotocol' here",
            "did you mean 'proxy_protocol'? valid: certificate, local, proxy_protocol",
        ),
        (
            {"optional_secrets": ["A-B"]},
            "optional_secrets[0]",
            "'A-B' is not a name for an environment variable",
            "use letters, digits and underscores, not starting with a digit",
        ),
        (
            {"optional_environment": ["1A"]},
            "optional_environment[0]",
            "'1A' is not a name for an environment variable",
            "use letters, digits and underscores, not starting with a digit",
        ),
        (
            {"source": {"context": ""}},
            "source.context",
            "the text is empty",
            "write it out, or leave the key out",
        ),
        (
            {"reloads": "yes"},
            "reloads",
            "input should be a valid boolean (got 'yes')",
            "write true or false",
        ),
        (
            {"volumes": [{"name": "a", "target": "/a", "scratch": 1}]},
            "volumes[0].scratch",
            "input should be a valid boolean (got 1)",
            "write true or false",
        ),
        (
            {"volumes": [{"name": "a", "target": "/a", "external": "true"}]},
            "volumes[0].external",
            "input should be a valid boolean (got 'true')",
            "write true or false",
        ),
        (
            {"healthcheck": {"test": ["CMD", "true"], "port": 0}},
            "healthcheck.port",
            "0 is not a port",
            "use 1 to 65535",
        ),
    ],
)
def test_a_bad_value_of_a_workload_is_told(
    keys: dict[str, object], place: str, why: str, remedy: str
) -> None:
    assert mistakes(Workload, workload(**keys)) == [Mistake(place, why, remedy)]


ADDRESS_RULE = "write one, '172.28.0.10', or the first and the last, '172.28.0.20-172.28.0.29'"


@pytest.mark.parametrize(
    ("text", "why", "remedy"),
    [
        ("", "'' are not addresses", ADDRESS_RULE),
        ("api", "'api' are not addresses", ADDRESS_RULE),
        ("::1", "'::1' are not addresses", ADDRESS_RULE),
        ("172.28.0.20-", "'172.28.0.20-' are not addresses", ADDRESS_RULE),
        ("-172.28.0.20", "'-172.28.0.20' are not addresses", ADDRESS_RULE),
        ("172.28.0.20-29", "'172.28.0.20-29' are not addresses", ADDRESS_RULE),
        ("172.28.0.0/24", "'172.28.0.0/24' are not addresses", ADDRESS_RULE),
        (
            "172.28.0.29-172.28.0.20",
            "172.28.0.29-172.28.0.20 ends before it begins",
            "exchange the two",
        ),
        (
            5,
            "input should be a valid string (got 5)",
            "write a text (in YAML, put it into quotes)",
        ),
    ],
)
def test_what_are_no_addresses_is_refused(text: object, why: str, remedy: str) -> None:
    assert mistakes(Workload, workload(addresses=text)) == [Mistake("addresses", why, remedy)]
    assert mistakes(Store, {"engine": "redis", "address": text}) == [
        Mistake("address", why, remedy)
    ]


def test_addresses_are_counted_moved_and_compared() -> None:
    ten = AddressRange.of("172.28.0.20", "172.28.0.29")
    one = AddressRange.of("172.28.0.29")
    assert (ten.size, str(ten)) == (10, "172.28.0.20-172.28.0.29")
    assert (one.size, str(one)) == (1, "172.28.0.29")
    assert [str(address) for address in ten][::9] == ["172.28.0.20", "172.28.0.29"]
    assert ten.overlaps(one)
    assert one.overlaps(ten)
    assert not one.overlaps(one.moved(1))
    assert str(ten.moved(65536)) == "172.29.0.20-172.29.0.29"
    made = Workload.model_validate(workload(addresses="172.28.0.20-172.28.0.29", replicas=10))
    assert made.addresses == ten


@pytest.mark.parametrize(
    ("addresses", "fits"),
    [
        ("172.28.0.0", False),
        # Docker's gateway.
        ("172.28.0.1", False),
        ("172.28.0.2", True),
        ("172.28.0.62", True),
        ("172.28.0.63", False),
        ("172.28.0.62-172.28.0.63", False),
        ("172.28.0.64", False),
        ("10.0.0.5", False),
    ],
)
def test_the_ends_of_a_network_and_its_gateway_are_taken(addresses: str, *, fits: bool) -> None:
    made = Workload.model_validate(workload(addresses=addresses, replicas=1)).addresses
    assert made
    assert made.fits("172.28.0.0/26") is fits


NOT_PRIVATE = "is not a private network: what lies there could not be reached any more"
PRIVATE_RULE = "use a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"
NETWORK_RULE = "write it like '172.28.0.0/16', with the first address of the network"
SIZE_RULE = "use a prefix from /8 to /29"


@pytest.mark.parametrize(
    ("subnet", "why", "remedy"),
    [
        ("x", "'x' is not an IPv4 network", NETWORK_RULE),
        ("", "'' is not an IPv4 network", NETWORK_RULE),
        ("fd00::/64", "'fd00::/64' is not an IPv4 network", NETWORK_RULE),
        ("172.28.0.1/16", "'172.28.0.1/16' is not an IPv4 network", NETWORK_RULE),
        ("172.28.0.0/33", "'172.28.0.0/33' is not an IPv4 network", NETWORK_RULE),
        ("172.28.0.0", "'172.28.0.0' has no useful size", SIZE_RULE),
        ("10.0.0.0/7", "'10.0.0.0/7' has no useful size", SIZE_RULE),
        ("10.0.0.0/30", "'10.0.0.0/30' has no useful size", SIZE_RULE),
        (
            "10.0.0.0/255.0.0.0",
            "'10.0.0.0/255.0.0.0' is not spelled as Docker spells it",
            "write '10.0.0.0/8'",
        ),
        *(
            (subnet, f"{subnet} {NOT_PRIVATE}", PRIVATE_RULE)
            for subnet in (
                "8.8.8.0/24",
                "127.0.0.0/8",
                "169.254.0.0/16",
                "100.64.0.0/10",
                "0.0.0.0/8",
                "172.0.0.0/8",
                "192.0.2.0/24",
            )
        ),
    ],
)
def test_a_subnet_is_private_and_of_use(subnet: str, why: str, remedy: str) -> None:
    assert mistakes(Network, {"subnet": subnet}) == [Mistake("subnet", why, remedy)]
    assert mistakes(System, system(subnet=subnet)) == [Mistake("subnet", why, remedy)]
    assert mistakes(SiteSpec, {"networks": {"data": {"subnet": subnet}}}) == [
        Mistake("networks.data.subnet", why, remedy)
    ]


@pytest.mark.parametrize("subnet", ["10.0.0.0/8", "172.28.0.0/16", "192.168.1.8/29"])
def test_a_private_subnet_is_taken(subnet: str) -> None:
    assert Network(subnet=subnet).subnet == subnet


def test_networks_of_a_system_are_parts_of_its_subnet() -> None:
    networks = {"a": {"subnet": "172.28.1.0/24"}, "b": {"subnet": "172.29.0.0/24"}}
    assert mistakes(System, system(subnet="172.28.0.0/16", networks=networks)) == [
        Mistake(
            "networks.b.subnet",
            "172.29.0.0/24 is no part of 172.28.0.0/16, which is the system's 'subnet'",
            "choose a part of it, or widen it",
        )
    ]
    assert System.model_validate(system(networks=networks))


def test_a_service_stands_in_one_tier() -> None:
    assert mistakes(System, system(services={"api": workload()}, ml={"api": workload()})) == [
        Mistake("ml.api", "'api' stands in services too", "rename one of them")
    ]


@pytest.mark.parametrize(
    ("site", "place", "why"),
    [
        (
            {"target": "docker", "networks": {"data": {}}},
            "site.networks.data.name",
            "is missing, and the target is docker",
        ),
        (
            {"target": "docker", "networks": {"data": {"name": ""}}},
            "site.networks.data.name",
            "is missing, and the target is docker",
        ),
        (
            {"target": "docker", "networks": {}},
            "site.network",
            "is missing, and the target is docker",
        ),
        (
            {"target": "docker", "networks": {"A": {"name": "x"}}},
            "site.networks.A",
            "'A' is not a valid name",
        ),
        (
            {"target": "docker", "networks": {"data": {"name": "x", "intern": True}}},
            "site.networks.data.intern",
            "there is no key 'intern' here",
        ),
        (
            {
                "target": "kubernetes",
                "namespace": "shop",
                "networks": {"data": {"internal": "yes"}},
            },
            "site.networks.data.internal",
            "input should be a valid boolean (got 'yes')",
        ),
    ],
)
def test_networks_of_a_site_that_is_written_by_hand_are_checked(
    site: dict[str, object], place: str, why: str
) -> None:
    with pytest.raises(DescriptionError) as caught:
        validated(DataTierSpec, {"stores": {}, "site": {"name": "dev-shop", **site}}, "DataTier d")
    [found] = caught.value.mistakes
    assert (found.place, found.why) == (f"DataTier d: {place}", why)
    assert found.remedy


def test_networks_stand_in_for_the_network() -> None:
    """On Kubernetes they are labels, which have no other name."""
    sites: list[dict[str, Any]] = [
        {"target": "docker", "networks": {"data": {"name": "dev-shop-data"}}},
        {"target": "kubernetes", "namespace": "shop", "networks": {"data": {}}},
    ]
    for site in sites:
        args: dict[str, Any] = {"stores": {}, "site": {"name": "dev-shop", **site}}
        assert validated(DataTierSpec, args, "DataTier d").site.networks["data"]


def test_defaults_are_what_is_documented() -> None:
    made = Workload(image="me/api:1")
    assert made.replicas == 1
    assert made.resources == Resources(cpus=0.5, memory="128m")
    assert made.restart is RestartPolicy.UNLESS_STOPPED
    assert (made.user, made.read_only, made.cap_add) == ("1000:1000", True, [])
    assert made.stop_grace_period == "10s"
    assert Port(target=80).host_ip == "127.0.0.1"
    assert Store(engine="postgres").size == "10Gi"
    assert Condition("service_healthy") is Condition.SERVICE_HEALTHY
    assert [*Environment] == ["development", "production"]


# --- secrets --------------------------------------------------------------------------------------

PASSWORD = "correct-horse-battery"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Workload, workload(secrets=PASSWORD)),
        (Workload, workload(secret_files=PASSWORD)),
        (Workload, workload(secret_files=[PASSWORD])),
        (Workload, workload(secret_files={"a": [PASSWORD]})),
        (Workload, workload(secret_files={"a": PASSWORD + "\0"})),
        (Workload, workload(secret_files={"a": PASSWORD}, configs={"a": "b"})),
        (Tls, {"mode": "given", "certificate": "x", "key": PASSWORD}),
        (Tls, {"mode": "given", "certificate": "x", "key": {PASSWORD: PASSWORD}}),
        (Workload, workload(secrets=[PASSWORD])),
        (Workload, workload(secrets={"A": [PASSWORD]})),
        (Workload, workload(secrets={"A": {"b": PASSWORD}})),
        (Workload, workload(secrets={"A": PASSWORD + "\0"})),
        (Workload, workload(secrets={"A": PASSWORD.encode()})),
        (Workload, workload(secrets={"A": PASSWORD}, environment={"A": "b"})),
        (Workload, {"image": 1, "secrets": {"A": PASSWORD}}),
        (Store, {"passwords": PASSWORD}),
        (Store, {"engine": "postgres", "passwords": {"a": [PASSWORD]}}),
        (System, system(services=[workload(secrets={"A": PASSWORD})])),
        (System, system(stores=[{"engine": "postgres", "passwords": {"a": PASSWORD}}])),
        (System, [workload(secrets={"A": PASSWORD})]),
    ],
)
def test_a_password_never_appears_in_a_message(
    kind: type[Model], values: dict[str, object]
) -> None:
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(values)
    # Pydantic's own words are what a traceback of somebody else's program would show.
    for text in (str(caught.value), repr(caught.value), str(mistakes_of(caught.value))):
        assert PASSWORD not in text


# --- the public arguments -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "model"),
    [
        (SiteArgs, SiteSpec),
        (StoreArgs, Store),
        (StoreHealthArgs, StoreHealth),
        (DatabaseArgs, Database),
        (VhostArgs, Vhost),
        (VhostUserArgs, VhostUser),
        (QueueArgs, Queue),
        (PolicyArgs, Policy),
        (IndexArgs, Index),
        (WorkloadArgs, Workload),
        (PortArgs, Port),
        (VolumeArgs, Volume),
        (HealthcheckArgs, Healthcheck),
        (BuildArgs, Build),
        (ResourcesArgs, Resources),
        (ManagedArgs, Managed),
        (RegistryLoginArgs, RegistryLogin),
        (ClusterArgs, ClusterSpec),
        (StateBucketArgs, StateBucketSpec),
        (DataTierArgs, DataTierSpec),
        (AppTierArgs, AppTierSpec),
        (SiteRef, Place),
        (ClusterRef, ClusterPlace),
        (NetworkRef, NetworkPlace),
        (NetworkArgs, Network),
        (AutoscaleArgs, Autoscale),
        (LoadBalancerArgs, LoadBalancer),
        (SourceArgs, Source),
        (BucketArgs, Bucket),
        (EndpointArgs, Endpoint),
        (EdgeProxyArgs, EdgeProxySpec),
        (UpstreamArgs, Upstream),
        (RouteArgs, Route),
        (RateLimitArgs, RateLimit),
        (TimeoutsArgs, Timeouts),
        (TlsArgs, Tls),
        (EdgePortsArgs, EdgePorts),
        (SnippetsArgs, Snippets),
        (watching.ObservabilityArgs, watching.ObservabilitySpec),
        (watching.WatchedTargetArgs, watching.WatchedTarget),
        (watching.WatchedEdgeArgs, watching.WatchedEdge),
        (watching.PrometheusArgs, observability.Prometheus),
        (watching.AlertsArgs, observability.Alerts),
        (watching.SlackArgs, observability.Slack),
        (watching.DiscordArgs, observability.Discord),
        (watching.EmailArgs, observability.Email),
        (watching.GrafanaArgs, observability.Grafana),
        (watching.ProgramMetricsArgs, observability.ProgramMetrics),
        (watching.ThresholdsArgs, observability.Thresholds),
        (watching.RuleArgs, observability.Rule),
    ],
)
def test_public_arguments_are_the_models_fields(args: Any, model: type[Model]) -> None:
    # What other components give, and is not described.
    from_components = {"connections", "endpoints"} - set(model.model_fields)
    assert set(args.__annotations__) - from_components == set(model.model_fields)
    required = {key for key, field in model.model_fields.items() if field.is_required()}
    assert args.__required_keys__ == required


def test_arguments_of_a_lone_component_are_checked_the_same_way() -> None:
    with pytest.raises(DescriptionError) as caught:
        validated(
            AppTierSpec,
            {"services": {"api": workload(replicas=True)}, "site": {"target": "docker", "name": 1}},
            "AppTier shop",
        )
    assert caught.value.mistakes == [
        Mistake(
            "AppTier shop: services.api.replicas",
            "input should be a valid integer (got True)",
            WHOLE,
        ),
        Mistake(
            "AppTier shop: site.name",
            "input should be a valid string (got 1)",
            "write a text (in YAML, put it into quotes)",
        ),
    ]


@pytest.mark.parametrize(
    ("site", "missing"),
    [
        ({"target": "docker", "namespace": "shop"}, ["network"]),
        ({"target": "kubernetes", "network": "shop"}, ["namespace"]),
        ({"target": "digitalocean"}, ["cluster", "namespace"]),
    ],
)
def test_a_site_that_is_written_by_hand_has_what_its_target_needs(
    site: dict[str, str], missing: list[str]
) -> None:
    with pytest.raises(DescriptionError) as caught:
        validated(DataTierSpec, {"stores": {}, "site": {"name": "dev-shop", **site}}, "DataTier d")
    assert [mistake.place for mistake in caught.value.mistakes] == [
        f"DataTier d: site.{key}" for key in missing
    ]
