"""The resources of `system`, with the providers' classes alone and without any component.

Nobody writes sixty of them by hand: they come from a file, which `bench/written.py` makes of what
`system` registers, before anything is measured.
"""

import json
from pathlib import Path
from typing import Any

import pulumi
import pulumi_docker as docker
import pulumi_random as random
import pulumi_tls as tls

CLASSES: dict[str, Any] = {
    "docker:index/container:Container": docker.Container,
    "docker:index/network:Network": docker.Network,
    "docker:index/remoteImage:RemoteImage": docker.RemoteImage,
    "docker:index/volume:Volume": docker.Volume,
    "random:index/randomPassword:RandomPassword": random.RandomPassword,
    "tls:index/privateKey:PrivateKey": tls.PrivateKey,
    "tls:index/selfSignedCert:SelfSignedCert": tls.SelfSignedCert,
}

made: list[Any] = []


def read(value: Any) -> Any:
    match value:
        case {"$output": [int() as number, str() as key]}:
            return getattr(made[number], key)
        case {"$text": list() as parts}:
            return pulumi.Output.concat(*[read(part) for part in parts])
        case {"$secret": hidden}:
            return pulumi.Output.secret(read(hidden))
        case dict():
            return {key: read(item) for key, item in value.items()}
        case list():
            return [read(item) for item in value]
        case _:
            return value


for item in json.loads(Path(pulumi.Config().require("resources")).read_text(encoding="utf-8")):
    options = pulumi.ResourceOptions(
        depends_on=[made[number] for number in item["depends_on"]],
        ignore_changes=item["ignore_changes"] or None,
    )
    made.append(CLASSES[item["type"]](item["name"], **read(item["inputs"]), opts=options))
