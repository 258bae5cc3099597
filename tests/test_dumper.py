"""What is written as YAML is what every reader finds there, whichever version of YAML it knows."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml
from pulumi_tiers.render.dumper import Dumper

#: Texts that Go's YAML takes for numbers or booleans, and what PyYAML quotes by itself.
DOUBTFUL = (
    *("072465967030", "0809", "1234567e1", "1e3", "-1E5", "+.5e2", "1.", "1_000.5e3", "0o17"),
    *(
        "0X1F",
        "0B1",
        "0x1f",
        "12",
        "1.5",
        "y",
        "N",
        "yes",
        "true",
        "null",
        "~",
        ".inf",
        "2026-01-01",
    ),
)
PLAIN = ("1234567e1f", "v1.2", "postgres:15", "127.0.0.1:8000", "1.2.3-4", "year", "e3", "-v")


def written(content: object) -> str:
    return yaml.dump(content, Dumper=Dumper)


@pytest.mark.parametrize("text", DOUBTFUL)
def test_what_somebody_takes_for_something_else_is_quoted(text: str) -> None:
    assert written({"key": text}) == f"key: '{text}'\n"
    assert yaml.safe_load(written({text: 1})) == {text: 1}


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stand_as_they_are(text: str) -> None:
    assert written({"key": text}) == f"key: {text}\n"


def test_numbers_and_booleans_stay_what_they_are() -> None:
    content = {"a": 1, "b": -1.5, "c": True, "d": None, "e": 1e30, "f": [0, False]}
    assert yaml.safe_load(written(content)) == content
    assert "'" not in written(content)


@pytest.mark.engine
def test_the_engine_finds_the_same_texts(tmp_path: Path) -> None:
    config = {f"own:text{number}": text for number, text in enumerate((*DOUBTFUL, *PLAIN))}
    (tmp_path / "Pulumi.yaml").write_text("name: own\nruntime: python\n")
    (tmp_path / "Pulumi.dev.yaml").write_text(written({"config": config}))

    def pulumi(*arguments: str) -> str:
        done = subprocess.run(
            ["pulumi", *arguments, "--stack", "dev", "--non-interactive"],
            cwd=tmp_path,
            env={
                **os.environ,
                "PULUMI_BACKEND_URL": f"file://{tmp_path}",
                "PULUMI_CONFIG_PASSPHRASE": "a passphrase",
                "PULUMI_SKIP_UPDATE_CHECK": "true",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    pulumi("stack", "init")
    found = json.loads(pulumi("config", "--json"))
    assert {key: item["value"] for key, item in found.items()} == config
