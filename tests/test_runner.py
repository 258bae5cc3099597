"""The stand-in of a runner does what GitHub documents: what starts, in which order, what stops."""

import textwrap
from pathlib import Path
from typing import Any

import pytest
from events import Event
from expressions import ExpressionError, evaluate, expand, holds, selected
from ruamel.yaml import YAML
from runner import ActionFailed, Gate, Run, Runner, Uses
from stubs import Answer

CONTEXTS: dict[str, Any] = {
    "github": {"ref": "refs/heads/main", "event": {"commits": [{"id": "a"}, {"id": "b"}]}},
    "needs": {"test": {"result": "success"}, "build": {"result": "failure"}},
    "env": {"EMPTY": "", "COUNT": "3"},
}


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    checkout = tmp_path / "checkout"
    (checkout / "app").mkdir(parents=True)
    (checkout / "app" / "main.py").write_text("print()\n")
    (tmp_path / "runner").mkdir()
    return Runner(tmp_path / "runner", checkout, secrets={"PASSWORD": "hunter2"})


def ran(runner: Runner, jobs: str, event: Event | None = None, on: str = "push") -> Run:
    """The run of a workflow of these jobs."""
    text = f"on: {on}\njobs:\n{textwrap.indent(textwrap.dedent(jobs), '  ')}"
    run = runner.run(text, event or Event("push"))
    assert run
    return run


# --- expressions and patterns ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("github.ref == 'REFS/heads/MAIN'", True),
        ("github.event.commits[1].id", "b"),
        ("github['ref']", "refs/heads/main"),
        ("github.event.commits.*.id", ["a", "b"]),
        ("contains(needs.*.result, 'failure')", True),
        ("needs.missing.outputs.x", None),
        ("needs.missing.outputs.x == ''", True),
        ("env.EMPTY || 'other'", "other"),
        ("env.COUNT && 'yes' || 'no'", "yes"),
        ("env.COUNT == 3", True),
        ("'b' == 0", False),
        ("null == false", True),
        ("!(1 < 2) || 2 >= 2", True),
        ("!env.EMPTY && true", True),
        ("format('{0}-{{{1}}}', 'a', 5)", "a-{5}"),
        ("'it''s'", "it's"),
        ("join(fromJSON('[1, 2]'), '+')", "1+2"),
        ("toJSON(needs.test)", '{\n  "result": "success"\n}'),
        ("startsWith(github.ref, 'refs/Heads/') && endsWith('a.apk', '.APK')", True),
        ("0x10", 16),
    ],
)
def test_an_expression_means_what_github_says(text: str, value: Any) -> None:
    assert evaluate(text, CONTEXTS, {}) == value


@pytest.mark.parametrize(
    "text", ["secrets.X", "nothing(1)", "a b", "github.", "'open", "(1", "1 +"]
)
def test_what_github_refuses_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text, CONTEXTS, {})


def test_expressions_in_text_become_text_and_alone_keep_their_type() -> None:
    assert expand("${{ env.COUNT == 3 }}", CONTEXTS) is True
    assert expand("${{ env.COUNT }}${{ 'it''s' }}", CONTEXTS) == "3it's"
    assert expand(["x ${{ env.COUNT == 3 }} ${{ '}}' }}"], CONTEXTS) == ["x true }}"]


def test_a_condition_asks_for_success_unless_it_asks_itself() -> None:
    status = {"success": lambda: False, "failure": lambda: True, "always": lambda: True}
    assert not holds("true", CONTEXTS, status)
    assert not holds(None, CONTEXTS, status)
    assert not holds("'always()' != ''", CONTEXTS, status)
    assert holds("failure()", CONTEXTS, status)
    assert holds("${{ always() && env.COUNT }}", CONTEXTS, status)
    # Text around an expression makes it true, whatever it says.
    assert holds("${{ false }} == true", CONTEXTS, {"success": lambda: True})


@pytest.mark.parametrize(
    ("name", "globs", "chosen"),
    [
        ("feature/a/b", ["feature/*"], False),
        ("feature/a/b", ["feature/**"], True),
        ("main", ["**", "!main"], False),
        ("main", ["!main", "**"], True),
        ("README.md", ["**/README.md"], True),
        ("app/docs/x.md", ["**/docs/**"], True),
        ("docs/x.md", ["docs/**/*.md"], True),
        ("02-encontros-tech/main.py", ["02-encontros-tech/**"], True),
        ("other/02-encontros-tech/main.py", ["02-encontros-tech/**"], False),
        ("v1.10", ["v[12].[0-9]+"], True),
        ("page.js", ["*.jsx?"], True),
        ("mainxjs", ["main.js"], False),
    ],
)
def test_patterns_select_as_documented(name: str, globs: list[str], chosen: bool) -> None:
    assert selected(name, globs) is chosen


# --- what starts ----------------------------------------------------------------------------------

PUSH = "{push: {branches: [main, 'release/**'], paths: ['app/**', '!app/docs/**']}}"
PULL = "{pull_request: {branches: [main]}}"
CALLED = "{workflow_run: {workflows: [CI], types: [completed], branches: [main]}}"
TIMED = "{schedule: [{cron: '0 3 * * *'}], workflow_dispatch: {}}"


@pytest.mark.parametrize(
    ("on", "event", "starts"),
    [
        (PUSH, Event("push", changed=("README.md", "app/main.py")), True),
        (PUSH, Event("push", changed=("app/docs/x.md",)), False),
        (PUSH, Event("push", branch="develop", changed=("app/main.py",)), False),
        (PUSH, Event("push", branch="release/1/2", changed=("app/main.py",)), True),
        (PUSH, Event("push", tag="v1", changed=("app/main.py",)), False),
        (PUSH, Event("pull_request", changed=("app/main.py",)), False),
        ("{push: {tags: ['v*']}}", Event("push", tag="v1"), True),
        ("{push: {tags: ['v*']}}", Event("push"), False),
        ("{push: {tags: ['v*'], paths: ['app/**']}}", Event("push", tag="v1"), True),
        ("{push: {branches-ignore: [main]}}", Event("push"), False),
        ("{push: {branches-ignore: [main]}}", Event("push", branch="x"), True),
        ("{push: {paths-ignore: ['*.md']}}", Event("push"), False),
        ("{push: {paths-ignore: ['*.md']}}", Event("push", changed=("README.md", "x.py")), True),
        (PULL, Event("pull_request", branch="anything"), True),
        (PULL, Event("pull_request", action="synchronize"), True),
        (PULL, Event("pull_request", action="labeled"), False),
        (PULL, Event("pull_request", base="develop"), False),
        ("{pull_request: {types: [labeled]}}", Event("pull_request", action="labeled"), True),
        (CALLED, Event("workflow_run", workflow="CI"), True),
        (CALLED, Event("workflow_run", workflow="Other"), False),
        (CALLED, Event("workflow_run", workflow="CI", branch="develop"), False),
        (TIMED, Event("schedule", cron="0 3 * * *"), True),
        (TIMED, Event("schedule", cron="0 4 * * *"), False),
        (TIMED, Event("workflow_dispatch", branch="develop"), True),
        ("[push, pull_request]", Event("pull_request"), True),
    ],
)
def test_an_event_starts_what_its_filters_let(on: str, event: Event, starts: bool) -> None:
    assert event.starts(YAML(typ="safe", pure=True).load(on)) is starts


def test_an_event_starts_those_of_several_workflows_that_want_it(runner: Runner) -> None:
    job = "jobs: {a: {runs-on: ubuntu-latest, steps: [{run: 'true'}]}}"
    texts = {"a.yaml": f"on: push\n{job}", "b.yaml": f"on: pull_request\n{job}"}
    assert [*runner.trigger(texts, Event("push"))] == ["a.yaml"]


# --- jobs -----------------------------------------------------------------------------------------

CHAIN = """
after: {runs-on: x, needs: [middle], steps: [{run: pytest after}]}
middle: {runs-on: x, needs: first, steps: [{run: pytest middle}]}
told: {runs-on: x, needs: middle, if: failure(), steps: [{run: pytest told}]}
always: {runs-on: x, needs: [middle], if: always(), steps: [{run: pytest always}]}
behind: {runs-on: x, needs: always, steps: [{run: pytest behind}]}
first: {runs-on: x, steps: [{run: pytest first}]}
"""


def test_jobs_run_in_the_order_of_their_needs(runner: Runner) -> None:
    run = ran(runner, CHAIN)
    words = [line.split()[1] for line in run.lines("pytest")]
    assert words == ["first", "middle", "after", "always", "behind"]
    assert run.jobs["told"].result == "skipped"
    assert run.result == "success"


def test_a_failed_job_skips_all_behind_it_but_those_that_ask(runner: Runner) -> None:
    runner.tools.fail("pytest first")
    run = ran(runner, CHAIN)
    # `behind` needs only a job that succeeded, but one further up has failed.
    assert run.lines("pytest") == ["pytest first", "pytest told", "pytest always"]
    assert {name: job.result for name, job in run.jobs.items()} == {
        "first": "failure",
        "middle": "skipped",
        "after": "skipped",
        "told": "success",
        "always": "success",
        "behind": "skipped",
    }
    assert run.result == "failure"


def test_jobs_that_need_each_other_are_refused(runner: Runner) -> None:
    with pytest.raises(AssertionError, match="need each other: a, b"):
        ran(runner, "a: {runs-on: x, needs: b, steps: []}\nb: {runs-on: x, needs: a, steps: []}")


def test_outputs_reach_the_jobs_that_need_them_and_make_a_matrix(runner: Runner) -> None:
    run = ran(
        runner,
        """
        list:
          runs-on: x
          outputs: {folders: '${{ steps.find.outputs.folders }}'}
          steps:
            - id: find
              run: echo 'folders=["api", "web"]' >> "$GITHUB_OUTPUT"
        build:
          needs: list
          runs-on: x
          strategy: {matrix: {folder: '${{ fromJSON(needs.list.outputs.folders) }}', n: [1]}}
          steps:
            - run: docker build "$FOLDER"
              env: {FOLDER: '${{ matrix.folder }}'}
        deploy:
          needs: build
          runs-on: x
          steps: [{run: 'docker push ${{ needs.build.result }}'}]
        """,
    )
    assert run.lines() == ["docker build api", "docker build web", "docker push success"]
    assert [*run.jobs] == ["list", "build (api, 1)", "build (web, 1)", "deploy"]


def test_one_failed_leg_of_a_matrix_fails_the_job(runner: Runner) -> None:
    runner.tools.fail("docker build a")
    jobs = """
    build:
      runs-on: x
      strategy:
        max-parallel: %s
        matrix: {include: [{name: a}, {name: b, slow: true}]}
      steps: [{run: 'docker build ${{ matrix.name }} ${{ matrix.slow }}'}]
    deploy: {runs-on: x, needs: build, steps: [{run: docker push}]}
    """
    run = ran(runner, jobs % 2)
    assert run.lines() == ["docker build a", "docker build b true"]
    assert [job.result for job in run.jobs.values()] == ["failure", "success", "skipped"]
    # One after another, what comes behind a failure is cancelled.
    run = ran(runner, jobs % 1)
    assert [job.result for job in run.jobs.values()] == ["failure", "cancelled", "skipped"]


def test_a_matrix_excludes_and_includes(runner: Runner) -> None:
    run = ran(
        runner,
        """
        a:
          runs-on: x
          strategy:
            matrix:
              os: [x, y]
              v: [1, 2]
              exclude: [{os: x, v: 2}]
              include: [{os: y, more: yes!}, {os: z, v: 3}]
          steps: [{run: 'make ${{ matrix.os }} ${{ matrix.v }} ${{ matrix.more }}'}]
        """,
    )
    assert run.lines() == ["make x 1", "make y 1 'yes!'", "make y 2 'yes!'", "make z 3"]


PROTECTED = """
deploy: {runs-on: x, environment: {name: production}, steps: [{run: 'make ${{ vars.WHERE }}'}]}
check: {runs-on: x, needs: deploy, steps: [{run: curl}]}
"""


@pytest.mark.parametrize(
    ("gate", "branch", "results"),
    [
        (Gate(variables={"WHERE": "there"}), "main", ["success", "success"]),
        (Gate("waiting"), "main", ["waiting", "waiting"]),
        (Gate("rejected"), "main", ["failure", "skipped"]),
        (Gate(branches=("main",)), "develop", ["failure", "skipped"]),
    ],
)
def test_an_environment_lets_its_jobs_run_or_not(
    runner: Runner, gate: Gate, branch: str, results: list[str]
) -> None:
    runner.environments = {"production": gate}
    run = ran(runner, PROTECTED, Event("push", branch=branch))
    assert [job.result for job in run.jobs.values()] == results
    assert run.lines("make") == (["make there"] if results[0] == "success" else [])
    assert run.jobs["deploy"].environment == "production"


def test_a_fork_gets_no_secrets_and_a_token_that_reads(runner: Runner) -> None:
    jobs = """
    a:
      runs-on: x
      permissions: {contents: read, pull-requests: write}
      environment: e
      steps: [{run: 'gh "$A/$B"', env: {A: '${{ secrets.PASSWORD }}', B: '${{ secrets.OF_E }}'}}]
    """
    runner.environments = {"e": Gate(secrets={"OF_E": "more"}, branches=("**",))}
    run = ran(runner, jobs, Event("pull_request", fork=True), on="pull_request")
    assert run.lines() == ["gh /"]
    assert run.jobs["a"].permissions == {"contents": "read", "pull-requests": "read"}
    run = ran(runner, jobs, Event("pull_request"), on="pull_request")
    assert run.lines() == ["gh hunter2/more"]
    assert run.jobs["a"].permissions == {"contents": "read", "pull-requests": "write"}
    assert run.leaks({"PASSWORD": "hunter2", "OTHER": "nowhere"}) == [
        "PASSWORD in arguments: gh hunter2/more"
    ]


def test_contexts_are_those_that_github_gives_at_a_place(runner: Runner) -> None:
    for wrong in (
        "a: {runs-on: x, if: 'secrets.PASSWORD', steps: []}",
        "a: {runs-on: x, if: 'env.X', steps: []}",
        "a: {runs-on: x, env: {A: '${{ steps.x }}'}, steps: []}",
        "a: {runs-on: x, steps: [{run: make, if: 'secrets.PASSWORD'}]}",
        "a: {runs-on: x, steps: [{run: 'make ${{ success() }}'}]}",
    ):
        with pytest.raises(ExpressionError):
            ran(runner, wrong)


# --- steps ----------------------------------------------------------------------------------------


def test_a_failed_step_stops_those_behind_it_but_those_that_ask(runner: Runner) -> None:
    runner.tools.fail("docker compose up", 3)
    run = ran(
        runner,
        """
        a:
          runs-on: x
          steps:
            - {name: up, id: up, run: docker compose up}
            - run: curl -f http://localhost
            - {if: failure() && steps.up.outcome == 'failure', run: docker compose logs}
            - {if: success(), run: docker compose ps}
            - {if: always(), run: 'docker compose ${{ job.status }}'}
        """,
    )
    asked = ["docker compose up", "docker compose logs", "docker compose failure"]
    assert run.lines() == asked
    assert run.jobs["a"].result == "failure"
    assert "exit code 3" in run.jobs["a"].step("up").log
    assert [x.outcome for x in run.jobs["a"].steps].count("skipped") == 2


def test_a_step_may_fail_and_go_on(runner: Runner) -> None:
    runner.tools.fail("pytest")
    step = "{id: t, run: pytest, continue-on-error: true}"
    run = ran(
        runner, f"a: {{runs-on: x, steps: [{step}, {{run: 'make ${{{{ steps.t.outcome }}}}'}}]}}"
    )
    assert run.lines() == ["pytest", "make failure"]
    assert run.jobs["a"].result == "success"
    assert run.jobs["a"].step("t").conclusion == "success"


def test_only_a_named_bash_fails_in_the_middle_of_a_pipe(runner: Runner) -> None:
    runner.tools.fail("kubectl get")
    jobs = "a: {runs-on: x, %s steps: [{run: 'kubectl get | cat'}]}"
    assert ran(runner, jobs % "").result == "success"
    assert ran(runner, jobs % "defaults: {run: {shell: bash}},").result == "failure"


def test_defaults_are_those_of_the_job_then_of_the_workflow(runner: Runner) -> None:
    runner.tools.fail("kubectl get")
    piped = "steps: [{run: 'kubectl get | cat'}]"
    run = ran(
        runner,
        f"""
        a: {{runs-on: x, defaults: {{run: {{shell: bash}}}}, {piped}}}
        b: {{runs-on: x, {piped}}}
        """,
    )
    assert [job.result for job in run.jobs.values()] == ["failure", "success"]


def test_steps_hand_values_to_the_next_ones(runner: Runner) -> None:
    run = ran(
        runner,
        """
        a:
          runs-on: x
          env: {WHO: job, TAG: '${{ github.sha }}'}
          defaults: {run: {working-directory: app}}
          steps:
            - uses: actions/checkout@abc # v4
            - id: first
              env: {WHO: step}
              run: |
                test -f main.py
                echo "WHO=$WHO, and on" >> "$GITHUB_ENV"
                echo "# Done" >> "$GITHUB_STEP_SUMMARY"
                mkdir tools
                printf '#!/bin/sh\\necho mine "$@"\\n' > tools/mine
                chmod +x tools/mine
                echo "$PWD/tools" >> "$GITHUB_PATH"
                { echo 'text<<END'; echo one; echo two=2; echo END; } >> "$GITHUB_OUTPUT"
            - run: mine "$WHO" "$TEXT"
              env: {TEXT: '${{ steps.first.outputs.text }}'}
            - {run: ls, working-directory: .}
        """,
    )
    job = run.jobs["a"]
    assert job.result == "success", run.log
    assert job.steps[2].log == "mine step, and on one\ntwo=2\n"
    assert job.steps[3].log == "app\n"
    assert job.summary == "# Done\n"


def test_a_step_sees_the_variables_of_a_runner(runner: Runner) -> None:
    run = ran(
        runner,
        """
        a:
          runs-on: [self-hosted, linux]
          steps:
            - run: |
                test "$GITHUB_WORKSPACE" = "$PWD"
                test -z "$GITHUB_TOKEN"
                docker "$GITHUB_SHA" "$GITHUB_REF_NAME" "$RUNNER_ENVIRONMENT" "$GITHUB_JOB"
                jq -r .pull_request.head.ref "$GITHUB_EVENT_PATH"
        """,
        Event("pull_request", branch="$(evil)", sha="abc"),
        on="pull_request",
    )
    assert run.lines() == ["docker abc 7/merge self-hosted a"]
    assert run.log == "$(evil)\n"


def test_a_machine_of_ones_own_keeps_its_home(runner: Runner) -> None:
    for label, kept in (("x", ["", ""]), ("self-hosted", ["", "noted\n"])):
        jobs = (
            f"a: {{runs-on: {label}, steps: [{{run: 'cat ~/note || true; echo noted > ~/note'}}]}}"
        )
        logs = [ran(runner, jobs).log for _ in range(2)]
        assert [log if log == "noted\n" else "" for log in logs] == kept


def test_a_job_has_an_empty_workspace_until_it_checks_out(runner: Runner) -> None:
    run = ran(runner, "a: {runs-on: x, steps: [{run: ls, working-directory: app}]}")
    assert run.result == "failure"
    assert "no folder app" in run.log


def test_an_endless_step_is_ended(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner._SECONDS", 0.5)
    with pytest.raises(AssertionError, match="still ran after"):
        ran(runner, "a: {runs-on: x, steps: [{run: 'while true; do :; done'}]}")


def test_actions_are_recorded_and_may_be_given_an_effect(runner: Runner) -> None:
    def failing(uses: Uses) -> None:
        raise ActionFailed(f"no {uses.given['stack-name']}")

    runner.effects["pulumi/actions"] = failing
    run = ran(
        runner,
        """
        a:
          runs-on: x
          steps:
            - uses: docker/login-action@0123
              with: {username: me, password: '${{ secrets.PASSWORD }}', logout: false}
            - id: build
              uses: docker/build-push-action@0123
              with: {tags: "a:1\\na:${{ github.sha }}", push: '${{ github.ref_name == ''main'' }}'}
            - run: docker pull "$IMAGE"
              env: {IMAGE: 'a@${{ steps.build.outputs.digest }}'}
            - uses: pulumi/actions@0123
              with: {stack-name: prod}
        """,
    )
    login = run.uses("docker/login-action")[0]
    assert login.given == {"username": "me", "password": "hunter2", "logout": "false"}
    assert login.version == "0123"
    build = run.uses("docker/build-push-action")[0]
    assert build.given["push"] == "true"
    assert build.given["tags"].splitlines() == ["a:1", f"a:{Event('push').sha}"]
    assert [line.split("@")[0] for line in run.lines()] == [
        *("uses docker/login-action", "uses docker/build-push-action"),
        *("docker pull a", "uses pulumi/actions"),
    ]
    assert run.jobs["a"].result == "failure"
    assert "no prod" in run.log


def test_an_artifact_reaches_another_run(runner: Runner) -> None:
    ran(
        runner,
        """
        a:
          runs-on: x
          steps:
            - run: mkdir out; echo hello > out/report.md
            - {uses: actions/upload-artifact@1, with: {name: report, path: out/}}
        """,
    )
    run = ran(
        runner,
        """
        b:
          runs-on: x
          steps:
            - {uses: actions/download-artifact@1, with: {name: report, path: got}}
            - run: cat got/report.md
            - {uses: actions/download-artifact@1, with: {pattern: rep*, path: single}}
            - run: cat single/report.md
            - {uses: actions/upload-artifact@1, with: {name: replica, path: single/}}
            - {uses: actions/download-artifact@1, with: {pattern: rep*, path: all}}
            - run: cat all/report/report.md all/replica/report.md
            - {uses: actions/download-artifact@1, with: {name: missing}}
        """,
    )
    assert run.log.count("hello") == 4
    assert run.jobs["b"].result == "failure"


def test_inputs_have_their_defaults(runner: Runner) -> None:
    on = "{workflow_dispatch: {inputs: {where: {default: dev}, sure: {type: boolean}}}, push: }"
    jobs = "a: {runs-on: x, steps: [{run: 'make ${{ inputs.where }} ${{ inputs.sure }}'}]}"
    assert ran(runner, jobs, Event("workflow_dispatch"), on).lines() == ["make dev"]
    event = Event("workflow_dispatch", inputs={"where": "prod", "sure": True})
    assert ran(runner, jobs, event, on).lines() == ["make prod true"]
    assert ran(runner, jobs, on=on).lines() == ["make"]


def test_files_are_hashed_for_a_key_of_a_cache(runner: Runner) -> None:
    run = ran(
        runner,
        """
        a:
          runs-on: x
          steps:
            - uses: actions/checkout@1
            - {uses: actions/cache@1, with: {key: "k-${{ hashFiles('app/*.py') }}", path: x}}
            - {uses: actions/cache@1, with: {key: "k-${{ hashFiles('**/nothing') }}", path: x}}
        """,
    )
    first, second = run.uses("actions/cache")
    assert len(first.given["key"]) == len("k-") + 64
    assert second.given["key"] == "k-"


# --- tools ----------------------------------------------------------------------------------------


def test_stubs_answer_in_turn_and_record_what_they_got(runner: Runner) -> None:
    runner.tools.answer("gh run list", "[]", '[{"conclusion": "success"}]')
    runner.tools.answer("gh run list * --branch bad", Answer("", 4, "no\n"))
    runner.tools.answer("pulumi stack output", Answer(script='echo "${@: -1}" > file; cat file'))
    run = ran(
        runner,
        """
        a:
          runs-on: x
          steps:
            - run: |
                until gh run list --json conclusion | jq -e '.[] | .conclusion == "success"'; do
                  sleep 10
                done
                gh run list --json x --branch bad || echo "code $?"
                printf %s "$PASSWORD" | docker login --username me --password-stdin
                pulumi stack output url
                while read -r line; do kubectl get "$line"; done <<< $'a\\nb'
              env: {PASSWORD: '${{ secrets.PASSWORD }}'}
        """,
    )
    assert run.lines() == [
        *("gh run list --json conclusion", "sleep 10", "gh run list --json conclusion"),
        *("gh run list --json x --branch bad", "docker login --username me --password-stdin"),
        *("pulumi stack output url", "kubectl get a", "kubectl get b"),
    ]
    assert run.log == "true\nno\ncode 4\nurl\n"
    login = run.calls("docker login")[0]
    assert login.stdin == login.env["PASSWORD"] == "hunter2"
    assert run.leaks(runner.secrets) == []


def test_a_secret_in_the_arguments_of_a_real_tool_is_seen(runner: Runner) -> None:
    jobs = """
    a:
      runs-on: x
      env: {PASSWORD: '${{ secrets.PASSWORD }}'}
      steps:
        - run: jq -n --arg password "$PASSWORD" .
        - run: echo "$PASSWORD"
        - run: make ${{ secrets.PASSWORD }}
        - run: echo "$PASSWORD" >> "$GITHUB_STEP_SUMMARY"
        - run: echo "x=$PASSWORD" >> "$GITHUB_OUTPUT"
    """
    found = [each.split(": ")[0] for each in ran(runner, jobs).leaks(runner.secrets)]
    assert found == [
        *("PASSWORD in arguments", "PASSWORD in arguments", "PASSWORD in a"),
        *("PASSWORD in a/step 2", "PASSWORD in a/step 3", "PASSWORD in a/step 5"),
    ]


def test_what_it_does_not_know_it_refuses(runner: Runner) -> None:
    for jobs in (
        "a: {uses: ./.github/workflows/other.yaml}",
        "a: {runs-on: x, container: node, steps: []}",
        "a: {runs-on: x, steps: [{uses: ./action}]}",
    ):
        with pytest.raises(AssertionError, match="this stand-in"):
            ran(runner, jobs)
