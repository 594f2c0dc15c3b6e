use std::time::Duration;

use crate::{Error, Positions, Record, Sink};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Commits, and waits as long as the bus has no room: a full bus slows whoever feeds it.
///
/// Dropping the future while it waits leaves nothing on the bus.
///
/// # Errors
/// What will not pass by waiting.
pub async fn commit_when_room(
    sink: &mut impl Sink,
    outputs: Vec<Record>,
    consumed: &Positions,
) -> Result<(), Error> {
    let mut wait = FIRST_WAIT;
    loop {
        match sink.commit(outputs.clone(), consumed).await {
            Err(error) if error.is_retryable() => {
                if wait == FIRST_WAIT {
                    tracing::warn!(%error, "waiting for room on the bus");
                }
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            ended => return ended,
        }
    }
}
