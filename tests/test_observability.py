"""What watches a system: jobs, rules, channels; each alert fires and resolves."""

import itertools
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pulumi
import pytest
import yaml
from containers import stand_in
from pulumi_tiers.app_tier import AppTier, WorkloadArgs
from pulumi_tiers.data_tier import DataTier, IndexArgs, StoreArgs
from pulumi_tiers.engines import ENGINES
from pulumi_tiers.model.base import seconds
from pulumi_tiers.model.edge import Edge, Route, Tls, TlsMode, Upstream
from pulumi_tiers.model.errors import mistakes_of
from pulumi_tiers.model.observability import Alerts, Family, Logs, Observability, Severity
from pulumi_tiers.model.store import Store
from pulumi_tiers.model.system import Environment, System, Target
from pulumi_tiers.model.workload import Autoscale, Healthcheck, Metrics, Port, Workload
from pulumi_tiers.observability import check_observability, observability_workloads, watched
from pulumi_tiers.observability.alertmanager import IMAGE as ALERTMANAGER_IMAGE
from pulumi_tiers.observability.alertmanager import configuration as channels_file
from pulumi_tiers.observability.alerts import Alert
from pulumi_tiers.observability.component import LogsArgs, ObservabilityArgs
from pulumi_tiers.observability.component import Observability as WatchingComponent
from pulumi_tiers.observability.exporters import EXPORTERS
from pulumi_tiers.observability.metrics import CATALOGUE, exported
from pulumi_tiers.observability.prometheus import IMAGE as PROMETHEUS_IMAGE
from pulumi_tiers.observability.prometheus import jobs
from pulumi_tiers.observability.rules import NAMES, alerts
from pulumi_tiers.promql import metrics_in
from pulumi_tiers.render.recorder import Recording, record
from pulumi_tiers.site import Site
from pulumi_tiers.systems import SYSTEMS
from pydantic import ValidationError

STORES = ("postgres", "redis", "mongo", "minio", "rabbitmq", "mssql", "elasticsearch")
CHANNELS = {
    "slack": {"webhook_url": "https://hooks.slack.com/a", "channel": "#ops"},
    "discord": {"webhook_url": "https://discord.com/api/webhooks/b"},
    "email": {
        "to": ["ops@example.com"],
        "sender": "alerts@example.com",
        "smarthost": "smtp.example.com:587",
        "username": "alerts",
        "password": "pa$$word",
    },
}


def everything(**service: Any) -> System:
    """A system with a store of each kind, an edge with a certificate, and three replicas."""
    given: dict[str, Any] = {
        "image": "api:1",
        "ports": [Port(target=3000)],
        "metrics": Metrics(interval="10s"),
        "healthcheck": Healthcheck(test=["CMD", "true"], path="/health"),
        "replicas": 3,
    }
    api = Workload(**{**given, **service})
    edge = Edge(
        upstreams={"api": Upstream(endpoint="api")},
        routes=[Route(path="/", upstream="api")],
        tls=Tls(mode=TlsMode.SELF_SIGNED),
    )
    return System(
        name="shop",
        title="Shop",
        environment=Environment.PRODUCTION,
        stores={name: Store(engine=name) for name in STORES},
        services={"api": api},
        edges={"nginx": watched(edge)},
    )


def observed(**keys: Any) -> Observability:
    return Observability.model_validate(keys)


def config_of(system: System, target: Target = Target.DOCKER, **keys: Any) -> dict[str, Any]:
    made = observability_workloads(system, observed(**keys), target)
    return dict(yaml.safe_load(made["prometheus"].configs["prometheus.yml"]))


def rules_of(system: System, target: Target = Target.DOCKER, **keys: Any) -> list[Alert]:
    return alerts_of(system, observed(**keys), target)


def alerts_of(system: System, wanted: Observability, target: Target) -> list[Alert]:
    watchers = observability_workloads(system, wanted, target)
    return alerts(system, wanted, target, jobs(system, wanted, target, watchers))


# --- whom Prometheus asks -------------------------------------------------------------------------


def test_every_workload_with_metrics_is_asked_as_it_says() -> None:
    config = config_of(everything(), intervals={"postgres": "30s"})
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert set(jobs) == {
        *("api", "prometheus", "alertmanager", "grafana", "node", "nginx", "blackbox"),
        *STORES,
        *("probe/health", "probe/certificate"),
    }
    # VI-01: an exporter answers under the store's name, and not the store on its SQL port.
    assert jobs["postgres"]["static_configs"] == [{"targets": ["postgres-exporter:9187"]}]
    assert jobs["postgres"]["scrape_interval"] == "30s"
    assert jobs["rabbitmq"]["static_configs"] == [{"targets": ["rabbitmq:15692"]}]
    assert jobs["minio"]["metrics_path"] == "/minio/v2/metrics/cluster"
    # Each of several replicas.
    assert jobs["api"]["dns_sd_configs"][0]["names"] == ["api"]
    assert jobs["api"]["dns_sd_configs"][0]["port"] == 3000
    assert jobs["api"]["scrape_interval"] == "10s"
    [health] = jobs["probe/health"]["static_configs"]
    assert health["targets"] == ["http://api:3000/health"]
    [certificate] = jobs["probe/certificate"]["static_configs"]
    assert certificate["targets"] == ["nginx:8443"]
    assert config["global"]["external_labels"] == {"system": "shop", "environment": "production"}


def test_vision_is_asked_as_it_is_documented() -> None:
    """L145-163."""
    system = SYSTEMS["vision"](Environment.DEVELOPMENT)
    assert system.observability
    made = observability_workloads(system, system.observability, Target.DOCKER)
    config = yaml.safe_load(made["prometheus"].configs["prometheus.yml"])
    assert config["global"]["scrape_interval"] == "15s"
    assert config["global"]["evaluation_interval"] == "15s"
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    assert jobs["vision-api"]["scrape_interval"] == "10s"
    assert jobs["vision-api"]["static_configs"] == [{"targets": ["vision-api:8000"]}]
    assert "metrics_path" not in jobs["vision-api"]  # Prometheus' default, /metrics
    assert jobs["postgres"]["scrape_interval"] == "30s"


def test_kubernetes_pods_are_found_by_their_annotations() -> None:
    config = config_of(everything(), Target.KUBERNETES)
    pods, node, *probes = config["scrape_configs"]
    assert pods["kubernetes_sd_configs"] == [{"role": "pod", "namespaces": {"own_namespace": True}}]
    labels = [rule.get("target_label") for rule in pods["relabel_configs"]]
    assert {"__address__", "__metrics_path__", "__scrape_interval__", "job", "pod"} <= {*labels}
    # Collectors are in another namespace: by their name.
    assert node["job_name"] == "node"
    assert node["dns_sd_configs"][0]["names"] == ["node-exporter"]
    assert {job["job_name"] for job in probes} == {"probe/health", "probe/certificate"}
    made = observability_workloads(everything(), Observability(), Target.KUBERNETES)
    assert made["prometheus"].discovers
    assert made["node-exporter"].per_node
    assert not made["prometheus"].ports[0].published


def test_managed_stores_are_asked_over_tls() -> None:
    system = everything()
    made = observability_workloads(system, Observability(), Target.DIGITALOCEAN)
    assert made["postgres-exporter"].environment["DATA_SOURCE_URI"].endswith("sslmode=require")
    local = observability_workloads(system, Observability(), Target.DOCKER)
    assert local["postgres-exporter"].environment["DATA_SOURCE_URI"].endswith("sslmode=disable")


def test_ports_are_published_in_development_only() -> None:
    documented = {"prometheus": 9090, "alertmanager": 9093, "grafana": 3000}
    production = observability_workloads(everything(), Observability(), Target.DOCKER)
    assert not any(port.published for item in production.values() for port in item.ports)
    system = everything().model_copy(update={"environment": Environment.DEVELOPMENT})
    development = observability_workloads(system, Observability(), Target.DOCKER)
    found = {
        name: port.published
        for name, item in development.items()
        for port in item.ports
        if port.published
    }
    assert found == documented
    assert {port.host_ip for item in development.values() for port in item.ports} == {"127.0.0.1"}


def test_what_watches_keeps_no_secret_in_clear_and_no_right_that_it_does_not_need() -> None:
    wanted = observed(alerts=CHANNELS)
    for name, workload in observability_workloads(everything(), wanted, Target.DOCKER).items():
        assert workload.read_only, name
        assert not workload.cap_add, name
        assert workload.user.partition(":")[0] != "0", name
        shown = json.dumps([workload.command, workload.environment, workload.configs])
        for secret in ("hooks.slack", "api/webhooks", "pa$$word", ".password}", ".url}"):
            assert secret not in shown, name


def test_what_has_no_shell_is_asked_how_it_is_by_kubernetes_alone() -> None:
    for target in (Target.DOCKER, Target.KUBERNETES):
        made = observability_workloads(everything(), Observability(), target)
        for name, workload in made.items():
            assert workload.healthcheck, name
            assert workload.healthcheck.path, name
            assert workload.tells_health is (name not in {"nginx-exporter", "mongo-exporter"}), name


def test_retention_leaves_room_on_the_volume() -> None:
    wanted = {"prometheus": {"retention_days": 30, "size": "20Gi"}}
    made = observability_workloads(everything(), observed(**wanted), Target.DOCKER)
    assert "--storage.tsdb.retention.time=30d" in made["prometheus"].command
    assert "--storage.tsdb.retention.size=16384MB" in made["prometheus"].command


# --- Alertmanager ---------------------------------------------------------------------------------


def test_each_channel_gets_its_secret_as_a_file() -> None:
    wanted = observed(alerts=CHANNELS)
    workload = observability_workloads(everything(), wanted, Target.DOCKER)["alertmanager"]
    files = dict(workload.secret_files)
    config = yaml.safe_load(files.pop("alertmanager.yml"))
    assert files == {
        "slack": "https://hooks.slack.com/a",
        # Discord takes what Slack takes there.
        "discord": "https://discord.com/api/webhooks/b/slack",
        # As a description has it: no dollar sign of a password begins a reference.
        "email-password": "pa$$$$word",
    }
    config = yaml.safe_load(workload.secret_files["alertmanager.yml"])
    [receiver] = config["receivers"]
    assert [item["api_url_file"] for item in receiver["slack_configs"]] == [
        "/run/secrets/slack",
        "/run/secrets/discord",
    ]
    [email] = receiver["email_configs"]
    assert email["require_tls"]
    assert email["auth_password_file"] == "/run/secrets/email-password"
    assert config["route"]["group_by"] == ["system", "family"]


def test_without_a_channel_alerts_are_shown_and_told_to_nobody() -> None:
    workload = observability_workloads(everything(), Observability(), Target.DOCKER)["alertmanager"]
    assert set(workload.secret_files) == {"alertmanager.yml"}
    config = yaml.safe_load(workload.secret_files["alertmanager.yml"])
    assert config["receivers"] == [{"name": "everybody"}]


# --- rules ----------------------------------------------------------------------------------------


def everywhere() -> Iterator[Any]:
    yield pytest.param(everything(), Target.DOCKER, id="everything-docker")
    yield pytest.param(everything(), Target.KUBERNETES, id="everything-kubernetes")
    for name, make in SYSTEMS.items():
        for environment in Environment:
            for target in Target:
                ident = f"{name}-{environment}-{target}"
                yield pytest.param(make(environment), target, id=ident)


@pytest.mark.parametrize(("system", "target"), list(everywhere()))
def test_every_metric_in_a_rule_is_exported_by_something(system: System, target: Target) -> None:
    wanted = system.observability or Observability()
    known = exported(system, wanted, target)
    found = alerts_of(system, wanted, target)
    assert found
    for alert in found:
        assert metrics_in(alert.expr) <= known, alert.name
        assert alert.name in NAMES
    # Nobody watches for what nobody has.
    assert not list(check_observability("", system, wanted, target))


def test_all_rules_are_there_and_say_all_that_is_needed() -> None:
    found = rules_of(everything())
    assert {alert.name for alert in found} == set(NAMES)
    assert {alert.family for alert in found} == set(Family)
    for alert in found:
        document = alert.document()
        assert set(document["labels"]) >= {"family", "severity"}
        assert set(document["annotations"]) == {"summary", "runbook"}
        assert len(alert.runbook) > 30, alert.name
        # Else it would fire at the first hiccup.
        assert seconds(alert.pending) >= 60, alert.name
        # What inhibits and groups.
        assert "job" in alert.expr or alert.name.startswith("Disk") or alert.name == "HighMemory"


def test_thresholds_are_the_descriptions() -> None:
    ours = {alert.name: alert for alert in rules_of(everything())}
    assert ours["HighResponseTime"].expr.endswith("> 1")
    assert ours["HighResponseTime"].document()["labels"]["threshold"] == "response_seconds=1"
    theirs = rules_of(everything(), thresholds={"response_seconds": 0.25, "certificate_days": 30})
    own = {alert.name: alert for alert in theirs}
    assert own["HighResponseTime"].expr.endswith("> 0.25")
    assert own["CertificateExpiring"].expr.endswith("< 30")


def test_rules_are_left_out_and_added() -> None:
    found = rules_of(
        everything(),
        without=["HighCpu"],
        exports=["orders_total"],
        extra_rules={
            "TooFewOrders": {
                "expr": "sum(rate(orders_total[10m])) < 1",
                "family": "business",
                "severity": "info",
                "summary": "few orders",
                "action": "look at the shop",
            }
        },
    )
    by_name = {alert.name: alert for alert in found}
    assert "HighCpu" not in by_name
    assert by_name["TooFewOrders"].severity is Severity.INFO
    assert by_name["TooFewOrders"].pending == "5m"


def test_programs_that_tell_nothing_have_no_rules() -> None:
    system = everything(metrics=None)
    names = {alert.name for alert in rules_of(system)}
    assert not names & {"HighResponseTime", "HighErrorRate", "JobsFailing", "ManyLoginFailures"}
    quiet = rules_of(everything(), program={"login_failures": None, "jobs": ""})
    assert not {alert.name for alert in quiet} & {"ManyLoginFailures", "JobsFailing", "NoWorkDone"}


def test_what_scales_to_nothing_is_not_missed() -> None:
    system = everything(autoscale=Autoscale(min=2, max=5), replicas=1)
    [alert] = [
        item
        for item in rules_of(system, Target.KUBERNETES)
        if item.name == "ReplicasMissing" and '"api"' in item.expr
    ]
    assert "< 2" in alert.expr


def test_the_catalogue_knows_every_exporter() -> None:
    assert set(EXPORTERS) - {"nginx", "node", "blackbox"} <= set(ENGINES)
    assert set(ENGINES) <= set(CATALOGUE)


# --- bad input ------------------------------------------------------------------------------------


def refused(**keys: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        observed(**keys)
    return "\n".join(str(mistake) for mistake in mistakes_of(caught.value))


RULE = {"family": "business", "summary": "s", "action": "a"}


@pytest.mark.parametrize(
    ("expr", "why"),
    [
        ("up ==", "this is not PromQL"),
        ("rate(up) > 1", "expected type matrix"),
        ("up[5m]", "neither a vector nor a number"),
        ("sum by (job (up)", "unclosed left parenthesis"),
        ("", "the text is empty"),
        ("(" * 5000, "has 5000 characters"),
        # The parser would take minutes.
        ("(" * 1500 + "up" + ")" * 1500, "more than 100 brackets or signs"),
        ("-" * 3000 + "up", "more than 100 brackets or signs"),
    ],
)
def test_a_rule_that_does_not_parse_is_refused(expr: str, why: str) -> None:
    told = refused(extra_rules={"Mine": {**RULE, "expr": expr}})
    assert "extra_rules.Mine.expr" in told
    assert why in told


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"alerts": {"email": {"to": [], "sender": "a@b", "smarthost": "h:25"}}}, "list is empty"),
        (
            {"alerts": {"email": {"to": ["ab"], "sender": "a@b", "smarthost": "h:25"}}},
            "'ab' is not an address",
        ),
        (
            {"alerts": {"email": {"to": ["a@b"], "sender": "a@b", "smarthost": "h"}}},
            "smtp.example.com:587",
        ),
        (
            {
                "alerts": {
                    "email": {
                        "to": ["a@b"],
                        "sender": "a@b",
                        "smarthost": "h:25",
                        "username": "u",
                    }
                }
            },
            "password: is missing",
        ),
        ({"alerts": {"slak": {}}}, "did you mean 'slack'?"),
        *(
            ({"alerts": {"slack": {"webhook_url": "https://a", "channel": channel}}}, "#ops")
            for channel in ("{{bad}}", "#a\nb", "two words")
        ),
        *(
            ({"alerts": {"email": {"to": [to], "sender": "a@b", "smarthost": host}}}, why)
            for to, host, why in (
                ("{{x}}@b", "h:25", "'{{x}}@b' is not an address"),
                ("a@b", "h:99999", "smtp.example.com:587"),
                ("a@b", "h:٢٥", "smtp.example.com:587"),
                ("a@b", "-:0", "smtp.example.com:587"),
            )
        ),
        ({"intervals": {"postgres": "5m"}}, "is not 1s to 2m"),
        ({"prometheus": {"evaluation_interval": "0s"}}, "is not 1s to 2m"),
        ({"thresholds": {"cpu_percent": 120}}, "use at most 100"),
        ({"thresholds": {"cpu_percent": "85"}}, "write a number, without quotes"),
        ({"thresholds": {"job_quality": True}}, "write a number, without quotes"),
        ({"alerts": {"group_interval": "0s"}}, "Alertmanager does not start with 0"),
        ({"alerts": {"repeat_interval": "0m"}}, "Alertmanager does not start with 0"),
        (
            {
                "alerts": {
                    "email": {
                        "to": ["a@b"],
                        "sender": "a@b",
                        "smarthost": "h:25",
                        "username": "u",
                        "password": "",
                    }
                }
            },
            "the password is empty",
        ),
        ({"extra_rules": {"too-few": {**RULE, "expr": "up"}}}, "not a name for an alert"),
        ({"program": {"requests": "http requests"}}, "not the name of a metric"),
    ],
)
def test_mistakes_are_told(keys: dict[str, Any], told: str) -> None:
    assert told in refused(**keys)


@pytest.mark.parametrize(
    "slack",
    [
        {"webhook_url": 12345678901},
        {"webhook_url": "hooks.example.com/12345678901"},
        {"webhook_url": "https://hooks.example.com/12345678901\n"},
        {"webhook": "https://hooks.example.com/12345678901"},
        "https://hooks.example.com/12345678901",
    ],
)
@pytest.mark.parametrize("channel", ["slack", "discord"])
def test_a_webhook_is_never_repeated(slack: object, channel: str) -> None:
    told = refused(alerts={channel: slack})
    assert f"alerts.{channel}" in told
    assert "12345678901" not in told


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{{ $labels.job", "a '{{' has no '}}'"),
        ("{{ nonsense }}", "know no 'nonsense'"),
        ("{{ $lables.job }}", "know no '$lables'"),
        ("{{ }}", "is empty"),
        ("{{ range }}x{{ end }}", "the 'range' of a template belongs to nothing"),
        ("x {{ end }}", "the 'end' of a template belongs to nothing"),
        ("{{ if gt $value 1.0 }}x", "has no 'end'"),
    ],
)
def test_a_template_that_prometheus_refuses_is_refused(text: str, why: str) -> None:
    told = refused(extra_rules={"Mine": {**RULE, "expr": "up", "summary": text, "action": text}})
    assert "extra_rules.Mine.summary" in told
    assert "extra_rules.Mine.action" in told
    assert why in told


@pytest.mark.parametrize(
    "text",
    [
        "{{ $labels.job }} waits {{ $value | humanizeDuration }}",
        '{{ printf "%.1f" $value }}% {{- $externalLabels.system -}}',
        '{{ if eq $labels.job "a" }}a{{ else if gt $value 2.5 }}b{{ else }}c{{ end }}',
        '{{ range $i, $one := query "up" }}{{ $one.Labels.job }} {{ $one | value }}{{ end }}',
        "{{ with $few := 3 }}{{ $few }}{{ end }}{{/* a remark */}} and }} in a text",
    ],
)
def test_templates_are_taken(text: str) -> None:
    rule = observed(extra_rules={"Mine": {**RULE, "expr": "up", "summary": text}})
    assert rule.extra_rules["Mine"].summary == text


def test_what_only_the_system_shows_is_told_together() -> None:
    wanted = observed(
        extra_rules={
            "Mine": {**RULE, "expr": "orders_total > 1 and htp_requests_total > 1"},
            "HighCpu": {**RULE, "expr": "up == 0"},
        },
        without=["HighCpuu"],
        intervals={"postgre": "30s"},
        images={"postgre": "mirror.example.com/exporter:1"},
    )
    system = everything()
    clash = system.model_copy(
        update={"services": {**system.services, "prometheus": system.services["api"]}}
    )
    found = [str(item) for item in check_observability("x: ", clash, wanted, Target.DOCKER)]
    told = "\n".join(found)
    assert "nothing of 'shop' exports the metric 'orders_total'" in told
    assert "did you mean 'http_requests_total'?" in told
    assert "one of ours is called so" in told
    assert "there is no rule 'HighCpuu'" in told
    assert "Prometheus asks nobody called 'postgre'" in told
    assert "there is no exporter for 'postgre'" in told
    assert "x: prometheus" in told


# --- what real tools say --------------------------------------------------------------------------


def tool(folder: Path, image: str, program: str, *arguments: str) -> str:
    """Runs a tool of the image on the files of the folder. Fails with what it says."""
    done = subprocess.run(
        [
            *(
                "docker",
                "run",
                "--rm",
                "--network",
                "none",
                "--volume",
                f"{folder}:/run/configs:ro",
                "--volume",
                f"{folder}:/run/secrets:ro",
            ),
            *("--entrypoint", f"/bin/{program}", stand_in(image), *arguments),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def written(folder: Path, system: System, **keys: Any) -> Path:
    made = observability_workloads(system, observed(**keys), Target.DOCKER)
    for workload in made.values():
        for name, text in {**workload.configs, **workload.secret_files}.items():
            (folder / name).write_text(str(text))
    folder.chmod(0o755)
    return folder


@pytest.mark.docker
def test_real_tools_take_the_files(tmp_path: Path) -> None:
    folder = written(tmp_path, everything(), alerts=CHANNELS)
    said = tool(
        folder, PROMETHEUS_IMAGE, "promtool", "check", "config", "/run/configs/prometheus.yml"
    )
    assert re.search(r"SUCCESS: \d\d rules found", said), said
    assert "duplicate" not in said
    chosen = [
        dict(some) for count in range(4) for some in itertools.combinations(CHANNELS.items(), count)
    ]
    for number, channels in enumerate(chosen):
        text = channels_file(Alerts.model_validate(channels))
        (folder / f"alertmanager-{number}.yml").write_text(text)
    names = ("alertmanager", *(f"alertmanager-{number}" for number in range(len(chosen))))
    paths = [f"/run/configs/{name}.yml" for name in names]
    said = tool(folder, ALERTMANAGER_IMAGE, "amtool", "check-config", *paths)
    assert said.count("SUCCESS") == 9, said
    tool(
        folder,
        EXPORTERS["blackbox"].image,
        "blackbox_exporter",
        *("--config.check", "--config.file=/run/configs/blackbox.yml"),
    )


def firing(series: dict[str, str], fires: int, resolved: int, labels: str = "") -> dict[str, Any]:
    """What is measured every minute; the minutes when it fires, and when it does no more."""
    return {"series": series, "fires": fires, "resolved": resolved, "labels": labels}


JOB = 'job="api"'
#: Good for three minutes, bad for ten, then good again.
DOWN = "1x2 0x9 1x30"
CASES: dict[str, list[dict[str, Any]]] = {
    "TargetDown": [firing({'up{job="redis",instance="r:1"}': DOWN}, 5, 20)],
    "ReplicasMissing": [
        firing(
            {
                f'up{{{JOB},instance="1"}}': "1x60",
                f'up{{{JOB},instance="2"}}': "1x60",
                # It is gone: DNS doesn't name it any more.
                f'up{{{JOB},instance="3"}}': "1x2 _x19 1x30",
            },
            15,
            40,
        ),
        # All are gone.
        firing(
            {f'up{{{JOB},instance="{number}"}}': "_x19 1x40" for number in (1, 2, 3)}
            | {'up{job="x"}': "1x60"},
            10,
            40,
        ),
    ],
    "StoreDown": [
        firing({'pg_up{job="postgres"}': DOWN}, 5, 20, 'engine="postgres"'),
        firing({'redis_up{job="redis"}': DOWN}, 5, 20, 'engine="redis"'),
        firing({'mongodb_up{job="mongo"}': DOWN}, 5, 20, 'engine="mongo"'),
        firing({'mssql_up{job="mssql"}': DOWN}, 5, 20, 'engine="mssql"'),
        firing({'up{job="rabbitmq"}': DOWN}, 5, 20, 'engine="rabbitmq"'),
        firing({'up{job="minio"}': DOWN}, 5, 20, 'engine="s3"'),
        firing(
            {
                'elasticsearch_cluster_health_status{job="elasticsearch",color="green"}': (
                    "1x2 stale _x19 1x30"
                )
            },
            10,
            40,
            'engine="elasticsearch"',
        ),
    ],
    "StoreUnhealthy": [
        firing(
            {'elasticsearch_cluster_health_status{job="elasticsearch",color="red"}': "0x2 1x9 0x9"},
            10,
            20,
        )
    ],
    "ConnectionsRunningOut": [
        firing(
            {
                'pg_stat_activity_count{job="postgres",state="active"}': "90x20 10x20",
                'pg_settings_max_connections{job="postgres"}': "100x60",
            },
            10,
            30,
            'threshold="connections_percent=80"',
        ),
        firing(
            {
                'redis_connected_clients{job="redis"}': "90x20 10x20",
                'redis_config_maxclients{job="redis"}': "100x60",
            },
            10,
            30,
        ),
        firing(
            {
                'mongodb_ss_connections{job="mongo",conn_type="current"}': "90x20 10x20",
                'mongodb_ss_connections{job="mongo",conn_type="available"}': "10x20 90x20",
            },
            10,
            30,
        ),
    ],
    "StoreMemoryHigh": [
        firing(
            {
                'redis_memory_used_bytes{job="redis"}': "95x20 10x20",
                'redis_memory_max_bytes{job="redis"}': "100x60",
            },
            15,
            30,
        ),
        firing(
            {
                'rabbitmq_process_resident_memory_bytes{job="rabbitmq"}': "95x20 10x20",
                'rabbitmq_resident_memory_limit_bytes{job="rabbitmq"}': "100x60",
            },
            15,
            30,
        ),
        firing(
            {
                'elasticsearch_jvm_memory_used_bytes{job="elasticsearch",area="heap"}': "95x20 1x9",
                'elasticsearch_jvm_memory_max_bytes{job="elasticsearch",area="heap"}': "100x60",
            },
            15,
            27,
        ),
    ],
    "DiskFilling": [
        firing(
            {
                'node_filesystem_avail_bytes{job="node",instance="n",device="d"}': "10x30 80x30",
                'node_filesystem_size_bytes{job="node",instance="n",device="d"}': "100x90",
            },
            15,
            45,
        ),
        firing(
            {
                'minio_cluster_capacity_usable_free_bytes{job="minio"}': "10x30 80x30",
                'minio_cluster_capacity_usable_total_bytes{job="minio"}': "100x90",
            },
            15,
            45,
        ),
        firing(
            {
                'elasticsearch_filesystem_data_available_bytes{job="elasticsearch"}': "10x30 80x30",
                'elasticsearch_filesystem_data_size_bytes{job="elasticsearch"}': "100x90",
            },
            15,
            45,
        ),
    ],
    "DiskFullSoon": [
        firing(
            {
                'node_filesystem_avail_bytes{job="node",instance="n"}': "39-0.1x120 90x60",
                'node_filesystem_size_bytes{job="node",instance="n"}': "100x200",
            },
            100,
            150,
        )
    ],
    "HighCpu": [
        firing(
            {'node_cpu_seconds_total{job="node",instance="n",mode="idle"}': "0+3x30 90+60x60"},
            20,
            60,
        )
    ],
    "HighMemory": [
        firing(
            {
                'node_memory_MemAvailable_bytes{job="node",instance="n"}': "5x30 50x30",
                'node_memory_MemTotal_bytes{job="node",instance="n"}': "100x90",
            },
            15,
            45,
        )
    ],
    "HighResponseTime": [
        firing(
            {
                f'http_request_duration_seconds_bucket{{{JOB},le="0.5"}}': "0x20 0+60x60",
                f'http_request_duration_seconds_bucket{{{JOB},le="5"}}': "0+60x80",
                f'http_request_duration_seconds_bucket{{{JOB},le="+Inf"}}': "0+60x80",
            },
            15,
            50,
            'family="performance"',
        )
    ],
    "HighErrorRate": [
        firing(
            {
                f'http_requests_total{{{JOB},status="500"}}': "0+10x20 200x60",
                f'http_requests_total{{{JOB},status="200"}}': "0+60x80",
            },
            15,
            50,
        )
    ],
    "ManyRateLimited": [
        firing(
            {f'http_requests_total{{{JOB},status="429"}}': "0+120x20 2400x60"},
            15,
            50,
            'family="security"',
        )
    ],
    "ManyLoginFailures": [firing({f"login_failures_total{{{JOB}}}": "0x5 0+30x15 450x60"}, 15, 50)],
    "DependencyDown": [
        firing({f'dependency_up{{{JOB},dependency="DATABASE_URL",engine="postgres"}}': DOWN}, 8, 20)
    ],
    "HealthCheckFailing": [
        # As an alert of the service itself.
        firing({'probe_success{job="probe/health",service="api"}': DOWN}, 8, 20, JOB)
    ],
    "CertificateExpiring": [
        firing(
            {
                'probe_ssl_earliest_cert_expiry{job="probe/certificate",service="nginx"}': (
                    "864000x120 8640000x60"
                )
            },
            90,
            150,
        )
    ],
    "QueueTooLong": [
        firing({f'queue_depth{{{JOB},queue="jobs"}}': "2000x20 10x20"}, 15, 30),
        firing({'rabbitmq_queue_messages_ready{job="rabbitmq"}': "2000x20 10x20"}, 15, 30),
    ],
    "NoWorkDone": [
        firing({f'jobs_processed_total{{{JOB},outcome="done"}}': "5x180 5+1x60"}, 170, 220)
    ],
    "JobsFailing": [
        firing(
            {
                f'jobs_processed_total{{{JOB},outcome="failed"}}': "0+5x30 150x90",
                f'jobs_processed_total{{{JOB},outcome="done"}}': "0+10x120",
            },
            25,
            80,
            'family="business"',
        )
    ],
    "LowQuality": [
        firing(
            {
                f"job_quality_sum{{{JOB}}}": "0+3x60 180+9x60",
                f"job_quality_count{{{JOB}}}": "0+10x120",
            },
            40,
            110,
        )
    ],
    "NotificationsFailing": [
        firing(
            {
                'alertmanager_notifications_failed_total{job="alertmanager",integration="slack"}': (
                    "0+1x20 20x60"
                )
            },
            15,
            50,
        )
    ],
    "RuleEvaluationFailing": [
        firing(
            {'prometheus_rule_evaluation_failures_total{job="prometheus"}': "0+1x20 20x60"}, 15, 60
        )
    ],
}


def test_every_alert_has_its_case() -> None:
    assert set(CASES) == set(NAMES)
    # One for each rule of the name, too.
    for name in NAMES:
        rules = [alert for alert in rules_of(everything()) if alert.name == name]
        assert len(CASES[name]) >= len(rules), name


@pytest.mark.docker
def test_every_alert_fires_and_resolves(tmp_path: Path) -> None:
    """promtool evaluates our rules over what is measured, minute by minute."""
    folder = written(tmp_path, everything(), thresholds={"idle_hours": 1})
    tests: list[dict[str, Any]] = []
    for name, cases in CASES.items():
        for case in cases:
            selector = f'alertname="{name}",alertstate="firing"'
            if case["labels"]:
                selector += f",{case['labels']}"
            asked = f"count(ALERTS{{{selector}}}) or vector(0)"
            tests.append(
                {
                    "name": name,
                    "interval": "1m",
                    "input_series": [
                        {"series": series, "values": values}
                        for series, values in case["series"].items()
                    ],
                    "promql_expr_test": [
                        {
                            "expr": asked,
                            "eval_time": f"{minute}m",
                            "exp_samples": [{"labels": "{}", "value": value}],
                        }
                        for minute, value in ((0, 0), (case["fires"], 1), (case["resolved"], 0))
                    ],
                }
            )
    document = {"rule_files": ["rules.yml"], "evaluation_interval": "1m", "tests": tests}
    (folder / "tests.yml").write_text(yaml.safe_dump(document, sort_keys=False))
    said = tool(folder, PROMETHEUS_IMAGE, "promtool", "test", "rules", "/run/configs/tests.yml")
    assert "SUCCESS" in said


# --- the component, in somebody else's program ----------------------------------------------------


def program(more: Mapping[str, StoreArgs] | None = None, **arguments: Any) -> Recording:
    def run() -> None:
        site = Site("shop", {"target": Target.DOCKER})
        stores: dict[str, StoreArgs] = {"db": {"engine": "postgres"}, **(more or {})}
        data = DataTier("shop-data", {"site": site.ref, "stores": stores})
        web: WorkloadArgs = {"image": "web:1", "ports": [{"target": 80}, {"target": 9000}]}
        app = AppTier("shop-app", {"site": site.ref, "services": {"web": web}})
        args: ObservabilityArgs = {
            "site": site.ref,
            "stores": stores,
            "connections": data.connections,
            "endpoints": app.endpoints,
            "targets": {"web": {"port": 9000, "interval": "10s", "health": "/healthz"}},
            "edges": {"front": {"tls": True, "server_name": "shop.example.com"}},
        }
        made = {**args, **arguments}
        watching = WatchingComponent("shop-watching", cast("ObservabilityArgs", made))
        pulumi.export("urls", watching.urls)

    return record(run, project="shop", stack="dev", config={})


def test_the_component_watches_what_it_is_told() -> None:
    recording = program(environment=Environment.DEVELOPMENT)
    containers = {
        item.name.removeprefix("shop-watching-")
        for item in recording.of_type("docker:index/container:Container")
        if item.name.startswith("shop-watching-")
    }
    assert containers >= {
        *("prometheus", "alertmanager", "grafana", "db-exporter", "front-exporter"),
        *("node-exporter", "blackbox-exporter"),
    }
    [files] = [
        item
        for item in recording.of_type("docker:index/container:Container")
        if item.name == "shop-watching-prometheus-files"
    ]
    text = json.dumps(files.inputs)
    for part in ("web:9000", "http://web:80/healthz", "db-exporter:9187", "system: shop"):
        assert part in text, part


def test_the_component_ships_logs_into_the_data_tiers_store() -> None:
    index: IndexArgs = {"name": "logs", "owner": "logs", "retention": 14}
    recording = program(
        {"search": {"engine": "elasticsearch", "indices": [index]}}, logs={"store": "search"}
    )
    found = {
        item.name.removeprefix("shop-watching-"): item.inputs
        for item in recording.of_type("docker:index/container:Container")
    }
    assert {"logstash", "kibana", "filebeat", "search-exporter"} <= set(found)
    assert "ELASTICSEARCH=http://search:9200" in found["logstash"]["envs"]
    assert "LOGS_USER=logs" in found["logstash"]["envs"]


def test_the_arguments_of_logs_are_the_models_without_what_its_store_says() -> None:
    assert set(LogsArgs.__annotations__) == set(Logs.model_fields) - {"retention_days", "size"}
    assert LogsArgs.__required_keys__ == frozenset()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"targets": {"wbe": {}}}, "targets.wbe: there is no 'wbe' in 'endpoints'"),
        ({"targets": {"web": {"port": 81}}}, "'web' does not listen on 81"),
        ({"targets": {"web": {"health": "x"}}}, "is not the path of a URL"),
        ({"thresholds": {"cpu_percents": 3}}, "did you mean 'cpu_percent'?"),
        ({"extra_rules": {"Mine": {**RULE, "expr": "up =="}}}, "this is not PromQL"),
        ({"extra_rules": {"Mine": {**RULE, "expr": "orders > 1"}}}, "the metric 'orders'"),
        ({"stores": {"db": {"engine": "postgers"}}}, "did you mean 'postgres'?"),
        ({"logs": {}}, "logs.store: there is no 'elasticsearch' in 'stores'"),
        ({"logs": {"store": "db"}}, "logs.store: 'db' has no index 'logs' with the owner 'logs'"),
        ({"logs": {"store": "db", "size": "3Gi"}}, "logs.size: the store 'db' is the DataTier's"),
        ({"logs": {"store": "db", "retention_days": 3}}, "logs.retention_days: the store 'db' is"),
    ],
)
def test_the_component_refuses_what_it_cannot_watch(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        program(**arguments)
    assert told in str(caught.value)
