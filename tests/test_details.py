"""What belongs to a workload is found in a recording, whoever made it."""

import pytest
from pulumi_tiers import AppTier, DataTier, Site, Target
from pulumi_tiers.render.details import File, files, labels_of, part_of
from pulumi_tiers.render.picture import mermaid
from pulumi_tiers.render.recorder import Json, Recording, Resource, Secret, record

TARGETS = pytest.mark.parametrize("target", [Target.DOCKER, Target.KUBERNETES], ids="on-{}".format)


def shop(target: Target) -> Recording:
    def program() -> None:
        site = Site("shop", {"target": target})
        databases: Json = [{"name": "a", "owner": "a"}]
        data = DataTier(
            "shop-data",
            {"site": site.ref, "stores": {"db": {"engine": "postgres", "databases": databases}}},
        )
        AppTier(
            "shop-app",
            {
                "site": site.ref,
                "connections": data.connections,
                "services": {
                    "api": {
                        "image": "api:1",
                        "configs": {"b.conf": 'put 222 /tmp/x "$CONFIGS_0"\n', "a.conf": "one"},
                        "secret_files": {"url": "${db.url}"},
                        "replicas": 2,
                    },
                    "web": {"image": "web:1"},
                },
            },
        )

    return record(program, project="shop", stack="dev", config={})


@TARGETS
def test_files_are_found_with_their_texts(target: Target) -> None:
    found = files(shop(target))
    url = "postgresql://a:__secret.SHOP_DATA_DB_A_PASSWORD__@db:5432/a?sslmode=prefer"
    assert found["shop", "api"] == [
        File("/run/configs/a.conf", "one", secret=False),
        File("/run/configs/b.conf", 'put 222 /tmp/x "$CONFIGS_0"\n', secret=False),
        File("/run/secrets/url", url, secret=True),
    ]
    assert ("shop", "web") not in found


@TARGETS
def test_helpers_say_whom_they_help(target: Target) -> None:
    helpers = {
        item.name: part_of(item)
        for item in shop(target).resources
        if item.type.endswith((":Container", ":Job", ":Deployment", ":StatefulSet"))
    }
    expected = {
        "shop-data-db": "",
        "shop-data-db-setup": "db",
        "shop-app-api": "",
        "shop-app-web": "",
    }
    if target is Target.DOCKER:
        expected |= {"shop-app-api-2": "", "shop-app-api-files": "api"}
    assert helpers == expected


def test_programs_that_are_not_ours_have_nothing() -> None:
    def made(kind: str, inputs: Json) -> Resource:
        return Resource(f"urn:{kind}", kind, "x", "parent", inputs, ())

    recording = Recording(
        [
            made("docker:index/container:Container", {"image": "x", "name": "x"}),
            made("docker:index/container:Container", {"labels": None, "envs": [Secret("A=b")]}),
            made("aws:s3/bucket:Bucket", {"metadata": None}),
            made("gcp:run/service:Service", {"metadata": ["a"], "labels": {"tiers.service": "x"}}),
            made("kubernetes:core/v1:Pod", {"metadata": {"labels": None, "annotations": None}}),
            made("random:index/randomPassword:RandomPassword", {"length": 1}),
        ]
    )
    assert files(recording) == {}
    assert [part_of(item) for item in recording.resources] == [""] * 6
    assert [labels_of(item) for item in recording.resources] == [{}] * 6
    assert mermaid(recording) == mermaid(Recording([]))
