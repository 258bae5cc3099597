"""Trained models of a workload: how their files come into its container, checked."""

from collections.abc import Collection, Iterator, Mapping

from pulumi_tiers.engines import ENGINES
from pulumi_tiers.model.base import LONGEST_NAME
from pulumi_tiers.model.errors import Mistake, nearest, shown
from pulumi_tiers.model.workload import Init, Volume, Workload

DEFAULT_IMAGE = ENGINES["minio"].image
"""Has mc, sh and sha256sum."""

# Arguments: five per model, its name, version, folder, bucket and whether it may be missing.
# A version is there as a whole or not at all, and one that is there is never written again.
_FETCH = """\
set -eu
number=0
while [ $# -gt 0 ]; do
  name=$1 version=$2 folder=$3 bucket=$4 optional=$5
  shift 5
  number=$((number + 1))
  there=$folder/$version
  # An argument is never empty.
  bucket=${bucket#-}
  if [ ! -d "$there" ] && [ -n "$bucket" ]; then
    eval "url=\\$MODEL_${number}_URL user=\\$MODEL_${number}_USER key=\\$MODEL_${number}_KEY"
    printf '%s\\n%s\\n' "$user" "$key" | mc --quiet alias set store "$url" >/dev/null
    rm -rf "$folder/.new"
    if [ -n "$(mc --quiet ls "store/$bucket/$name/$version/SHA256SUMS" 2>/dev/null)" ]; then
      mkdir "$folder/.new"
      mc --quiet cp --recursive "store/$bucket/$name/$version/" "$folder/.new/" >/dev/null
      (cd "$folder/.new" && sha256sum -c SHA256SUMS >/dev/null) || {
        echo "model $name $version: not what its SHA256SUMS says; it is not used" >&2
        exit 1
      }
      mv "$folder/.new" "$there"
      echo "model $name $version: fetched"
    fi
  fi
  if [ ! -d "$there" ]; then
    echo "model $name $version: there is none ${bucket:+in the bucket $bucket}" >&2
    [ "$optional" = yes ] || exit 1
  elif ! (cd "$there" && sha256sum -c SHA256SUMS >/dev/null); then
    echo "model $name $version: $there is not what its SHA256SUMS says" >&2
    exit 1
  fi
  # The version before is kept: replicas that still run have it.
  if [ -n "$bucket" ]; then
    ls -t "$folder" | grep -vxF "$version" | tail -n +2 | while read -r old; do
      rm -rf "${folder:?}/$old"
    done
  fi
done
"""


def check_models(
    place: str,
    services: Mapping[str, Workload],
    connections: Collection[str],
    engines: Mapping[str, str],
) -> Iterator[Mistake]:
    """Whether the buckets are there. `connections`: a DataTier's keys, ``minio.models``.

    `engines`: those of the stores, as far as they are known.
    """
    for name, workload in services.items():
        for model, wanted in workload.models.items():
            volume = _volume(name, workload, model)
            if len(volume) > LONGEST_NAME:
                why = f"the name of its volume, {shown(volume)}, has {len(volume)} characters"
                remedy = f"shorten the names of service and model: {LONGEST_NAME} are the most"
                yield Mistake(f"{place}.{name}.models.{model}", why, remedy)
            key = f"{wanted.store}.{wanted.bucket}"
            at = f"{place}.{name}.models.{model}.bucket"
            engine = ENGINES.get(engines.get(wanted.store or "", ""))
            if wanted.bucket and engine and "buckets" not in engine.takes:
                why = f"'{wanted.store}' is {engine.name}, and has no buckets"
                yield Mistake(at, why, "name a store of the engine minio")
            elif wanted.store in engines and engine is None:
                continue  # an unknown engine is told elsewhere
            elif wanted.bucket and key not in connections:
                why = f"there is no bucket '{wanted.bucket}' in a store '{wanted.store}'"
                known = [item.replace(".", ": ") for item in connections if "." in item]
                yield Mistake(at, why, nearest(key.replace(".", ": "), known))


def _volume(name: str, workload: Workload, model: str) -> str:
    return f"{name}-models" if len(workload.models) == 1 else f"{name}-models-{model}"


def with_models(name: str, workload: Workload) -> Workload:
    """The workload with what fetches its models, on volumes of its own.

    ``${model.NAME.path}`` in its environment and its command is the folder of the version.
    """
    if not workload.models or workload.init:  # done already
        return workload
    arguments: list[str] = []
    # mc keeps the key there, and every container has it in memory.
    environment = {"HOME": "/dev/shm", "MC_CONFIG_DIR": "/dev/shm/mc"}  # noqa: S108
    secrets: dict[str, str] = {}
    volumes: list[Volume] = []
    images: list[object] = []
    for number, (model, wanted) in enumerate(workload.models.items(), 1):
        optional = "yes" if wanted.optional else "no"
        arguments += [model, wanted.version, wanted.target, wanted.bucket or "-", optional]
        images.append(wanted.image or DEFAULT_IMAGE)
        volumes.append(
            Volume(
                name=_volume(name, workload, model),
                target=wanted.target,
                size=wanted.size,
                read_only=True,
                # What comes from a bucket can be fetched again.
                scratch=wanted.bucket is not None,
            )
        )
        if wanted.bucket:
            connection = f"{wanted.store}.{wanted.bucket}"
            secrets[f"MODEL_{number}_URL"] = f"${{{connection}.url}}"
            environment[f"MODEL_{number}_USER"] = f"${{{connection}.user}}"
            secrets[f"MODEL_{number}_KEY"] = f"${{{connection}.password}}"

    def put(text: object) -> object:
        for model, wanted in workload.models.items() if isinstance(text, str) else ():
            text = str(text).replace(
                f"${{model.{model}.path}}", f"{wanted.target}/{wanted.version}"
            )
        return text

    return workload.model_copy(
        update={
            "environment": {name: put(text) for name, text in workload.environment.items()},
            "command": [put(text) for text in workload.command],
            "init": Init(
                image=images[0],
                entrypoint=["sh", "-c", _FETCH, "models"],
                command=arguments,
                environment=environment,
                secrets=secrets,
                # The image's VOLUME would leave a nameless one behind.
                tmpfs={"/data": ""},
            ),
            "volumes": [*workload.volumes, *volumes],
        }
    )
