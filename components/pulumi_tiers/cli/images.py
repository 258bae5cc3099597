"""Which image of each service can be had on this machine: the documented one, or a stand-in."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass

from pulumi_tiers.cli import docker
from pulumi_tiers.cli.console import EXIT_MISSING, Steps, Stop
from pulumi_tiers.cli.project import Project
from pulumi_tiers.limits import init_name
from pulumi_tiers.model.workload import PullPolicy
from pulumi_tiers.platforms.labels import (
    LABEL_IMAGE,
    LABEL_PART_OF,
    LABEL_PULL_POLICY,
    LABEL_SERVICE,
    LABEL_SYSTEM,
)
from pulumi_tiers.render.details import labels_of
from pulumi_tiers.render.recorder import Recording


@dataclass(frozen=True)
class Wanted:
    """An image that a service asks for."""

    reference: str
    #: Ask the registry also where the image is here: the tag may have moved.
    always: bool


def wanted(recording: Recording) -> dict[str, Wanted]:
    """``<system>/<service>`` -> image, for every container whose image is not built here.

    What runs before a service is ``<system>/<service>-init``.
    """
    built = {
        image.inputs["name"]
        for image in recording.of_type("docker:index/remoteImage:RemoteImage")
        if image.inputs.get("build")
    }
    images: dict[str, Wanted] = {}
    containers = recording.of_type("docker:index/container:Container")
    labelled = [labels for item in containers if LABEL_SYSTEM in (labels := labels_of(item))]
    own = {
        (labels[LABEL_SYSTEM], labels[LABEL_SERVICE]): labels[LABEL_IMAGE] for labels in labelled
    }
    for labels in labelled:
        if labels[LABEL_IMAGE] not in built:
            name = labels.get(LABEL_PART_OF, labels[LABEL_SERVICE])
            if own.get((labels[LABEL_SYSTEM], name)) != labels[LABEL_IMAGE]:
                name = init_name(name)
            key = f"{labels[LABEL_SYSTEM]}/{name}"
            always = labels.get(LABEL_PULL_POLICY) == PullPolicy.ALWAYS
            images[key] = Wanted(labels[LABEL_IMAGE], always)
    return dict(sorted(images.items()))


def ensure(project: Project, images: dict[str, Wanted], steps: Steps) -> dict[str, str]:
    """Makes every image present. Returns the stand-ins: ``<system>/<service>`` -> image."""
    reasons: dict[str, str] = {}
    chosen = {image.reference: image for image in images.values()}
    for position, image in enumerate(chosen.values(), 1):
        here = docker.has_image(image.reference)
        if here and (not image.always or image.reference.startswith(docker.STAND_IN_PREFIX)):
            continue
        with steps.during(f"pulling {image.reference} ({position} of {len(chosen)})"):
            reason = docker.pull(image.reference, steps)
        if reason is not None and here:
            steps.say(
                f"{image.reference} is here; whether it is the newest can't be told: {reason}"
            )
        elif reason is not None:
            reasons[image.reference] = reason
    if not reasons:
        return {}
    built = _build_stand_ins(project, reasons, steps)
    for reference, reason in reasons.items():
        steps.say(f"{reference} can't be pulled ({reason}): {built[reference]} takes its place")
    return {
        key: built[image.reference] for key, image in images.items() if image.reference in built
    }


def _build_stand_ins(project: Project, reasons: dict[str, str], steps: Steps) -> dict[str, str]:
    """Builds stand-ins from distribution packages: documented image -> stand-in."""
    told = "".join(f"\n  {reference}: {reason}" for reference, reason in reasons.items())
    remedy = "log in to the registry, use a mirror, or name an image that can be pulled"
    script = project.root / "offline" / "build.py"
    if not script.is_file():
        raise Stop(f"images that can't be pulled:{told}\n{remedy}", EXIT_MISSING)
    process = subprocess.Popen(
        [sys.executable, str(script), *reasons],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    said: list[str] = []
    for line in process.stderr:
        said.append(re.sub(r"^\[ *[\d.]+s\] ", "", line.rstrip()))  # it has a clock of its own
        if not line.rstrip().endswith("is up to date"):
            steps.say(said[-1])
    answer = process.stdout.read()
    if process.wait() != 0:
        why = "\n  ".join(said[-5:])
        raise Stop(
            f"images that can't be pulled:{told}\nno stand-ins: {why}\n{remedy}", EXIT_MISSING
        )
    built: dict[str, str] = json.loads(answer)
    return built
