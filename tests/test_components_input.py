"""What the components refuse before anything is made: names, labels, refs, and whole arguments."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes
import pytest
from pulumi_tiers import AppTier, Cluster, DataTier, EdgeProxy, MLTier, Site, Target
from pulumi_tiers.cli.project import Project
from pulumi_tiers.component import RefusedError, validated
from pulumi_tiers.data_tier import DataTierSpec
from pulumi_tiers.model.errors import DescriptionError, Mistake
from pulumi_tiers.platforms.labels import tag_key
from pulumi_tiers.render.recorder import Json, Recording, record
from pulumi_tiers.settings import LoadBalancers, read_settings
from test_cli import tiers

NAMESPACE = "kubernetes:core/v1:Namespace"
CLUSTER: Any = {"id": "c", "region": "nyc1", "vpc": "v"}
IN_CLOUD: Any = {"target": Target.DIGITALOCEAN, "cluster": CLUSTER}


def recorded(
    program: Callable[[], object], stack: str = "dev", config: dict[str, Json] | None = None
) -> Recording:
    return record(lambda: void(program()), project="own", stack=stack, config=config or {})


def void(_: object) -> None:
    """Pulumi awaits what a program returns."""


def refused(
    program: Callable[[], object], stack: str = "dev", config: dict[str, Json] | None = None
) -> list[Mistake]:
    """What is wrong, told without a traceback in any program."""
    with pytest.raises(RefusedError) as caught:
        recorded(program, stack, config)
    return caught.value.mistakes


def site(args: Any, name: str = "shop") -> Callable[[], object]:
    return lambda: Site(name, args)


# --- the cluster's provider -----------------------------------------------------------------------


def provider() -> kubernetes.Provider:
    return kubernetes.Provider("k8s", kubeconfig="{}")


class Group(pulumi.ComponentResource):
    """A component of somebody's own."""

    def __init__(self, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("own:index:Group", "group", {}, opts)


@pytest.mark.parametrize(
    "options",
    [
        lambda: None,
        pulumi.ResourceOptions,
        lambda: pulumi.ResourceOptions(providers=[]),
        lambda: pulumi.ResourceOptions(parent=Group()),
    ],
)
def test_a_site_in_the_cloud_needs_the_provider_of_its_cluster(
    options: Callable[[], pulumi.ResourceOptions | None],
) -> None:
    assert refused(lambda: Site("shop", IN_CLOUD, options())) == [
        Mistake(
            "Site shop: opts",
            "without the cluster's provider, everything would go to the one of your kubeconfig",
            "pass opts=ResourceOptions(providers=[cluster.provider])",
        )
    ]


@pytest.mark.parametrize(
    "options",
    [
        lambda: pulumi.ResourceOptions(provider=provider()),
        lambda: pulumi.ResourceOptions(providers=[provider()]),
        lambda: pulumi.ResourceOptions(providers={"kubernetes": provider()}),
        lambda: pulumi.ResourceOptions(
            parent=Group(pulumi.ResourceOptions(providers=[provider()]))
        ),
    ],
)
def test_the_provider_is_given_or_inherited(options: Callable[[], pulumi.ResourceOptions]) -> None:
    recording = recorded(lambda: Site("shop", IN_CLOUD, options()))
    [namespace] = recording.of_type(NAMESPACE)
    assert "::k8s::" in namespace.provider


def test_behind_the_plugin_boundary_only_the_engine_knows_the_parents_providers() -> None:
    def program() -> None:
        urn = "urn:pulumi:dev::own::pulumi:pulumi:Stack::own-dev"
        parent = pulumi.resource.DependencyResource(urn)
        given = pulumi.resource.DependencyProviderResource(
            "urn:pulumi:dev::own::pulumi:providers:kubernetes::k8s::id"
        )
        Site("shop", IN_CLOUD, pulumi.ResourceOptions(providers={"kubernetes": given}))
        Site("blog", IN_CLOUD, pulumi.ResourceOptions(parent=parent, providers={}, protect=False))

    assert len(recorded(program).of_type(NAMESPACE)) == 2


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["My_Shop", "Ünï", "1shop", "a" * 41, "default"])
def test_the_name_of_a_site_is_its_systems_unless_there_is_another(name: str) -> None:
    [mistake] = refused(site({}, name))
    assert mistake.place == f"Site {name}: system"
    assert mistake.remedy.startswith("set 'system', or call the component otherwise: ")
    assert recorded(site({"system": "shop"}, name)).resources


@pytest.mark.parametrize(
    ("target", "places"),
    [
        (Target.KUBERNETES, ["Site shop: namespace"]),
        (Target.DIGITALOCEAN, ["Site shop: namespace", "Site shop: system"]),
    ],
)
def test_a_stack_whose_name_is_no_dns_label_is_for_docker_only(
    target: Target, places: list[str]
) -> None:
    def program() -> None:
        opts = pulumi.ResourceOptions(providers=[provider()])
        args: Any = {"target": target}
        if target is Target.DIGITALOCEAN:
            args["cluster"] = CLUSTER
        Site("shop", args, opts)

    assert [mistake.place for mistake in refused(program, "Prod_1")] == places
    args: Any = {"target": Target.KUBERNETES, "namespace": "shop"}
    assert recorded(site(args), "Prod_1").of_type(NAMESPACE)

    def on_docker() -> None:
        ref = Site("shop", {}).ref
        DataTier("data", {"site": ref, "stores": {"db": {"engine": "postgres"}}})

    assert recorded(on_docker, "Prod_1").resources


def test_a_stack_that_cannot_be_a_label_is_refused_on_kubernetes() -> None:
    args: Any = {"target": Target.KUBERNETES, "namespace": "shop"}
    for stack in ("s" * 64, "prod_"):
        [mistake] = refused(site(args), stack)
        assert mistake.place == "Site shop: labels"
        assert "is not a label's value" in mistake.why


def test_a_namespace_may_have_63_characters() -> None:
    name = "n" * 63
    args: Any = {"target": Target.KUBERNETES, "namespace": name}
    [made] = recorded(site(args)).of_type(NAMESPACE)
    assert made.inputs["metadata"]["name"] == name
    # As this repository's program makes them: <system>-<environment>.
    derived: Any = {"target": Target.KUBERNETES, "namespace": f"{'s' * 40}-production"}
    assert recorded(site(derived)).of_type(NAMESPACE)


@pytest.mark.parametrize("name", ["n" * 64, "Shop", "-shop", "", "default", "kube-system"])
def test_what_is_no_namespace_of_ones_own_is_refused(name: str) -> None:
    [mistake] = refused(site({"target": Target.KUBERNETES, "namespace": name}))
    assert mistake.place == "Site shop: namespace"
    assert mistake.remedy


# --- labels ---------------------------------------------------------------------------------------


def test_labels_are_kubernetes_labels() -> None:
    labels = {"team": "A.b_c-1", "example.com/cost-center": "", "a" * 63: "b" * 63}
    args: Any = {"target": Target.KUBERNETES, "labels": labels}
    [made] = recorded(site(args)).of_type(NAMESPACE)
    assert labels.items() <= made.inputs["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("", "x"),
        ("a b", "x"),
        ("a" * 64, "x"),
        ("Example.com/team", "x"),
        ("/team", "x"),
        ("example.com/", "x"),
        ("a/b/c", "x"),
        ("tiers.owner", "x"),
        ("team", "b" * 64),
        ("team", "-b"),
        ("team", "ü"),
        ("team", "two words"),
    ],
)
def test_what_is_no_label_of_ones_own_is_refused(key: str, value: str) -> None:
    [mistake] = refused(site({"labels": {key: value}}))
    assert mistake.place.startswith("Site shop: labels")
    assert mistake.remedy


# --- networks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("networks", "place", "why"),
    [
        ({"Data": {}}, "Site shop: networks.Data", "'Data' is not a valid name"),
        ({"data": {"intrenal": True}}, "Site shop: networks.data.intrenal", "there is no key"),
        ({"data": {"internal": 1}}, "Site shop: networks.data.internal", "input should be a valid"),
        (
            {"data": {"subnet": "8.8.8.0/24"}},
            "Site shop: networks.data.subnet",
            "8.8.8.0/24 is not",
        ),
        ({"data": "10.0.0.0/8"}, "Site shop: networks.data", "input should be a map"),
        (["data"], "Site shop: networks", "input should be a map"),
        (
            {"a": {"subnet": "10.0.0.0/8"}, "b": {"subnet": "10.1.0.0/16"}},
            "Site shop: networks.b.subnet",
            "10.1.0.0/16 overlaps with 10.0.0.0/8 of Site shop: networks.a.subnet",
        ),
    ],
)
def test_what_is_no_network_is_refused_before_anything_is_made(
    networks: object, place: str, why: str
) -> None:
    [mistake] = refused(site({"networks": networks}))
    assert mistake.place == place
    assert mistake.why.startswith(why)
    assert mistake.remedy


def test_a_site_without_networks_has_one() -> None:
    def program() -> None:
        made = Site("shop", {})
        assert "networks" not in made.ref
        pulumi.export("network", made.network)

    recording = recorded(program)
    assert recording.outputs["network"] == "dev-shop"
    assert len(recording.of_type("docker:index/network:Network")) == 1


def test_on_kubernetes_networks_make_nothing() -> None:
    networks: Any = {"front": {"subnet": "10.0.0.0/16"}, "data": {"internal": True}}
    recording = recorded(site({"target": Target.KUBERNETES, "networks": networks}))
    assert {item.type for item in recording.resources} == {
        "tiers-components:index:Site",
        "kubernetes:core/v1:Namespace",
        "kubernetes:networking.k8s.io/v1:NetworkPolicy",
    }


@pytest.mark.parametrize("owner", ["two words", "x" * 64, "a\0", "\ud800"])
def test_the_owner_becomes_a_label(owner: str) -> None:
    with pytest.raises(DescriptionError) as caught:
        read_settings({"tiers:owner": owner})
    [mistake] = caught.value.mistakes
    assert mistake.place == "tiers:owner"
    str(mistake).encode()
    [mistake] = refused(site({}), config={"tiers:owner": owner})
    assert mistake.place == "tiers:owner"


def test_a_tag_has_the_characters_that_tags_may_have() -> None:
    assert tag_key("example.com/team:A_b-ü c") == "example-com-team:A_b---c"


# --- refs that are written by hand ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"name": ""}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"namespace": ""}, "namespace"),
        ({"namespace": "My_Shop"}, "namespace"),
        ({"pull_secret": "a b"}, "pull_secret"),
        ({"environment": "a b"}, "environment"),
        ({"source_ranges": ["everybody"]}, "source_ranges[0]"),
        ({"labels": {"a b": "c"}}, "labels.a b"),
        ({"labels": {"a": "b c"}}, "labels.a"),
        ({"cluster": {**CLUSTER, "id": ""}}, "cluster.id"),
        ({"cluster": {**CLUSTER, "region": ""}}, "cluster.region"),
        ({"cluster": {**CLUSTER, "vpc": ""}}, "cluster.vpc"),
    ],
)
def test_a_ref_is_checked_before_it_names_anything(changes: dict[str, Any], place: str) -> None:
    ref = {"target": "digitalocean", "name": "dev-shop", "namespace": "shop", "cluster": CLUSTER}
    with pytest.raises(RefusedError) as caught:
        validated(DataTierSpec, {"stores": {}, "site": {**ref, **changes}}, "DataTier d")
    [mistake] = caught.value.mistakes
    assert mistake.place == f"DataTier d: site.{place}"
    assert mistake.remedy


def test_a_ref_may_hold_empty_outputs_of_its_site() -> None:
    empty = {"namespace": "", "pull_secret": ""}
    ref = {"target": "docker", "name": "Prod_1-shop", "network": "n", **empty}
    assert validated(DataTierSpec, {"stores": {}, "site": ref}, "DataTier d")


@pytest.mark.parametrize("name", ["a" * 64, "a" * 142])
def test_a_name_becomes_a_label_where_there_is_none(name: str) -> None:
    ref = {"target": "kubernetes", "name": name, "namespace": "shop"}
    with pytest.raises(RefusedError, match=r"site\.name"):
        validated(DataTierSpec, {"stores": {}, "site": ref}, "DataTier d")


@pytest.mark.parametrize("cluster", [None, "x", {}, [], {**CLUSTER, "vpc": ""}])
def test_a_cluster_is_a_ref(cluster: object) -> None:
    found = refused(site({"target": Target.DIGITALOCEAN, "cluster": cluster}))
    assert any(mistake.place.startswith("Site shop: cluster") for mistake in found)


# --- whole arguments ------------------------------------------------------------------------------


@pytest.mark.parametrize("args", [None, [], "x", 1])
@pytest.mark.parametrize("kind", [Site, Cluster, DataTier, AppTier, MLTier, EdgeProxy])
def test_arguments_are_a_map(kind: Any, args: object) -> None:
    [mistake] = refused(lambda: kind("it", args))
    assert mistake.place == f"{kind.__name__} it"
    assert mistake.why.startswith("the arguments are ")


def test_valid_keys_are_told_as_they_are_written() -> None:
    [mistake] = refused(site({"foo": 1}))
    assert "cluster" in mistake.remedy
    with pytest.raises(ValueError, match="there is no key 'awiat' here") as caught:
        LoadBalancers.model_validate({"awiat": True})
    assert "valid: await, source_ranges" in str(caught.value.errors()[0]["ctx"])  # type: ignore


# --- tiers:secrets in programs of one's own -------------------------------------------------------


@pytest.mark.parametrize(
    ("secrets", "place", "why"),
    [
        ("hunter2", "tiers:secrets", "is not JSON"),
        ('["hunter2"]', "tiers:secrets", "is not a map of texts"),
        ('{"shop/db/postgres": 12345678}', "tiers:secrets.shop/db/postgres", "is not a text"),
    ],
)
def test_secrets_that_are_none_are_told_without_them(secrets: str, place: str, why: str) -> None:
    def program() -> None:
        ref = Site("shop", {}).ref
        DataTier("data", {"site": ref, "stores": {"db": {"engine": "postgres"}}})

    [mistake] = refused(program, config={"tiers:secrets": secrets})
    assert (mistake.place, mistake.why) == (place, why)
    assert "hunter2" not in str(mistake)
    assert "12345678" not in str(mistake)


# --- files and doctor -----------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    (tmp_path / "__main__.py").write_text("")
    return tmp_path


def test_a_key_without_a_namespace_is_the_projects(project: Path) -> None:
    (project / "Pulumi.dev.yaml").write_text("config: {a: 1, other:b: 2}\n")
    assert Project.find(project).config("dev") == {"own:a": 1, "other:b": 2}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("config: {tiers:owner: 2024-01-01}", "config.tiers:owner: this is a date; put it into"),
        ("config: {own:a: {b: [2024-01-01T00:00:00Z]}}", "config.own:a.b[0]: this is a date"),
        ("config: {own:a: {2024-01-01: x}}", "config.own:a: a key is a date"),
        ("config: {own:a: !!binary aGk=}", "config.own:a: this is a value of type bytes"),
        ("config: {own:a: !!set {b, c}}", "config.own:a: this is a set; write a list"),
        ("config: {own:a: &a [*a]}", "config.own:a[0]: it holds itself"),
        ("config: {own:a: &a {b: *a}}", "config.own:a.b: it holds itself"),
        ("config: {own:a: 1, own:a: 2}", "the key 'own:a' stands here twice"),
        (f"config: {{own:a: {'[' * 5000}}}", "is nested too deep"),
    ],
)
def test_yaml_that_is_no_json_is_refused_with_its_key(text: str, told: str, project: Path) -> None:
    (project / "Pulumi.dev.yaml").write_text(text)
    failed = tiers("render", "--to", "graph", cwd=project, code=2)
    assert "Pulumi.dev.yaml" in failed.stderr
    assert told in failed.stderr


def test_yaml_may_use_aliases_and_merges(project: Path) -> None:
    text = "config: {own:a: &a {b: 1}, own:b: &b {<<: *a, b: 2}, own:c: {<<: *b, b: 3}}"
    (project / "Pulumi.dev.yaml").write_text(text)
    tiers("render", "--to", "graph", cwd=project)


def test_defaults_of_a_project_are_a_map(project: Path) -> None:
    (project / "Pulumi.yaml").write_text("name: own\nruntime: python\nconfig: [a]\n")
    (project / "Pulumi.dev.yaml").write_text("")
    failed = tiers("render", "--to", "graph", cwd=project, code=2)
    assert "Pulumi.yaml: 'config' does not hold a map of keys" in failed.stderr


def doctor(project: Path, stack: str, text: str) -> dict[str, dict[str, Any]]:
    (project / f"Pulumi.{stack}.yaml").write_text(text)
    done = tiers("doctor", "--stack", stack, "--json", cwd=project, code=3)
    return {finding["what"]: finding for finding in json.loads(done.stdout)}


@pytest.fixture(autouse=True)
def _nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_tiers.cli.docker.server_version", lambda: None)
    for variable in ("DIGITALOCEAN_TOKEN", "DIGITALOCEAN_ACCESS_TOKEN"):
        monkeypatch.delenv(variable, raising=False)


def test_doctor_says_what_is_no_target(project: Path) -> None:
    found = doctor(project, "odd", "config: {tiers:target: '[red]dokcer'}")["tiers:target"]
    assert (found["ok"], found["found"]) == (False, "'[red]dokcer' is no target")
    assert "valid: digitalocean, docker, kubernetes" in found["remedy"]
    # Nor does a word of the file colour anything.
    shown = tiers("doctor", "--stack", "odd", cwd=project, code=3).stdout
    assert "[red]dokcer" in shown


@pytest.mark.parametrize("credentials", ["text", "5", "{a: b}", "[1]"])
def test_doctor_says_what_is_no_command(credentials: str, project: Path) -> None:
    cloud = f"tiers:digitalocean: {{credentials: {credentials}}}"
    text = f"config: {{tiers:target: digitalocean, {cloud}}}"
    found = doctor(project, "cloud", text)["tiers:digitalocean.credentials"]
    assert (found["ok"], found["found"]) == (False, "is not a list of texts")


def test_doctor_knows_the_stacks(project: Path) -> None:
    (project / "Pulumi.prod.yaml").write_text("")
    failed = tiers("doctor", "--stack", "prd", cwd=project, code=2)
    assert "there is no stack 'prd'" in failed.stderr
    assert "stacks: prod" in failed.stderr
    # Nobody has named it: a project may do without.
    tiers("doctor", cwd=project, code=3)


# --- an edge --------------------------------------------------------------------------------------


def edge(site: Any, service: Any = None, **keys: Any) -> Callable[[], object]:
    """An EdgeProxy in front of one service."""

    def program() -> None:
        ref = Site("shop", site).ref
        api: Any = {"image": "me/api:1", "ports": [{"target": 80}], **(service or {})}
        app = AppTier("app", {"site": ref, "services": {"api": api}})
        args: Any = {
            "site": ref,
            "endpoints": app.endpoints,
            "upstreams": {"api": {"endpoint": "api"}},
            "routes": [{"path": "/", "upstream": "api"}],
            **keys,
        }
        EdgeProxy("web", args)

    return program


FRONT: Any = {"networks": {"front": {"subnet": "172.28.0.0/24"}, "data": {"internal": True}}}


@pytest.mark.parametrize(
    ("site", "keys", "place", "why"),
    [
        (FRONT, {"networks": ["frnt"]}, "networks[0]", "there is no network 'frnt'"),
        (FRONT, {"addresses": "172.29.0.9"}, "addresses", "lies outside of 172.28.0.0/24"),
        ({}, {"addresses": "172.29.0.9"}, "addresses", "needs a network that has a subnet"),
        (FRONT, {"networks": ["data"]}, "networks", "in internal networks only"),
        (FRONT, {"addresses": "172.28.0.9", "replicas": 2}, "replicas", "2 replicas do not fit"),
        ({}, {"host": "api"}, "host", "is called 'api' already"),
        ({}, {"published": {"http": 65535}, "replicas": 2}, "ports[0]", "65536 is not a port"),
        (
            {},
            {"log_volume": {"name": "edge-configs", "target": "/var/log/nginx"}},
            "edge-logs",
            "the volume 'edge-configs' is already that of",
        ),
    ],
)
def test_an_edge_is_checked_as_other_workloads_are(
    site: Any, keys: dict[str, Any], place: str, why: str
) -> None:
    [told] = refused(edge(site, **keys))
    assert told.place in (f"EdgeProxy web: {place}", f"EdgeProxy web.{place}")
    assert why in told.why


def test_an_edge_whose_configuration_is_too_long_is_told() -> None:
    routes = [
        {"path": f"/{number}/", "upstream": "api", "websocket": True, "strip_prefix": True}
        for number in range(300)
    ]
    [told] = refused(edge({}, routes=routes))
    assert told.place == "EdgeProxy web: routes"


def test_a_self_signed_certificate_may_be_for_an_address() -> None:
    made = recorded(edge({}, tls={"mode": "self_signed"}, server_names=["10.0.0.5", "a.example"]))
    [certificate] = made.of_type("tls:index/selfSignedCert:SelfSignedCert")
    assert certificate.inputs["dnsNames"] == ["a.example", "localhost", "edge"]
    assert certificate.inputs["ipAddresses"] == ["10.0.0.5", "127.0.0.1"]
    assert certificate.inputs["subject"] == {"commonName": "10.0.0.5"}


def test_on_kubernetes_fixed_addresses_limit_nothing() -> None:
    service = {"addresses": "172.28.0.9", "replicas": 3}
    args: Any = {"target": Target.KUBERNETES, "namespace": "shop"}
    assert recorded(edge(args, service)).resources
    [told] = refused(edge(FRONT, {**service, "networks": ["front"]}))
    assert (told.place, told.remedy) == (
        "AppTier app: services.api.replicas",
        "lower the replicas, or widen 'addresses'",
    )


# --- what other components give -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "place", "why"),
    [
        ("connections", None, "connections", "this is nothing"),
        ("connections", ["db"], "connections", "this is a list"),
        ("connections", {"db": None}, "connections.db", "this is nothing"),
        ("connections", {"db": "postgresql://me:hunter2@db/x"}, "connections.db", "this is a text"),
        ("endpoints", None, "endpoints", "this is nothing"),
        ("endpoints", ["db"], "endpoints", "this is a list"),
        ("endpoints", {"db": None}, "endpoints.db", "this is nothing"),
        ("endpoints", {"db": "db"}, "endpoints.db", "this is a text"),
    ],
)
def test_what_other_components_give_is_a_map_of_maps(
    key: str, value: object, place: str, why: str
) -> None:
    def program() -> None:
        args: Any = {"site": Site("shop", {}).ref, "services": {}, key: value}
        AppTier("app", args)

    assert refused(program) == [
        Mistake(f"AppTier app: {place}", why, f"pass the '{key}' of a component, or leave it out")
    ]


def test_a_queue_is_a_store_that_was_given() -> None:
    def program() -> None:
        worker: Any = {"image": "me/worker:1", "queue": "rdis"}
        AppTier("app", {"site": Site("shop", {}).ref, "services": {"worker": worker}})

    [told] = refused(program)
    assert told.place == "AppTier app: services.worker.queue"
    assert told.why == "there is no store 'rdis' in 'connections'"


def test_a_store_that_was_given_has_a_text_for_dotnet_or_not() -> None:
    def program() -> None:
        site = Site("shop", {}).ref
        data = DataTier("data", {"site": site, "stores": {"db": {"engine": "postgres"}}})
        api: Any = {"image": "me/api:1", "secrets": {"DB": "${db.dotnet}"}}
        AppTier("app", {"site": site, "connections": data.connections, "services": {"api": api}})

    [told] = refused(program)
    assert told.place == "AppTier app: services.api.secrets.DB"
    assert told.why == "'${db.dotnet}' is for mssql, and 'db' is postgres"


@pytest.mark.parametrize("target", [Target.DOCKER, Target.KUBERNETES])
def test_files_are_not_larger_than_what_carries_them(target: Target) -> None:
    args: Any = {"target": target, "namespace": "shop"}

    def program(files: int) -> Callable[[], object]:
        service: Any = {"configs": {f"file-{number}": "x" * 100_000 for number in range(files)}}
        return edge(args, service)

    assert recorded(program(10)).resources
    [told] = refused(program(11))
    assert told.place == "AppTier app: services.api.configs"
    assert told.why == "these files have 1100000 bytes together"


@pytest.mark.parametrize(
    "keys",
    [
        {"volumes": [{"name": "own", "target": "/run/configs/own"}]},
        {"tmpfs": {"/run/configs/own": ""}},
        {"binds": {"/run/configs/own": "/srv"}},
    ],
)
def test_nothing_is_mounted_below_files(keys: dict[str, Any]) -> None:
    [told] = refused(edge({}, {"configs": {"a": "b"}, **keys}))
    assert told.why == "/run/configs/own is below /run/configs, which is read-only"
