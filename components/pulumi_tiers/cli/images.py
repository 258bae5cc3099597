"""Which image of each service can be had on this machine: the documented one, or a stand-in."""

import json
import subprocess
import sys

from pulumi_tiers.cli import docker
from pulumi_tiers.cli.console import EXIT_MISSING, Steps, Stop
from pulumi_tiers.cli.project import Project
from pulumi_tiers.platforms.labels import LABEL_IMAGE, LABEL_SERVICE, LABEL_SYSTEM
from pulumi_tiers.render.recorder import Recording, bare


def wanted(recording: Recording) -> dict[str, str]:
    """``<system>/<service>`` -> image, for every container whose image is not built here."""
    built = {
        image.inputs["name"]
        for image in recording.of_type("docker:index/remoteImage:RemoteImage")
        if image.inputs.get("build")
    }
    images: dict[str, str] = {}
    for container in recording.of_type("docker:index/container:Container"):
        labels = {item["label"]: item["value"] for item in bare(container.inputs["labels"])}
        if LABEL_SYSTEM in labels and labels[LABEL_IMAGE] not in built:
            key = f"{labels[LABEL_SYSTEM]}/{labels[LABEL_SERVICE]}"
            images[key] = labels[LABEL_IMAGE]
    return dict(sorted(images.items()))


def ensure(project: Project, images: dict[str, str], steps: Steps) -> dict[str, str]:
    """Makes every image present. Returns the stand-ins: ``<system>/<service>`` -> image."""
    missing: dict[str, str] = {}
    references = sorted(set(images.values()))
    for position, reference in enumerate(references, 1):
        if docker.has_image(reference):
            continue
        with steps.during(f"pulling {reference} ({position} of {len(references)})"):
            reason = docker.pull(reference, steps)
        if reason is not None:
            missing[reference] = reason
    if not missing:
        return {}
    for reference, reason in missing.items():
        steps.say(f"{reference} can't be pulled ({reason}): a stand-in takes its place")
    built = build_stand_ins(project, list(missing), steps)
    return {key: built[image] for key, image in images.items() if image in built}


def build_stand_ins(project: Project, references: list[str], steps: Steps) -> dict[str, str]:
    """Builds stand-ins from distribution packages: documented image -> stand-in."""
    script = project.root / "offline" / "build.py"
    if not script.is_file():
        raise Stop(
            f"{', '.join(references)}: can't be pulled, and this project has no offline/build.py.\n"
            "  Log in to the registry, set tiers:registry to a mirror, or tiers:images to another.",
            EXIT_MISSING,
        )
    process = subprocess.Popen(
        [sys.executable, str(script), *references],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []
    with steps.during("building stand-ins (the first time takes a minute or two)"):
        for line in process.stderr:
            said.append(line.rstrip())
            steps.now(line.rstrip())
    answer = process.stdout.read()
    if process.wait() != 0:
        raise Stop("the stand-ins could not be built:\n  " + "\n  ".join(said[-5:]), EXIT_MISSING)
    built: dict[str, str] = json.loads(answer)
    return built
