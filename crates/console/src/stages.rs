//! What the console knows of the stages: one look at the bus after the other, and what follows.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hubwarden_bus::{Bus, Member, Positions, Topic, topic};
use hubwarden_event::Timestamp;
use hubwarden_service::TaskResult;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::status::{MemberStatus, PartitionStatus};
use crate::{StageStatus, consume, web};

/// How often the bus is looked at.
const EVERY: Duration = Duration::from_secs(5);
/// A rate is that of so long.
const WINDOW_MS: i64 = 60_000;
/// A partition that has not moved for so long, with something to read, stands still.
const STANDS_MS: i64 = 60_000;
/// Between two looks of the history.
const MINUTE_MS: i64 = 60_000;
/// The history goes back so many minutes.
const MINUTES: usize = 60;

/// Every stage by its name on the bus, with the topic that it consumes, in the order of the line.
pub const LINE: [(&str, Topic); 4] = [
    ("normalizer", topic::RAW),
    ("match", topic::EVENTS),
    ("correlate", topic::MATCHES),
    (consume::STAGE, topic::FINDINGS),
];

/// One moment of a stage's history.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StagePoint {
    /// When it was looked at.
    pub at: Timestamp,
    /// Records that waited then.
    pub lag: u64,
    /// Records a second that came since the point before.
    pub in_per_s: f64,
    /// Records a second that were consumed since the point before.
    pub out_per_s: f64,
}

/// The last hour of the stages, by looks at the bus; a cheap handle of one memory.
#[derive(Clone, Default)]
pub struct StageWatch(Arc<Mutex<Looks>>);

#[derive(Default)]
struct Looks {
    /// Those of the last [`WINDOW_MS`], the newest last.
    recent: VecDeque<Look>,
    /// One a minute.
    minutes: VecDeque<Look>,
    members: Vec<Member>,
    /// Where each partition of each stage stands, and since when it stands there with something to read.
    stands: BTreeMap<(usize, u32), (u64, Timestamp)>,
}

/// Where everything stood at one moment.
#[derive(Clone)]
struct Look {
    at: Timestamp,
    /// End and position of each partition, for each stage of the line.
    stages: [Vec<Place>; LINE.len()],
}

#[derive(Clone, Copy)]
struct Place {
    partition: u32,
    end: u64,
    position: u64,
}

impl Place {
    fn lag(self) -> u64 {
        self.end.saturating_sub(self.position)
    }
}

impl Look {
    fn lag(&self, stage: usize) -> u64 {
        self.stages[stage].iter().map(|place| place.lag()).sum()
    }

    /// Records a second that came and that were consumed between an earlier look and this one.
    fn rates(&self, stage: usize, earlier: &Look) -> Option<(f64, f64)> {
        let millis = self.at.millis_since(earlier.at);
        let sum = |look: &Look, of: fn(&Place) -> u64| look.stages[stage].iter().map(of).sum();
        let rate = |of: fn(&Place) -> u64| {
            let (now, before): (u64, u64) = (sum(self, of), sum(earlier, of));
            now.saturating_sub(before) as f64 * 1000.0 / millis as f64
        };
        (millis > 0).then(|| (rate(|place| place.end), rate(|place| place.position)))
    }
}

impl StageWatch {
    /// Takes in what the bus says at one moment.
    pub fn take(
        &self,
        at: Timestamp,
        ends: &Positions,
        positions: &[(String, Positions)],
        members: Vec<Member>,
    ) {
        let stages: [Vec<Place>; LINE.len()] = LINE.map(|(name, topic)| {
            let stored = positions.iter().find(|(stage, _)| stage == name).map(|(_, at)| at);
            let partitions = ends.iter().filter(|(of, ..)| *of == topic);
            let place = |(_, partition, end): (Topic, u32, u64)| {
                let position = stored.and_then(|stored| stored.get(topic, partition));
                Place { partition, end, position: position.unwrap_or(0) }
            };
            partitions.map(place).collect()
        });
        let mut looks = self.lock();
        for (stage, places) in stages.iter().enumerate() {
            for place in places {
                let here = (place.position, at);
                let stood = looks.stands.entry((stage, place.partition)).or_insert(here);
                if place.lag() == 0 || stood.0 != place.position {
                    *stood = here;
                }
            }
        }
        let look = Look { at, stages };
        if looks.minutes.back().is_none_or(|last| at.millis_since(last.at) >= MINUTE_MS) {
            if looks.minutes.len() > MINUTES {
                looks.minutes.pop_front();
            }
            looks.minutes.push_back(look.clone());
        }
        while looks.recent.front().is_some_and(|first| at.millis_since(first.at) > WINDOW_MS) {
            looks.recent.pop_front();
        }
        looks.recent.push_back(look);
        looks.members = members;
    }

    /// Every stage as of the last look; nothing before the first.
    pub fn stages(&self) -> Vec<StageStatus> {
        let looks = self.lock();
        let (Some(first), Some(last)) = (looks.recent.front(), looks.recent.back()) else {
            return Vec::new();
        };
        LINE.iter().enumerate().map(|(stage, _)| looks.stage(stage, first, last)).collect()
    }

    /// When the bus was last looked at.
    pub fn looked_at(&self) -> Option<Timestamp> {
        self.lock().recent.back().map(|look| look.at)
    }

    /// The last hour of each stage, a point a minute, in the order of [`LINE`].
    pub fn history(&self) -> [Vec<StagePoint>; LINE.len()] {
        let looks = self.lock();
        std::array::from_fn(|stage| {
            let pairs = looks.minutes.iter().zip(looks.minutes.iter().skip(1));
            let points = pairs.filter_map(|(before, look)| {
                let (in_per_s, out_per_s) = look.rates(stage, before)?;
                Some(StagePoint { at: look.at, lag: look.lag(stage), in_per_s, out_per_s })
            });
            points.collect()
        })
    }

    /// Looks at the bus until stopped; while it does not answer the figures are old.
    ///
    /// # Errors
    /// None; it is a task beside others.
    pub async fn run<B: Bus>(self, bus: B, stop: CancellationToken) -> TaskResult {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let looked = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                looked = self.look(&bus) => looked,
            };
            if let Err(error) = looked {
                tracing::warn!(%error, "the figures about the stages are old");
            }
        }
    }

    async fn look<B: Bus>(&self, bus: &B) -> Result<(), hubwarden_bus::Error> {
        // In this order: what a stage wrote before its position is within the ends that are read after it.
        let positions = bus.stage_positions().await?;
        let ends = bus.ends().await?;
        // Who reads is told where the cluster lets this process ask; the figures are worth having without.
        let members = bus.members().await.unwrap_or_else(|error| {
            tracing::debug!(%error, "the members of the stages are not known");
            Vec::new()
        });
        self.take(web::now(), &ends, &positions, members);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        // Nothing between lock and unlock can leave the looks half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Looks {
    fn stage(&self, stage: usize, first: &Look, last: &Look) -> StageStatus {
        let (name, topic) = LINE[stage];
        let owns = |member: &Member| -> Vec<u32> {
            let owned = member.owns.iter().filter(|(of, _)| *of == topic);
            owned.map(|(_, partition)| *partition).collect()
        };
        let members: Vec<MemberStatus> = self
            .members
            .iter()
            .filter(|member| member.stage == name)
            .map(|member| MemberStatus {
                name: member.name.clone(),
                host: member.host.clone(),
                partitions: owns(member),
            })
            .collect();
        let partitions = last.stages[stage].iter().map(|place| {
            let owner = members.iter().find(|member| member.partitions.contains(&place.partition));
            let stood = self.stands.get(&(stage, place.partition)).map(|(_, since)| *since);
            let stands =
                |since: &Timestamp| place.lag() > 0 && last.at.millis_since(*since) >= STANDS_MS;
            PartitionStatus {
                partition: place.partition,
                lag: place.lag(),
                position: place.position,
                end: place.end,
                owner: owner.map(|member| member.name.clone()),
                stands_since: stood.filter(stands),
            }
        });
        let rates = last.rates(stage, first);
        StageStatus {
            name: name.into(),
            lag: last.lag(stage),
            behind_s: self.behind_ms(stage, last).map(|millis| millis.unsigned_abs() / 1000),
            in_per_s: rates.map(|(came, _)| came),
            out_per_s: rates.map(|(_, left)| left),
            partitions: partitions.collect(),
            members,
        }
    }

    /// How long the oldest waiting record has waited at least, as far as the history goes.
    ///
    /// The first look that saw an end beyond where the stage stands now is one at which that record
    /// was there.
    fn behind_ms(&self, stage: usize, last: &Look) -> Option<i64> {
        let waiting = last.stages[stage].iter().filter(|place| place.lag() > 0);
        let waited = waiting.map(|place| {
            let was_there = |look: &&Look| {
                let then = look.stages[stage].iter().find(|then| then.partition == place.partition);
                then.is_some_and(|then| then.end > place.position)
            };
            let mut looks = self.minutes.iter().chain(&self.recent);
            looks.find(was_there).map_or(0, |look| last.at.millis_since(look.at))
        });
        waited.max().or(Some(0))
    }
}

#[cfg(test)]
#[path = "stages/tests.rs"]
mod tests;
