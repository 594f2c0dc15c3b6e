use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// What ended a task, ready to be shown.
pub type TaskError = Box<dyn std::error::Error + Send + Sync>;
/// How a supervised task ends.
pub type TaskResult = Result<(), TaskError>;

/// Runs until `stopping` resolves or a task ends, then gives the rest `grace` to stop.
///
/// An early end of a task, even a clean one, stops the others. The first error is the one reported.
///
/// # Errors
/// The first error of a task, or tasks that did not stop within `grace`.
pub async fn supervise(
    mut tasks: JoinSet<TaskResult>,
    stop: CancellationToken,
    grace: Duration,
    stopping: impl Future<Output = ()>,
) -> TaskResult {
    let mut outcome = tokio::select! {
        () = stopping => Ok(()),
        Some(ended) = tasks.join_next() => flatten(ended),
    };
    stop.cancel();
    let deadline = Instant::now() + grace;
    while let Ok(Some(ended)) = timeout_at(deadline, tasks.join_next()).await {
        outcome = outcome.and(flatten(ended));
    }
    if tasks.is_empty() {
        outcome
    } else {
        outcome.and(Err("stopping took longer than the grace period".into()))
    }
}

fn flatten(ended: Result<TaskResult, JoinError>) -> TaskResult {
    ended.unwrap_or_else(|panic| Err(panic.into()))
}

/// Waits for SIGINT or SIGTERM; a second one ends the process at once with 130.
pub async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn until(stop: CancellationToken) -> TaskResult {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn an_early_end_stops_the_rest_and_its_error_is_reported() {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(until(stop.clone()));
        tasks.spawn(async { Err("first".into()) });
        let outcome = supervise(tasks, stop, Duration::from_secs(5), std::future::pending()).await;
        assert_eq!(outcome.unwrap_err().to_string(), "first");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_named_after_the_grace_period() {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(std::future::pending());
        let outcome = supervise(tasks, stop, Duration::from_secs(5), async {}).await;
        assert!(outcome.unwrap_err().to_string().contains("grace period"));
    }
}
