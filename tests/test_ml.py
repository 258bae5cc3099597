"""What is described beside a workload for computing with models: GPUs, models, runs on demand."""

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from pulumi_tiers.doubts import doubts
from pulumi_tiers.limits import workload_doubts
from pulumi_tiers.model.errors import Mistake
from pulumi_tiers.model.system import PROFILE_OFF, System, Target
from pulumi_tiers.model.workload import Workload
from pulumi_tiers.models import with_models
from pulumi_tiers.program import main
from pulumi_tiers.render.recorder import record
from pulumi_tiers.systems import SYSTEMS
from test_plan import api, described, mistakes, plan, system

MINIO: dict[str, object] = {
    "engine": "minio",
    "image": "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z",
    "buckets": [{"name": "models", "owner": "training"}],
}
MODEL = {"version": "v2", "store": "minio", "bucket": "models"}


def ml(**services: dict[str, object]) -> System:
    return system({}, {"minio": MINIO}, ml=services)


# --- GPUs -----------------------------------------------------------------------------------------


def test_exclusive_gpus_of_one_machine_have_one_user() -> None:
    """OC-30."""
    made = ml(
        first=api(gpu={}), second=api(gpu={"sharing": "shared"}), third=api(gpu={"devices": [1]})
    )
    remedy = "give it other 'devices', set 'sharing' of both to 'shared', or leave one"
    assert mistakes(made) == [
        Mistake(
            "shop: ml.second.gpu",
            "the GPU 0 is also shop: ml.first's, and not to be shared",
            f"{remedy} out by its profile",
        )
    ]
    # Kubernetes gives each to one container.
    assert plan(made, target="kubernetes").systems[0].ml["second"].gpu is not None


def test_replicas_do_not_share_an_exclusive_gpu() -> None:
    [found] = mistakes(ml(first=api(gpu={}, replicas=2)))
    assert found.place == "shop: ml.first.replicas"
    assert "exclusive" in found.why


def test_who_shares_a_gpu_is_told() -> None:
    shared = {"sharing": "shared"}
    made = plan(ml(first=api(gpu=shared), second=api(gpu=shared))).systems
    assert list(doubts(made, Target.DOCKER)) == ["shop: first and second share GPU 0"]
    assert list(doubts(made, Target.KUBERNETES)) == []


def test_a_queue_that_nobody_declares_is_told() -> None:
    def told(queue: str, target: Target = Target.KUBERNETES) -> list[str]:
        scale = {"max": 3, "queue_length": 5, "queue_name": queue}
        rabbit = {"engine": "rabbitmq", "queues": [{"name": "jobs"}]}
        made = system({"it": api(queue="rabbit", autoscale=scale)}, {"rabbit": rabbit})
        return list(doubts(plan(made, target=str(target)).systems, target))

    assert told("jobs") == told("jbos", Target.DOCKER) == []
    assert told("jbos") == [
        "shop: it is scaled by the queue 'jbos', and rabbit declares jobs: it isn't scaled before a"
        " program declares that one"
    ]


def test_a_stack_can_compute_on_cpus() -> None:
    made = ml(first=api(gpu={"count": 2}, environment={"CUDA_VISIBLE_DEVICES": "0,1", "A": "1"}))
    for off in ("off", False, "false"):
        [chosen] = plan(made, gpu=off).systems
        assert chosen.ml["first"].gpu is None
        assert chosen.ml["first"].environment == {"CUDA_VISIBLE_DEVICES": "", "A": "1"}
    [chosen] = plan(made, gpu="on").systems
    assert chosen.ml["first"].environment["CUDA_VISIBLE_DEVICES"] == "0,1"


@pytest.mark.parametrize(
    ("gpu", "place"),
    [
        ({"count": 0}, "count"),
        ({"count": 17}, "count"),
        ({"count": 2, "devices": [1]}, "devices"),
        ({"devices": [1, 1], "count": 2}, "devices"),
        ({"sharing": "sometimes"}, "sharing"),
        ({"kind": "a b"}, "kind"),
    ],
)
def test_gpus_that_cannot_be_are_refused(gpu: dict[str, object], place: str) -> None:
    with pytest.raises(ValueError, match=place):
        Workload.model_validate(api(gpu=gpu))


# --- runs on demand, sockets, what a target leaves out --------------------------------------------


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"job": True}, "job"),
        ({"stateful": True}, "stateful"),
        ({"per_node": True}, "per_node"),
        ({"replicas": 2}, "replicas"),
        ({"ports": [{"target": 80}]}, "ports"),
        ({"autoscale": {"max": 2}}, "autoscale"),
        ({"metrics": {}}, "there is no port"),
    ],
)
def test_what_runs_on_demand_is_nothing_else(keys: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=place):
        Workload.model_validate(api(on_demand=True, **keys))


def test_what_needs_docker_is_left_out_elsewhere_and_told() -> None:
    made = system({"api": api(), "ui": api(docker_only="it shows containers", profiles=["ui"])})
    [chosen] = plan(made, target="kubernetes").systems
    assert chosen.disabled == {"ui": PROFILE_OFF}
    [chosen] = plan(made, target="kubernetes", profiles={"shop": ["ui"]}).systems
    assert chosen.disabled == {"ui": "it shows containers"}
    assert "shop: ui is left out on kubernetes: it shows containers" in doubts(
        [chosen], Target.KUBERNETES
    )
    [chosen] = plan(made, profiles={"shop": ["ui"]}).systems
    assert set(chosen.services) == {"api", "ui"}


def test_the_socket_of_the_daemon_is_given_by_name() -> None:
    made = system({"api": api(), "ui": api(profiles=["ui"])})
    [chosen] = plan(made, docker_sockets=["shop/api"]).systems
    assert chosen.services["api"].docker_socket
    told = workload_doubts("shop: services.api", chosen.services["api"], Target.DOCKER)
    assert any("the socket of the Docker daemon" in doubt for doubt in told)
    assert mistakes(made, docker_sockets=["shop/ui", "shop/ap"]) == [
        Mistake(
            "tiers:docker_sockets[0]",
            "its profile is off in this stack",
            "choose it in tiers:profiles.shop, or remove this",
        ),
        Mistake(
            "tiers:docker_sockets[1]",
            "the stack has no such service",
            "did you mean 'shop/api'? valid: shop/api",
        ),
    ]
    [found] = mistakes(made, docker_sockets=["shop/api"], target="kubernetes")
    assert found.why == "there is no Docker daemon on kubernetes"


def test_a_description_has_profiles_of_its_own() -> None:
    made = system(
        {"api": api(), "ui": api(profiles=["ui"]), "job": api(profiles=["job"])},
        default_profiles=["ui"],
    )
    assert set(plan(made).systems[0].services) == {"api", "ui"}
    assert set(plan(made, profiles={"shop": []}).systems[0].services) == {"api"}
    assert set(plan(made, profiles={"shop": ["job"]}).systems[0].services) == {"api", "job"}


def test_a_database_is_there_with_who_needs_it() -> None:
    databases = [{"name": "shop"}, {"name": "ui", "profiles": ["ui"]}]
    made = system({"api": api()}, {"postgres": {"engine": "postgres", "databases": databases}})
    assert [item.name for item in plan(made).systems[0].stores["postgres"].databases] == ["shop"]
    [chosen] = plan(made, profiles={"shop": ["ui"]}).systems
    assert [item.name for item in chosen.stores["postgres"].databases] == ["shop", "ui"]


def test_a_secret_that_a_service_needs_is_asked_for() -> None:
    made = system({"ui": api(required_secrets=["TOKEN"], profiles=["ui"])})
    assert plan(made)
    [found] = mistakes(made, profiles={"shop": ["ui"]})
    assert (found.place, found.why) == (
        "tiers:secrets.shop/TOKEN",
        "is missing, and ui can't run without it",
    )
    token = "x8Kq2mZr5vT1nB7wLp4c"
    [chosen] = plan(made, profiles={"shop": ["ui"]}, secrets={"shop/TOKEN": token}).systems
    assert chosen.services["ui"].secrets == {"TOKEN": token}


def test_only_edges_are_published_where_a_stack_says_so() -> None:
    edge = {
        "upstreams": {"it": {"endpoint": "api"}},
        "routes": [{"path": "/", "upstream": "it"}],
        "published": {"http": 80, "https": 443},
    }
    made = system(
        {"api": api(ports=[{"target": 80, "published": 8000}])},
        {"minio": {**MINIO, "published": 9000, "console": 9001}},
        edges={"nginx": edge},
    )
    [chosen] = plan(made, publish="edges", port_offset=1000).systems
    assert [port.published for port in chosen.services["api"].ports] == [None]
    assert (chosen.stores["minio"].published, chosen.stores["minio"].console) == (None, None)
    assert chosen.edges["nginx"].published.http == 1080
    [chosen] = plan(made, publish="all", port_offset=1000).systems
    assert (chosen.stores["minio"].published, chosen.stores["minio"].console) == (10000, 10001)


# --- models ---------------------------------------------------------------------------------------


def test_a_model_is_fetched_by_what_runs_before() -> None:
    [chosen] = plan(
        ml(classifier=api(models={"it": MODEL}, environment={"AT": "${model.it.path}"}))
    ).systems
    made = with_models("classifier", chosen.ml["classifier"])
    assert made.environment == {"AT": "/app/models/v2"}
    assert made.init is not None
    assert made.init.command == ["it", "v2", "/app/models", "models", "no"]
    assert made.init.secrets == {
        "MODEL_1_URL": "${minio.models.url}",
        "MODEL_1_KEY": "${minio.models.password}",
    }
    [volume] = made.volumes
    assert (volume.name, volume.target, volume.read_only, volume.scratch) == (
        *("classifier-models", "/app/models"),
        *(True, True),
    )
    assert with_models("classifier", made) == made


def test_models_are_never_left_out_for_another_init() -> None:
    with pytest.raises(ValueError, match="fetched by one that is made for them"):
        Workload.model_validate(api(models={"it": MODEL}, init={"image": "busybox:1"}))


def test_a_stack_names_the_version_of_a_model_and_a_mirror_of_its_image() -> None:
    made = ml(classifier=api(models={"it": {**MODEL, "optional": True}}))
    [chosen] = plan(
        made, models={"shop/classifier/it": "v3"}, registry="quay.io=mirror.example.com/quay"
    ).systems
    model = chosen.ml["classifier"].models["it"]
    assert (model.version, model.optional) == ("v3", False)
    assert str(model.image).startswith("mirror.example.com/quay/minio/minio:")


@pytest.mark.parametrize(
    ("models", "place", "why"),
    [
        ({"shop/classifier/its": "v3"}, "tiers:models.shop/classifier/its", "no such model"),
        ({"shop/classifier/it": "../v3"}, "tiers:models.shop/classifier/it", "name of a version"),
        ({"shop/off/it": "v3"}, "tiers:models.shop/off/it", "its profile is off"),
    ],
)
def test_a_version_is_that_of_a_model(models: dict[str, str], place: str, why: str) -> None:
    made = ml(classifier=api(models={"it": MODEL}), off=api(models={"it": MODEL}, profiles=["off"]))
    [found] = mistakes(made, models=models)
    assert found.place == place
    assert why in found.why


def test_the_bucket_of_a_model_is_there() -> None:
    [found] = mistakes(ml(classifier=api(models={"it": {**MODEL, "bucket": "model"}})))[:1]
    assert found.place == "shop: ml.classifier.models.it.bucket"
    assert found.why == "there is no bucket 'model' in a store 'minio'"
    with pytest.raises(ValueError, match="a bucket is in a store"):
        Workload.model_validate(api(models={"it": {"version": "v1", "bucket": "models"}}))


class Fetching:
    """The script that fetches, with a folder in the place of a bucket."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bucket = root / "bucket" / "models" / "it"
        self.folder = root / "volume"
        self.folder.mkdir()
        tools = root / "tools"
        tools.mkdir()
        mc = tools / "mc"
        mc.write_text(
            '#!/bin/sh\nset -eu\nshift\ncase "$1" in\n'
            'alias) read -r user; read -r key; [ "$user/$key/$4" = me/word/http://minio:9000 ] ;;\n'
            f'ls) cd {root}/bucket; path=${{2#store/}}; [ ! -e "$path" ] || echo "$path" ;;\n'
            f'cp) cp -r {root}/bucket/"${{3#store/}}". "$4" ;;\nesac\n',
            encoding="utf-8",
        )
        mc.chmod(0o755)
        self.path = f"{tools}:{os.environ['PATH']}"

    def put(self, version: str, text: str = "it", sums: str | None = None) -> None:
        folder = self.bucket / version
        folder.mkdir(parents=True)
        (folder / "model.json").write_text(text, encoding="utf-8")
        digest = sums or hashlib.sha256(text.encode()).hexdigest()
        (folder / "SHA256SUMS").write_text(f"{digest}  model.json\n", encoding="utf-8")

    def run(self, version: str, *, optional: bool = False) -> subprocess.CompletedProcess[str]:
        models: dict[str, dict[str, object]] = {
            "it": {**MODEL, "version": version, "target": str(self.folder)}
        }
        if optional:
            models["it"]["optional"] = True
        made = with_models("classifier", Workload.model_validate(api(models=models)))
        assert made.init is not None
        return subprocess.run(
            [*made.init.entrypoint, *made.init.command],
            env={
                "PATH": self.path,
                "MODEL_1_URL": "http://minio:9000",
                "MODEL_1_USER": "me",
                "MODEL_1_KEY": "word",
            },
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def versions(self) -> list[str]:
        return sorted(item.name for item in self.folder.iterdir())


@pytest.fixture
def fetching(tmp_path: Path) -> Fetching:
    return Fetching(tmp_path)


def test_a_version_is_fetched_once_and_the_one_before_is_kept(fetching: Fetching) -> None:
    for version in ("v1", "v2", "v3"):
        fetching.put(version, version)
        assert fetching.run(version).stdout == f"model it {version}: fetched\n"
        os.utime(fetching.folder / version, (int(version[1:]), int(version[1:])))
    assert fetching.versions == ["v2", "v3"]
    assert (fetching.folder / "v3" / "model.json").read_text() == "v3"
    again = fetching.run("v3")
    assert (again.returncode, again.stdout) == (0, "")


def test_what_is_not_as_its_sums_say_is_not_used(fetching: Fetching) -> None:
    fetching.put("v1", sums="0" * 64)
    found = fetching.run("v1")
    assert found.returncode == 1
    assert "model it v1: not what its SHA256SUMS says; it is not used\n" in found.stderr
    assert "v1" not in fetching.versions


def test_what_was_changed_on_the_volume_is_not_used(fetching: Fetching) -> None:
    fetching.put("v1")
    assert fetching.run("v1").returncode == 0
    (fetching.folder / "v1" / "model.json").write_text("another")
    found = fetching.run("v1")
    assert found.returncode == 1
    assert f"{fetching.folder}/v1 is not what its SHA256SUMS says\n" in found.stderr


def test_a_version_that_is_not_there_stops_the_start_unless_it_is_optional(
    fetching: Fetching,
) -> None:
    found = fetching.run("v9")
    assert (found.returncode, found.stderr) == (
        1,
        "model it v9: there is none in the bucket models\n",
    )
    assert fetching.run("v9", optional=True).returncode == 0
    assert fetching.versions == []


def test_the_image_that_fetches_can_be_another_one() -> None:
    made = ml(it=api(models={"it": MODEL}), other=api(init={"image": "init:1"}))
    images = {"shop/it-init": "mirror/mc:1", "shop/other-init": "mirror/init:1"}
    services = plan(made, images=images).systems[0].ml
    assert services["it"].models["it"].image == "mirror/mc:1"
    assert services["other"].init is not None
    assert services["other"].init.image == "mirror/init:1"
    [mistake] = mistakes(ml(it=api()), images={"shop/it-init": "mirror/mc:1"})
    assert mistake.place == "tiers:images.shop/it-init"


# --- scaling by a queue ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("autoscale", "place"),
    [
        ({"max": 3, "min": 0}, "min"),
        ({"max": 3, "queue_name": "jobs"}, "queue_length"),
        ({"max": 3, "queue_length": 5}, "queue_name"),
        ({"max": 3, "queue_length": 5, "queue_name": "jobs"}, "autoscale.queue_name"),
    ],
)
def test_a_queue_that_scales_is_described_whole(autoscale: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=place):
        Workload.model_validate(api(autoscale=autoscale))


def test_without_a_queue_the_cpu_counts() -> None:
    given = {"max": 3, "queue_length": 5, "queue_name": "jobs", "min": 0}
    made = Workload.model_validate(api(queue="redis", autoscale=given))
    assert made.autoscale is not None
    assert made.autoscale.percent is None
    plain = Workload.model_validate(api(autoscale={"max": 3}))
    assert plain.autoscale is not None
    assert plain.autoscale.percent == 70


# --- what would only be noticed when it runs ------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "place"),
    [
        ({"init": {"image": "a:1", "environment": {"A": "1"}, "secrets": {"A": "2"}}}, "init.env"),
        ({"init": {"image": "a:1", "command": ["sh", ""]}}, r"init.command"),
        (
            {
                "init": {"image": "a:1", "tmpfs": {"/v": ""}},
                "volumes": [{"name": "v", "target": "/v"}],
            },
            "init.tmpfs./v",
        ),
        ({"job": True, "ports": [{"target": 80}], "metrics": {}}, "metrics"),
        ({"ports": [{"target": 80}], "metrics": {"interval": "1h"}}, "metrics.interval"),
        ({"models": {"it": MODEL}, "tmpfs": {"/app/models": ""}}, "models.it.target"),
        ({"models": {"it": MODEL}, "binds": {"/app/models": "/x"}}, "models.it.target"),
        (
            {"models": {"it": MODEL}, "volumes": [{"name": "v", "target": "/app/models"}]},
            "models.it.target",
        ),
        ({"models": {"it": {**MODEL, "target": "/tmp"}}}, "models.it.target"),
        ({"models": {"it": {**MODEL, "target": "/data"}}}, "models.it.target"),
        (
            {"models": {"it": MODEL, "other": {**MODEL, "target": "/app/models/other"}}},
            "models.other.target",
        ),
        ({"models": {"it": {**MODEL, "version": ".."}}}, "models.it.version"),
    ],
)
def test_what_could_not_run_is_refused(keys: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match=place):
        Workload.model_validate(api(**keys))


TARGETS = pytest.mark.parametrize("target", list(Target))


@TARGETS
def test_models_may_be_what_somebody_put_into_a_volume(target: Target) -> None:
    config = {"tiers:systems": ["shop"], "tiers:target": str(target)}
    made = ml(it=api(models={"it": {"version": "v1"}}))
    with mock.patch.dict(SYSTEMS, {"shop": described(made)}, clear=True):
        assert record(main, project="tiers", stack="dev", config=config).resources


@pytest.mark.parametrize(
    ("models", "place", "why"),
    [
        (
            {"it": MODEL, "m" * 40: {**MODEL, "target": "/other"}},
            f"models.{'m' * 40}",
            "has 58 characters",
        ),
        ({"it": {**MODEL, "store": "postgres"}}, "models.it.bucket", "and has no buckets"),
    ],
)
def test_the_names_and_stores_of_models_fit(
    models: dict[str, object], place: str, why: str
) -> None:
    databases = [{"name": "models"}]
    stores = {"minio": MINIO, "postgres": {"engine": "postgres", "databases": databases}}
    [found] = mistakes(system({}, stores, ml={"classifier": api(models=models)}))
    assert found.place == f"shop: ml.classifier.{place}"
    assert why in found.why


def test_the_path_of_a_model_is_told_where_the_program_can_read_it() -> None:
    path = "${model.it.path}"
    made = with_models("it", Workload.model_validate(api(models={"it": MODEL}, command=[path])))
    assert made.command == ["/app/models/v2"]
    keys = {"environment": {"A": "${model.its.path}"}, "secrets": {"B": path}}
    remedy = "write it in 'environment' or 'command', with a name out of 'models'"
    assert mistakes(ml(it=api(models={"it": MODEL}, **keys))) == [
        Mistake(
            "shop: ml.it.environment.A",
            "'${model.its.path}' names no model of the service",
            remedy,
        ),
        Mistake("shop: ml.it.secrets.B", f"'{path}' is no secret", remedy),
    ]


@TARGETS
def test_nobody_waits_for_what_runs_on_demand_or_is_led_there(target: Target) -> None:
    edge = {
        "upstreams": {"it": {"endpoint": "training"}, "job": {"endpoint": "job"}},
        "routes": [{"path": "/", "upstream": "it"}, {"path": "/job", "upstream": "job"}],
    }
    waiting = dict.fromkeys(["training"], "service_started")
    made = system(
        {"api": api(depends_on=waiting), "job": api(job=True, ports=[{"target": 80}])},
        ml={"training": api(on_demand=True)},
        edges={"nginx": edge},
    )
    ends = "can't be reached: it runs to its end, and answers nobody after that"
    assert mistakes(made, target=str(target)) == [
        Mistake(
            "shop: edges.nginx.upstreams.it.endpoint",
            f"'training' {ends}",
            "name a service that stays, or remove the upstream",
        ),
        Mistake(
            "shop: edges.nginx.upstreams.job.endpoint",
            f"'job' {ends}",
            "name a service that stays, or remove the upstream",
        ),
        Mistake(
            "shop: services.api.depends_on.training",
            "'training' runs only when somebody asks for it: nobody can wait for it",
            "remove the dependency, or its 'on_demand'",
        ),
    ]


def test_systems_of_a_stack_do_not_share_an_exclusive_gpu() -> None:
    blog = system({}, name="blog", ml={"writer": api(gpu={})})
    [found] = mistakes(ml(it=api(gpu={})), blog)
    assert (found.place, found.why) == (
        "blog: ml.writer.gpu",
        "the GPU 0 is also shop: ml.it's, and not to be shared",
    )
    assert plan(ml(it=api(gpu={})), blog, target="kubernetes")


def test_only_queues_that_can_be_measured_scale() -> None:
    scale = {"max": 3, "queue_length": 5, "queue_name": "jobs"}
    made = system({"it": api(queue="mongo", autoscale=scale)}, {"mongo": {"engine": "mongo"}})
    [found] = mistakes(made, target="kubernetes")
    assert found.place == "shop: services.it.autoscale.queue_name"
    assert "nobody measures the length of a queue in mongo" in found.why


def test_what_a_description_chooses_by_itself_is_there() -> None:
    [found] = mistakes(system({"ui": api(profiles=["ui"])}, default_profiles=["uis"]))
    assert found == Mistake(
        "shop: default_profiles[0]", "nothing has the profile 'uis'", "did you mean 'ui'? valid: ui"
    )


def test_a_secret_that_two_need_is_missing_once() -> None:
    token = {"required_secrets": ["TOKEN"]}
    made = system({"one": api(**token, profiles=["a"]), "two": api(**token, profiles=["b"])})
    assert mistakes(made, profiles={"shop": ["a", "b"]}) == [
        Mistake(
            "tiers:secrets.shop/TOKEN",
            "is missing, and one and two can't run without it",
            "set it: pulumi config set --secret --path 'tiers:secrets[\"shop/TOKEN\"]';"
            " or leave 'a' and 'b' out of tiers:profiles.shop",
        )
    ]


def test_who_watches_is_not_multiplied() -> None:
    made = system({"it": api()}, observability={})
    [found] = mistakes(made, replicas={"shop/prometheus": 2})
    assert found.place == "tiers:replicas.shop/prometheus"
    assert "there is one prometheus" in found.why


def test_secrets_of_what_runs_before_are_judged_too() -> None:
    init = {"image": "a:1", "secrets": {"TOKEN": "changeme"}}
    made = system({"it": api(init=init)}, environment="production")
    [found] = mistakes(made, environment="production")
    assert found.place == "shop: services.it.init.secrets.TOKEN"
    assert "changeme" not in str(found)
