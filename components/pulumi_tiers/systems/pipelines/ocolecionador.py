"""OColecionador: an app for Android, five images, and Docker Compose on a machine of one's own.

Source: "OColecionador - Arquitetura de Deploy". The numbers in the comments are the lines of the
document.
"""

from pulumi_tiers.model.deployment import (
    ComposeDeployment,
    Deployment,
    Health,
    ImageBuild,
    ImageTag,
)
from pulumi_tiers.model.pipeline import (
    DeploymentEnvironment,
    Pipeline,
    PipelineOptions,
    PipelineSecret,
    PipelineVariable,
    Scope,
)
from pulumi_tiers.model.system import Environment
from pulumi_tiers.model.workflow import Job, Push, Step, Triggers, Workflow

_MOBILE = "OColecionadorMobile"
_PUSHES = "DeployDockerHub.yml"
#: Service -> its folder, and the image that the document pushes (L186-241). OC-24: it leaves out
#: the last two; their names are ours.
_IMAGES = {
    "ocolecionadorbackend": ("OColecionadorBackEnd", "backend"),
    "ocolecionadorfrontend": ("OColecionadorFrontEnd", "frontend"),
    "ocolecionadoraugmentations": ("OColecionadorAugmentations", "augmentations"),
    "ocolecionadorclassifier": ("OColecionadorClassifier", "classifier"),
    "ocolecionadortraining": ("OColecionadorTraining", "training"),
}
#: What a deployment is made of. Both workflows have the same, or one would wait in vain.
_PATHS = [
    *(f"{folder}/**" for folder, _ in _IMAGES.values()),
    "LocalServer/**",
    "docker-compose.yml",
]
#: L281-290.
_DOCUMENTED = {
    "OC_AUTH_USER": "the administrator's name",
    "OC_AUTH_PASSWORD": "the administrator's password",
    "OC_GITHUB_CLIENT_ID": "the application at GitHub that people log in with",
    "OC_GITHUB_CLIENT_SECRET": "its secret",
    "OC_GOOGLE_CLIENT_ID": "the application at Google that people log in with",
    "OC_GOOGLE_CLIENT_SECRET": "its secret",
    "OC_NGROK_TOKEN": "the account at ngrok",
}


def ocolecionador(options: PipelineOptions) -> Pipeline:
    """BuildExpoReactNativeAPK.yml, DeployDockerHub.yml, SelfHostedDockerCompose.yml (L90-310)."""
    return Pipeline(
        workflows={
            "BuildExpoReactNativeAPK.yml": _app(),
            _PUSHES: _images(options),
            "SelfHostedDockerCompose.yml": _compose(options),
        },
        environments={
            "production": DeploymentEnvironment(
                environment=Environment.PRODUCTION, branches=["main"]
            )
        },
        secrets={
            # The ids are built into the frontend too, by a job without an environment.
            **{
                name: PipelineSecret(
                    purpose=purpose,
                    scope=Scope.REPOSITORY if name.endswith("_ID") else Scope.ENVIRONMENT,
                )
                for name, purpose in _DOCUMENTED.items()
            },
            # OC-26, OC-27.
            "EXPO_TOKEN": PipelineSecret(purpose="the account at Expo that builds the app"),
            "GLITCHTIP_SECRET_KEY": PipelineSecret(
                purpose="what GlitchTip signs with", scope=Scope.ENVIRONMENT
            ),
            "SENTRY_DSN": PipelineSecret(
                purpose="where errors are sent", scope=Scope.ENVIRONMENT, optional=True
            ),
        },
        variables={
            "OC_AUTH_EMAIL": PipelineVariable(
                purpose="the administrator's address", scope=Scope.ENVIRONMENT, optional=True
            )
        },
    )


def _app() -> Workflow:
    apk = "build/app-preview.apk"
    return Workflow(
        name="Build Expo React Native APK",
        comment="Builds the app for Android, for who tries it out.",
        on=Triggers(push=Push(branches=["main", "develop"], paths=[f"{_MOBILE}/**"])),
        jobs={
            "build": Job(
                timeout_minutes=60,
                steps=[
                    Step(
                        name="Setup Node.js",
                        uses="actions/setup-node",
                        inputs={"node-version": "20", "package-manager-cache": "false"},
                    ),
                    Step(
                        name="Install dependencies",
                        run="npm install",
                        working_directory=_MOBILE,
                    ),
                    Step(
                        name="Build APK with EAS",
                        comment=(
                            "Here, not in Expo's cloud, which would leave no file to upload. The"
                            " keystore comes from the account, so build once by hand before."
                        ),
                        run=(
                            "mkdir -p build\n"
                            "npm install --global eas-cli@24.8.0\n"
                            "eas build \\\n"
                            "  --platform android \\\n"
                            "  --profile preview \\\n"
                            "  --non-interactive \\\n"
                            "  --local \\\n"
                            f"  --output {apk}"
                        ),
                        env={"EXPO_TOKEN": "${{ secrets.EXPO_TOKEN }}"},
                        working_directory=_MOBILE,
                    ),
                    Step(
                        name="Upload APK",
                        uses="actions/upload-artifact",
                        inputs={
                            "name": "app-preview.apk",
                            "path": f"{_MOBILE}/{apk}",
                            "if-no-files-found": "error",
                        },
                    ),
                ],
            )
        },
    )


def _images(options: PipelineOptions) -> Workflow:
    # OC-25: without them, nobody could log in with GitHub or Google.
    arguments = {
        "ocolecionadorfrontend": {
            "GITHUB_CLIENT_ID": "${{ secrets.OC_GITHUB_CLIENT_ID }}",
            "GOOGLE_CLIENT_ID": "${{ secrets.OC_GOOGLE_CLIENT_ID }}",
        }
    }
    return Workflow(
        name="Deploy Docker Hub",
        comment="Pushes all images of the application; SelfHostedDockerCompose.yml deploys them.",
        on=Triggers(push=Push(branches=["main"], paths=_PATHS)),
        jobs={
            "deploy": Job(
                timeout_minutes=60,
                images=[
                    ImageBuild(
                        image=_image(options, service),
                        context=folder,
                        args=arguments.get(service, {}),
                        tags=[ImageTag(name="latest"), ImageTag(name="{sha}")],
                    )
                    for service, (folder, _) in _IMAGES.items()
                ],
            )
        },
    )


def _compose(options: PipelineOptions) -> Workflow:
    given = {name: f"${{{{ secrets.{name} }}}}" for name in (*_DOCUMENTED, "GLITCHTIP_SECRET_KEY")}
    return Workflow(
        name="Self Hosted Docker Compose",
        # OC-28.
        comment=(
            "Deploys what was merged, on the machine where everything runs. Pull requests never"
            " start it: their code would run there, with all secrets."
        ),
        on=Triggers(push=Push(branches=["main"], paths=_PATHS)),
        jobs={
            "gate": Job(
                name=f"Wait for {_PUSHES}",
                comment="The machine builds nothing: it pulls what that workflow has pushed.",
                awaits=_PUSHES,
            ),
            "docker-compose": Job(
                needs=["gate"],
                runs_on=["self-hosted"],
                environment="production",
                timeout_minutes=45,
                deploy=Deployment(
                    compose=ComposeDeployment(
                        project="ocolecionador",
                        # OC-27: GLITCHTIP_SECRET_KEY and the two optional ones were left out.
                        env={
                            **given,
                            "OC_AUTH_EMAIL": "${{ vars.OC_AUTH_EMAIL }}",
                            "SENTRY_DSN": "${{ secrets.SENTRY_DSN }}",
                        },
                        # OC-07: production's, which the document's command does not choose.
                        profiles=["automatic"],
                    ),
                    images={service: _image(options, service) for service in _IMAGES},
                    # SQL Server alone may take 100 s (L489-493).
                    timeout_minutes=10,
                    health=[
                        Health(url="http://localhost:5000/api/health"),
                        Health(url="http://localhost:5002/health"),
                    ],
                ),
            ),
        },
    )


def _image(options: PipelineOptions, service: str) -> str:
    _, name = _IMAGES[service]
    return options.image(service, f"patrickcaloriocarvalho/ocolecionador-{name}")
