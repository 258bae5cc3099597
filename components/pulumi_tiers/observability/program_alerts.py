"""Alerts of programs, by what they tell of themselves."""

from collections.abc import Iterator

from pulumi_tiers.model.observability import Family, ProgramMetrics, Severity, Thresholds
from pulumi_tiers.observability.alerts import Alert, above


def request_alerts(program: ProgramMetrics, thresholds: Thresholds) -> Iterator[Alert]:
    """Of programs that answer: how fast, how well, whom they refuse, what they miss."""
    if program.duration:
        yield above(
            thresholds,
            "response_seconds",
            name="HighResponseTime",
            expr=(
                f"histogram_quantile(0.95, sum by (job, le) (rate({program.duration}_bucket[5m])))"
            ),
            pending="5m",
            family=Family.PERFORMANCE,
            summary=(
                "5 of 100 requests to {{ $labels.job }} take longer than {{ $value |"
                " humanizeDuration }}"
            ),
            runbook=(
                "Look on the dashboard Performance since when, and whether a store is slow or"
                " the CPU is at its limit. More replicas help where the program is the"
                " bottleneck."
            ),
        )
    if program.requests:
        asked = f"sum by (job) (rate({program.requests}[5m]))"
        failed = f'sum by (job) (rate({program.requests}{{status=~"5.."}}[5m]))'
        yield above(
            thresholds,
            "error_percent",
            name="HighErrorRate",
            expr=f"100 * {failed} / {asked}",
            pending="5m",
            family=Family.AVAILABILITY,
            summary=(
                '{{ $labels.job }} answers {{ $value | printf "%.1f" }} percent of requests'
                " with 5xx"
            ),
            runbook=(
                "Look at its log (tiers logs) and at what it depends on. Go back to the image"
                " before, if it began with a deployment."
            ),
            severity=Severity.CRITICAL,
        )
        refused = f'sum by (job) (rate({program.requests}{{status="429"}}[5m]))'
        yield above(
            thresholds,
            "rate_limited_per_minute",
            name="ManyRateLimited",
            expr=f"60 * {refused}",
            pending="5m",
            family=Family.SECURITY,
            summary=(
                '{{ $labels.job }} refuses {{ $value | printf "%.0f" }} requests per minute as'
                " too many"
            ),
            runbook=(
                "Look in the log who asks. Lock that address out at the edge, or raise the"
                " limit if they are real clients."
            ),
        )
    if program.login_failures:
        yield above(
            thresholds,
            "login_failures_per_minute",
            name="ManyLoginFailures",
            expr=f"60 * sum by (job) (rate({program.login_failures}[5m]))",
            pending="1m",
            family=Family.SECURITY,
            summary='{{ $value | printf "%.0f" }} logins per minute fail at {{ $labels.job }}',
            runbook=(
                "Look in the log for addresses and accounts. Lock the addresses out at the"
                " edge, and the accounts if one of them was guessed."
            ),
            severity=Severity.CRITICAL,
        )
    if program.dependency_up:
        yield Alert(
            name="DependencyDown",
            expr=f"min by (job, dependency, engine) ({program.dependency_up}) == 0",
            pending="2m",
            family=Family.AVAILABILITY,
            severity=Severity.CRITICAL,
            summary="{{ $labels.job }} does not reach {{ $labels.dependency }}",
            runbook=(
                "If the store is up, look at the program's credentials, its networks and its log."
            ),
        )


def job_alerts(program: ProgramMetrics, thresholds: Thresholds) -> Iterator[Alert]:
    """Business: volume and quality of the work."""
    hours = thresholds.idle_hours
    if program.queue_length:
        yield above(
            thresholds,
            "queue_length",
            name="QueueTooLong",
            expr=f"max by (job, queue) ({program.queue_length})",
            pending="10m",
            family=Family.BUSINESS,
            summary="{{ $value }} jobs wait in {{ $labels.queue }}, as {{ $labels.job }} says",
            runbook="Look whether the workers run and are fast enough; add replicas.",
        )
    if program.jobs:
        yield Alert(
            name="NoWorkDone",
            # Who was there all the time: what has just begun is not idle.
            expr=(
                f"sum by (job) (increase({program.jobs}[{hours}h])) == 0"
                f" and sum by (job) ({program.jobs} offset {hours}h) >= 0"
            ),
            pending="1h",
            family=Family.BUSINESS,
            severity=Severity.WARNING,
            summary=f"{{{{ $labels.job }}}} has done no job for {hours} hours",
            runbook="Look whether anybody sends jobs, and whether the workers take them.",
            threshold=f"idle_hours={hours}",
        )
        failed = f'sum by (job) (rate({program.jobs}{{outcome="failed"}}[15m]))'
        yield above(
            thresholds,
            "failed_jobs_percent",
            name="JobsFailing",
            expr=f"100 * {failed} / sum by (job) (rate({program.jobs}[15m]))",
            pending="15m",
            family=Family.BUSINESS,
            summary=('{{ $value | printf "%.0f" }} percent of the jobs of {{ $labels.job }} fail'),
            runbook=(
                "Look at the log of the workers for the first failure, and at what came in then."
            ),
        )
    if program.job_quality:
        quality = program.job_quality
        yield above(
            thresholds,
            "job_quality",
            name="LowQuality",
            expr=(
                f"sum by (job) (rate({quality}_sum[30m]))"
                f" / sum by (job) (rate({quality}_count[30m]))"
            ),
            pending="15m",
            family=Family.BUSINESS,
            summary=(
                'The results of {{ $labels.job }} have a quality of {{ $value | printf "%.2f" }}'
            ),
            runbook=(
                "Compare what comes in with what the model was trained on; go back to the"
                " version before if it began with a new one."
            ),
            sign="<",
        )
