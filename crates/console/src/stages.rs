use std::sync::{Arc, Mutex};
use std::time::Duration;

use hubwarden_bus::{Bus, Topic, topic};
use hubwarden_service::TaskResult;
use tokio_util::sync::CancellationToken;

use crate::{StageStatus, consume};

/// How often the figures about the stages are read from the bus.
const EVERY: Duration = Duration::from_secs(5);

/// Every stage by its name on the bus, with the topic that it consumes, in the order of the line.
pub const LINE: [(&str, Topic); 4] = [
    ("normalizer", topic::RAW),
    ("match", topic::EVENTS),
    ("correlate", topic::MATCHES),
    (consume::STAGE, topic::FINDINGS),
];

/// Keeps the figures about the stages fresh until stopped; while the bus does not answer they are old.
///
/// For a bus that must be asked over the network. Before the first answer there are no figures.
///
/// # Errors
/// None; it is a task beside others.
pub async fn watch_stages<B: Bus>(
    bus: B,
    figures: Arc<Mutex<Vec<StageStatus>>>,
    stop: CancellationToken,
) -> TaskResult {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        match stages(&bus).await {
            Ok(stages) => {
                if let Ok(mut figures) = figures.lock() {
                    *figures = stages;
                }
            }
            Err(error) => tracing::warn!(%error, "the figures about the stages are old"),
        }
    }
}

/// How far each stage is behind, all replicas together.
async fn stages<B: Bus>(bus: &B) -> Result<Vec<StageStatus>, hubwarden_bus::Error> {
    // In this order: what a stage wrote before its position is within the ends that are read after it.
    let positions = bus.stage_positions().await?;
    let ends = bus.ends().await?;
    let lag = |(name, topic): (&str, Topic)| {
        let at = positions.iter().find(|(stage, _)| stage == name).map(|(_, at)| at);
        let partitions = ends.iter().filter(|(of, ..)| *of == topic);
        let behind = partitions.map(|(_, partition, end)| {
            end.saturating_sub(at.and_then(|at| at.get(topic, partition)).unwrap_or(0))
        });
        StageStatus { name: name.into(), lag: behind.sum() }
    };
    Ok(LINE.map(lag).into())
}
