use std::time::Duration;

use hubwarden_service::Backoff;
use tokio_util::sync::CancellationToken;

use crate::Error;

/// A store that is back is noticed within so long.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Tries until it works, as long as another try makes sense; gives nothing when stopped while waiting.
///
/// A try that has begun is not broken off.
pub(crate) async fn patiently<T, F>(
    doing: &'static str,
    stop: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Result<Option<T>, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut waits = Backoff::default();
    let mut failures = 0_u64;
    loop {
        let error = match ask().await {
            Ok(answer) => {
                if failures > 0 {
                    tracing::info!(failures, "{doing} works again");
                }
                return Ok(Some(answer));
            }
            Err(error) if error.is_retryable() => error,
            Err(error) => return Err(error),
        };
        if failures == 0 {
            tracing::warn!(error = &error as &dyn std::error::Error, "{doing} waits");
        }
        failures += 1;
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(waits.next_wait().min(LONGEST_WAIT)) => {}
        }
    }
}
