"""Encontros Tech: a Flask application for tech events, with Postgres.

Source: "PROJETO ENCONTROS TECH - DOCUMENTAÇÃO" 1.0 of 2025-11-09. The numbers in the comments are
the document's own section titles; docs/contradictions.md tells what is done where it contradicts
itself (EN-01 to EN-15). Its "homologação" is our development, its "produção" our production.
"""

from pulumi_tiers.model.store import Database, Managed, Store
from pulumi_tiers.model.system import Environment, System
from pulumi_tiers.model.workload import (
    Condition,
    Healthcheck,
    Metrics,
    Port,
    PullPolicy,
    Resources,
    Workload,
)


def encontros_tech(environment: Environment) -> System:
    """The system for one environment ("ESTRUTURA DE AMBIENTES")."""
    production = environment is Environment.PRODUCTION
    namespace = "production" if production else "homologacao"
    return System(
        name="encontros-tech",
        title="Encontros Tech",
        environment=environment,
        namespace=namespace,
        environment_label=namespace,
        stores={
            "postgres": Store(
                engine="postgres",
                # The version isn't stated. 15 is also what closed networks can have (Debian 12), so
                # a volume survives the change from a stand-in to the real image.
                image="postgres:15",
                # EN-09: the application uses the managed database's own admin and database.
                admin="doadmin",
                databases=[Database(name="defaultdb")],
                managed=Managed(name="db-producao" if production else "db-homologacao"),
            )
        },
        services={
            "encontros-tech": Workload(
                # EN-02: mutable tags are what is documented; tiers:images sets {branch}-{sha}.
                image=f"marcospaulo1991/encontros-tech:{'latest' if production else 'develop'}",
                pull_policy=PullPolicy.ALWAYS,
                environment={
                    "APP_TITLE": "Encontros Tech" if production else "Encontros Tech - HOMOLOGAÇÃO",
                    "DEBUG": "false" if production else "true",
                    "HOST": "0.0.0.0",  # noqa: S104 - inside the container
                    "PORT": "8000",
                    "LOG_LEVEL": "INFO" if production else "DEBUG",
                    "LOG_FORMAT": "simple" if production else "colored",
                    "SERVICE_NAME": "encontros-tech",
                    "SERVICE_VERSION": "1.0.0",
                    "PROMETHEUS_MULTIPROC_DIR": "/tmp/prometheus_multiproc",  # noqa: S108
                },
                secrets={"DATABASE_URL": "${postgres.url}"},
                secret_name="db-credentials",  # noqa: S106 - a name
                ports=[Port(target=8000, published=8000, load_balancer=80)],
                # EN-07: the metrics' directory must exist and be empty at every start.
                tmpfs={"/tmp": "", "/tmp/prometheus_multiproc": "uid=1000,gid=1000"},  # noqa: S108
                # EN-04: nothing is stated; the document tests "/" by hand.
                healthcheck=Healthcheck(
                    test=[
                        "CMD",
                        "python3",
                        "-c",
                        "from urllib.request import urlopen as get;"
                        " get('http://127.0.0.1:8000/', timeout=3)",
                    ],
                    path="/",
                    interval="2s",
                    timeout="5s",
                    retries=15,
                ),
                metrics=Metrics(),
                # It makes its tables at the start (Base.metadata.create_all).
                depends_on={"postgres": Condition.SERVICE_HEALTHY},
                replicas=2 if production else 1,
                resources=Resources(cpus=0.5, memory="256m"),
                unverified=True,
            )
        },
    )
