"""Whether a pipeline fits the files of its repository."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from pulumi_tiers.model.errors import Mistake, nearest, shown
from pulumi_tiers.model.pipeline import Pipeline

_SKIPPED = frozenset({".git", "node_modules", ".venv", "__pycache__"})
_MOST_FILES = 100_000


def files_of(folder: Path) -> list[str]:
    """The files of a checkout, from its root on."""
    found: list[str] = []
    waiting = [folder]
    while waiting and len(found) < _MOST_FILES:
        for path in sorted(waiting.pop().iterdir()):
            if path.is_dir() and not path.is_symlink():
                if path.name not in _SKIPPED:
                    waiting.append(path)
            else:
                found.append(path.relative_to(folder).as_posix())
    return found


_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\+|\[[^\]/]*\]|.", re.DOTALL)


def pattern(glob: str) -> re.Pattern[str]:
    """GitHub's pattern of files or branches: ``*`` stays in a folder, ``?`` and ``+`` repeat."""
    kept = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "?", "+": "+"}
    parts = [
        kept.get(part) or (part if part.startswith("[") and len(part) > 1 else re.escape(part))
        for part in _GLOB.findall(glob)
    ]
    return re.compile("".join(parts), re.DOTALL)


def check_checkout(place: str, pipeline: Pipeline, folder: Path) -> Iterator[Mistake]:
    """What the pipeline names and the repository does not have."""
    files = files_of(folder)
    folders = {parent.as_posix() for file in files for parent in Path(file).parents}
    for file, workflow in pipeline.workflows.items():
        at = f"{place}: workflows.{file}"
        for key, trigger in (
            ("push", workflow.on.push),
            ("pull_request", workflow.on.pull_request),
        ):
            for position, glob in enumerate(trigger.paths if trigger else []):
                matching = pattern(glob.removeprefix("!"))
                if not any(matching.fullmatch(name) for name in files):
                    why = f"{shown(glob)} matches no file of {folder}"
                    tops = {f"{name.split('/')[0]}/**" for name in folders - {"."}}
                    yield Mistake(f"{at}.on.{key}.paths[{position}]", why, nearest(glob, tops))
        for name, job in workflow.jobs.items():
            wanted: list[tuple[str, str, Iterable[str]]] = []
            for position, step in enumerate(job.steps):
                if step.working_directory:
                    where = f"steps[{position}].working_directory"
                    wanted.append((where, step.working_directory, folders))
            for position, image in enumerate(job.images):
                where = f"images[{position}]"
                own = "" if image.context == "." else f"{image.context}/"
                wanted.append((f"{where}.context", image.context, folders))
                dockerfile = image.dockerfile or f"{own}Dockerfile"
                wanted.append((f"{where}.dockerfile", dockerfile, files))
            if job.deploy and job.deploy.pulumi:
                own = "" if job.deploy.pulumi.folder == "." else f"{job.deploy.pulumi.folder}/"
                stack = f"{own}Pulumi.{job.deploy.pulumi.stack}.yaml"
                wanted.append(("deploy.pulumi.folder", f"{own}Pulumi.yaml", files))
                wanted.append(("deploy.pulumi.stack", stack, files))
            if job.deploy and job.deploy.kubectl and job.deploy.kubectl.manifests:
                wanted.append(("deploy.kubectl.manifests", job.deploy.kubectl.manifests, files))
            if job.deploy and job.deploy.compose:
                for position, compose in enumerate(job.deploy.compose.files):
                    wanted.append((f"deploy.compose.files[{position}]", compose, files))
            for where, path, there in wanted:
                if path not in there:
                    why = f"{folder} has no {shown(path)}"
                    yield Mistake(f"{at}.jobs.{name}.{where}", why, nearest(path, there))
