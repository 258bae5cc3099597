"""The recorder answers a program as the engine would, and keeps what renderers need."""

import json
import logging
from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

import pulumi
import pulumi_docker as docker
import pulumi_random as random
import pulumi_tls as tls
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pulumi_tiers.component import Component
from pulumi_tiers.program import main
from pulumi_tiers.render.recorder import (
    Json,
    Recording,
    Resource,
    Secret,
    answered,
    later_placeholder,
    placeholders,
    record,
    replace_placeholders,
    secret_placeholder,
    variable_name,
)

STACK_URN = "urn:pulumi:dev::shop::pulumi:pulumi:Stack::shop-dev"
NETWORK = "docker:index/network:Network"


def recorded(program: Callable[[], object], **config: Json) -> Recording:
    """`config` has keys of the project's own namespace."""
    keys = {f"shop:{key}": value for key, value in config.items()}
    return record(lambda: void(program()), project="shop", stack="dev", config=keys)


def void(_: object) -> None:
    return None


def only(recording: Recording, name: str) -> Resource:
    [found] = [resource for resource in recording.resources if resource.name == name]
    return found


class Shelf(Component):
    """A component with a child, and maybe a shelf on itself."""

    def __init__(
        self, name: str, opts: pulumi.ResourceOptions | None = None, *, inner: str = ""
    ) -> None:
        super().__init__(name, opts)
        docker.Network(self.child("network"), opts=self.child_options())
        if inner:
            Shelf(self.child(inner), self.child_options())
        self.register_outputs({})


# --- values ---------------------------------------------------------------------------------------


def test_a_generated_password_stays_secret_wherever_it_goes() -> None:
    def program() -> None:
        password = random.RandomPassword("db-password", length=32).result
        docker.Container(
            "api",
            image="api:1",
            envs=["DEBUG=true", pulumi.Output.concat("URL=redis://:", password, "@redis:6379")],
            labels=[{"label": "digest", "value": password.apply(lambda value: value[:4] + "...")}],
        )
        pulumi.export("password", password)

    recording = recorded(program)
    inputs = only(recording, "api").inputs
    assert inputs["envs"] == [
        "DEBUG=true",
        Secret("URL=redis://:__secret.DB_PASSWORD__@redis:6379"),
    ]
    assert inputs["labels"] == [{"label": "digest", "value": Secret("__se...")}]
    assert recording.outputs == {"password": Secret("__secret.DB_PASSWORD__")}


def test_a_secret_inside_of_a_list_or_a_map_makes_only_that_value_secret() -> None:
    def program() -> None:
        docker.Network(
            "n",
            labels=[
                {"label": "a", "value": pulumi.Output.secret("hidden")},
                {"label": "b", "value": "seen"},
            ],
        )

    assert only(recorded(program), "n").inputs["labels"] == [
        {"label": "a", "value": Secret("hidden")},
        {"label": "b", "value": "seen"},
    ]


def test_numbers_and_truth_values_stay_what_they_were() -> None:
    def program() -> None:
        docker.Container(
            "api",
            image="api:1",
            memory=256,
            init=False,
            ports=[{"internal": 8000, "external": 80}],
            command=["8000", "1.0", "true"],
        )
        pulumi.export("ratio", 0.5)

    recording = recorded(program)
    inputs = only(recording, "api").inputs
    # json.dumps, because 256 == 256.0 and False == 0.
    assert json.dumps(
        [inputs["memory"], inputs["init"], inputs["ports"][0]["external"], inputs["command"]]
    ) == json.dumps([256, False, 80, ["8000", "1.0", "true"]])
    assert recording.outputs == {"ratio": 0.5}


def test_an_image_is_known_by_its_name_and_a_job_has_ended_well() -> None:
    def program() -> None:
        image = docker.RemoteImage("image", name="api:1")
        job = docker.Container("job", image=image.image_id)
        pulumi.export("digest", image.repo_digest)
        pulumi.export("code", job.exit_code)
        pulumi.export("id", job.id)

    recording = recorded(program)
    assert only(recording, "job").inputs["image"] == "api:1"
    assert recording.outputs == {"digest": "api:1", "code": 0, "id": "job-id"}


# --- resources ------------------------------------------------------------------------------------


def test_a_certificate_and_its_key_have_a_name_each() -> None:
    """Who renders files makes both: see `tiers render`."""

    def program() -> None:
        key = tls.PrivateKey("edge-tls", algorithm="ECDSA")
        certificate = tls.SelfSignedCert(
            "edge-tls",
            private_key_pem=key.private_key_pem,
            allowed_uses=["server_auth"],
            validity_period_hours=24,
        )
        pulumi.export("key", key.private_key_pem)
        pulumi.export("certificate", certificate.cert_pem)

    recording = recorded(program)
    assert recording.outputs == {
        "key": Secret("__secret.EDGE_TLS_KEY__"),
        "certificate": "__secret.EDGE_TLS_CERTIFICATE__",
    }
    [made] = recording.of_type("tls:index/selfSignedCert:SelfSignedCert")
    assert made.inputs["privateKeyPem"] == Secret("__secret.EDGE_TLS_KEY__")
    assert answered(made, "certPem") == "__secret.EDGE_TLS_CERTIFICATE__"


def test_urns_and_parents_are_the_engines() -> None:
    recording = recorded(lambda: Shelf("a", inner="b"))
    component = "tiers-components:index:Shelf"
    top = f"urn:pulumi:dev::shop::{component}::a"
    inner = f"urn:pulumi:dev::shop::{component}${component}::a-b"
    assert {resource.urn: resource.parent for resource in recording.resources} == {
        top: STACK_URN,
        f"urn:pulumi:dev::shop::{component}${NETWORK}::a-network": top,
        inner: top,
        f"urn:pulumi:dev::shop::{component}${component}${NETWORK}::a-b-network": inner,
    }


def test_depends_on_names_what_was_said_and_what_the_values_came_from() -> None:
    def program() -> None:
        network = docker.Network("n", name="net")
        password = random.RandomPassword("p", length=8)
        gate = docker.Volume("gate")
        shelf = Shelf("s")
        docker.Container(
            "api",
            image="api:1",
            networks_advanced=[{"name": network.name}],
            envs=[password.result.apply(lambda value: f"P={value}")],
            opts=pulumi.ResourceOptions(depends_on=[shelf, gate]),
        )

    recording = recorded(program)
    # A component stands for its children.
    assert only(recording, "api").depends_on == tuple(
        sorted(only(recording, name).urn for name in ("n", "p", "gate", "s-network"))
    )
    assert only(recording, "n").depends_on == ()


def test_protect_and_retain_on_delete_are_kept() -> None:
    options = pulumi.ResourceOptions(protect=True, retain_on_delete=True)
    resource = only(recorded(lambda: docker.Volume("v", opts=options)), "v")
    assert resource.protect
    assert resource.retain_on_delete


def test_transformations_run() -> None:
    def overlay(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult:
        if args.type_ != NETWORK:
            return pulumi.ResourceTransformationResult(args.props, args.opts)
        return pulumi.ResourceTransformationResult({**args.props, "driver": "overlay"}, args.opts)

    recording = recorded(
        lambda: Shelf("a", pulumi.ResourceOptions(transformations=[overlay]), inner="b")
    )
    assert only(recording, "a-network").inputs == {"driver": "overlay"}
    assert only(recording, "a-b-network").inputs == {"driver": "overlay"}


def test_a_name_that_the_engine_would_refuse_is_refused() -> None:
    def program() -> None:
        docker.Network("n")
        docker.Network("n")

    with pytest.raises(pulumi.RunError, match=r"second resource .*:Network::n"):
        recorded(program)


def test_a_component_refuses_children_without_its_name() -> None:
    class Careless(Component):
        def __init__(self, name: str) -> None:
            super().__init__(name, None)
            docker.Network("network", opts=self.child_options())

    with pytest.raises(pulumi.RunError, match=r"'network' of 'a' must be called 'a-\.\.\.'"):
        recorded(lambda: Careless("a"))


# --- configuration --------------------------------------------------------------------------------


def test_configuration_arrives_with_its_types_and_its_secrets() -> None:
    def program() -> None:
        config = pulumi.Config()
        assert config.get_int("replicas") == 2
        assert config.get_bool("debug") is True
        assert config.get_object("images") == {"api": "api:1"}
        docker.Network("n", name=config.require_secret("name"), driver=config.require("driver"))
        passwords = config.require_secret_object("passwords")
        docker.Volume("v", name=passwords.apply(lambda known: known["a"]))

    recording = recorded(
        program,
        replicas=2,
        debug=True,
        images={"api": "api:1"},
        name=Secret("hidden"),
        driver="bridge",
        passwords={"a": Secret("hidden too"), "b": "c"},
    )
    assert only(recording, "n").inputs == {"name": Secret("hidden"), "driver": "bridge"}
    assert only(recording, "v").inputs == {"name": Secret("hidden too")}


def test_a_password_of_the_configuration_is_secret_in_every_container() -> None:
    password = "correct-horse-battery-staple-42"
    recording = record(
        main,
        project="tiers",
        stack="dev",
        config={
            "tiers:environment": "production",
            "tiers:secrets": {"encontros-tech/postgres/doadmin": Secret(password)},
        },
    )
    store = only(recording, "encontros-tech-data-postgres")
    apps = [only(recording, f"encontros-tech-app-encontros-tech{suffix}") for suffix in ("", "-2")]
    assert Secret(f"POSTGRES_PASSWORD={password}") in store.inputs["envs"]
    url = f"DATABASE_URL=postgresql://doadmin:{password}@postgres:5432/defaultdb?sslmode=prefer"
    for app in apps:
        assert Secret(url) in app.inputs["envs"]
    assert not recording.of_type("random:index/randomPassword:RandomPassword")


# --- one after the other --------------------------------------------------------------------------


class Failure(Exception):  # noqa: N818 - any exception
    pass


def fails_at_once() -> None:
    docker.Network("n")
    raise Failure("at once")


def fails_in_an_input() -> None:
    docker.Network("a")
    name = docker.Network("n", name="n").name.apply(_fail)
    docker.Volume("v", name=name)


def fails_in_an_output() -> None:
    pulumi.export("name", docker.Network("n", name="n").name.apply(_fail))
    pulumi.export("other", docker.Network("m", name="m").name.apply(_fail))


def _fail(_: object) -> str:
    raise Failure("later")


FAILING = [fails_at_once, fails_in_an_input, fails_in_an_output]


@pytest.mark.parametrize("program", FAILING)
def test_exceptions_of_the_program_are_raised_unchanged(program: Callable[[], None]) -> None:
    with pytest.raises(Failure, match=r"^(at once|later)$"):
        recorded(program)


@pytest.mark.parametrize("program", FAILING)
def test_a_failure_leaves_nothing_for_the_next_program(
    program: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(Failure):
        recorded(program)
    recording = recorded(lambda: docker.Network("next"))
    assert [resource.name for resource in recording.resources] == ["next"]
    assert recording.outputs == {}
    # What failed was raised; asyncio has nothing to add.
    assert [entry for entry in caplog.records if entry.levelno >= logging.WARNING] == []


def test_two_recordings_have_nothing_in_common() -> None:
    def program() -> None:
        config = pulumi.Config("shop")
        docker.Network(f"n-{pulumi.get_stack()}", name=config.get("name") or "none")
        pulumi.export(pulumi.get_stack(), config.get("name") or "none")
        if pulumi.get_stack() == "one":
            pulumi.log.warn("careful")

    def run(stack: str, config: dict[str, Json]) -> Recording:
        return record(program, project="shop", stack=stack, config=config)

    first = run("one", {"shop:name": Secret("x")})
    second = run("two", {})
    assert only(first, "n-one").inputs == {"name": "x"}
    assert only(second, "n-two").inputs == {"name": "none"}
    assert [len(recording.resources) for recording in (first, second)] == [1, 1]
    assert first.outputs == {"one": "x"}
    assert second.outputs == {"two": "none"}
    assert first.warnings == ["careful"]
    assert second.warnings == []
    assert run("one", {"shop:name": Secret("x")}) == first


def test_a_program_that_asks_a_provider_is_told_so() -> None:
    with pytest.raises(pulumi.RunError, match="getNetwork asks a provider, which rendering cannot"):
        recorded(lambda: docker.get_network(name="n"))


# --- placeholders ---------------------------------------------------------------------------------


def show(text: str) -> str:
    return replace_placeholders(text, lambda kind, name: f"<{kind} {name}>")


@pytest.mark.parametrize(
    ("placeholder", "shown"),
    [
        (secret_placeholder("data-postgres-password"), "<secret DATA_POSTGRES_PASSWORD>"),
        (later_placeholder("digitalocean.postgres.host"), "<later digitalocean.postgres.host>"),
    ],
)
def test_placeholders_survive_percent_encoding_in_urls(placeholder: str, shown: str) -> None:
    assert quote(placeholder, safe="") == placeholder
    url = f"postgresql://{placeholder}:{placeholder}@host:5432/{placeholder}"
    assert unquote(urlsplit(url).path) == f"/{placeholder}"
    assert show(url) == f"postgresql://{shown}:{shown}@host:5432/{shown}"


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*[A-Za-z0-9]", fullmatch=True))
def test_every_name_can_be_a_placeholder(name: str) -> None:
    secret, later = secret_placeholder(name), later_placeholder(name)
    assert list(placeholders({"a": [f"x{secret}{later}y", Secret(secret)], "b": 1})) == [
        ("secret", variable_name(name)),
        ("later", later.removeprefix("__later.").removesuffix("__")),
        ("secret", variable_name(name)),
    ]
    assert quote(secret + later, safe="") == secret + later
