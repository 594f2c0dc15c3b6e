use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hubwarden_bus::{Batch, Bus, Delivered, Error as BusError, Limit, Positions, Source, topic};
use hubwarden_event::Hash;
use hubwarden_service::metrics::{CORRELATE, Pace, Step, Transaction};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::correlating::MEMORY_BYTES;
use crate::partition::{Answer, Correlating, Lost, Partition, Start};
use crate::readiness::chain;
use crate::rule_sets::{ActiveSet, LOOK, RuleSets};
use crate::saving::Saving;
use crate::{CORRELATE_STAGE, CorrelateCounts, Error, Readiness, metrics};

mod publishing;

/// What a partition may keep however many there are.
const MEMORY_FLOOR: usize = 4 << 20;
/// After so long a partition that could not be opened is tried again.
const OPEN_AGAIN: Duration = Duration::from_secs(5);
/// After so long findings that could not be published are tried again.
const PUBLISH_AGAIN: Duration = Duration::from_millis(200);

/// Turns matches into findings until stopped, on every partition of `matches` that this process owns.
///
/// Each partition has its own correlator and state file. State, outbox and position are one
/// transaction of that file; a finding leaves the outbox once the bus has it. A partition that is
/// given away leaves a snapshot behind. `told` hears of every batch.
///
/// A partition whose state cannot be opened stands still, and `ready` says why; without a place for
/// snapshots, where one process does everything, it ends the stage instead.
///
/// # Errors
/// When the bus or a state file fails.
pub async fn run_correlate<B: Bus>(
    bus: B,
    settings: Correlating,
    ready: Readiness,
    stop: CancellationToken,
    mut told: impl FnMut(CorrelateCounts),
) -> Result<(), Error> {
    let partitions = bus.partitions(topic::MATCHES);
    match &settings.snapshots {
        None if partitions > 1 => return Err(Error::NoSnapshots { partitions }),
        None => {}
        Some(snapshots) => snapshots.target.probe().await?,
    }
    let made = std::fs::create_dir_all(&settings.dir);
    made.map_err(|source| Error::Dir { path: settings.dir.clone(), source })?;
    let rules = RuleSets::new(bus.clone());
    let mut active = ActiveSet::new(rules.clone(), ready.clone());
    if active.wait(&stop).await?.is_none() {
        return Ok(());
    }
    let saving = Saving::new(&settings);
    let mut reader = bus.keeping_reader(CORRELATE_STAGE, &[topic::MATCHES])?;
    ready.set("stage", None);
    let mut stage = Stage {
        bus,
        settings,
        ready,
        rules,
        stop: stop.clone(),
        open: BTreeMap::new(),
        held: BTreeMap::new(),
        saving,
        told_at: Positions::none(),
    };
    let (mut look, mut lag) = (true, Pace::default());
    loop {
        if active.has_changed().await? {
            let Some(set) = active.wait(&stop).await? else { break };
            for owned in stage.open.values_mut() {
                owned.partition.correlator.replace_rules(set.clone());
            }
        }
        if std::mem::take(&mut look) || stage.is_retry_due() {
            stage.follow(&mut reader).await?;
        }
        let published = tokio::select! {
            () = stop.cancelled() => break,
            published = stage.publish(&mut reader) => published?,
        };
        look |= published.is_none();
        stage.save_what_is_due()?;
        let wake = stage.next_wake(published.is_none());
        let mut batch = tokio::select! {
            () = stop.cancelled() => break,
            () = sleep_until(wake) => continue,
            batch = reader.next_batch(Limit::default()) => batch?,
        };
        if batch.records.is_empty() {
            look = true;
            metrics::assigned(&CORRELATE, &reader);
            continue;
        }
        let cycle = metrics::cycle(&CORRELATE, CORRELATE_STAGE, &batch);
        metrics::carry(&cycle, &mut batch);
        metrics::event_time(&CORRELATE, &batch);
        let working = cycle.time(Step::Work);
        let mut counts = match cycle.span().in_scope(|| stage.work(batch)) {
            Err(Error::Stopped) => break,
            worked => worked?,
        };
        drop(working);
        metrics::left_out(counts.unreadable);
        cycle.ended(Transaction::Committed);
        if lag.is_due() {
            metrics::lag(&CORRELATE, &reader).await;
        }
        counts.findings = published.unwrap_or(0);
        told(counts);
    }
    stage.leave_all().await;
    Ok(())
}

struct Stage<B> {
    bus: B,
    settings: Correlating,
    ready: Readiness,
    rules: RuleSets<B>,
    stop: CancellationToken,
    open: BTreeMap<u32, Owned>,
    /// Owned partitions that could not be opened, and when that is tried again.
    held: BTreeMap<u32, Instant>,
    saving: Saving,
    /// What the bus was last told of where the partitions stand.
    told_at: Positions,
}

struct Owned {
    partition: Partition,
    /// When the next snapshot is due; never without a place for it.
    save_at: Option<Instant>,
}

impl<B: Bus> Stage<B> {
    /// Opens the partitions that came and gives up those that went.
    async fn follow(&mut self, reader: &mut B::Reader) -> Result<(), Error> {
        let assigned = reader.assignment().into_iter();
        let assigned: BTreeSet<u32> = assigned
            .filter(|(topic, _)| *topic == topic::MATCHES)
            .map(|(_, partition)| partition)
            .collect();
        let gone: Vec<u32> =
            self.open.keys().filter(|number| !assigned.contains(number)).copied().collect();
        for number in gone {
            if let Some(owned) = self.open.remove(&number) {
                self.ready.set(&part(number), None);
                self.saving.leave(owned.partition);
            }
        }
        for number in self.held.keys().filter(|number| !assigned.contains(number)) {
            self.ready.set(&part(*number), None);
        }
        self.held.retain(|number, _| assigned.contains(number));
        metrics::owned(&assigned.iter().copied().collect::<Vec<_>>());
        self.stand_again(reader).await?;
        let due = |retry: &Instant| *retry <= Instant::now();
        let new: Vec<u32> = assigned
            .into_iter()
            .filter(|number| !self.open.contains_key(number))
            .filter(|number| self.held.get(number).is_none_or(due))
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let committed = self.bus.stage_position(CORRELATE_STAGE).await;
        for number in new {
            let opened = match &committed {
                Ok(committed) => self.open(number, committed, reader).await,
                Err(error) => Err(Error::Committed(error.to_string())),
            };
            match opened {
                Ok(()) => {
                    self.held.remove(&number);
                    self.ready.set(&part(number), None);
                }
                Err(error) => {
                    self.open.remove(&number);
                    self.hold(number, error)?;
                }
            }
        }
        Ok(())
    }

    /// Lets the reader stand where the states of the open partitions stand: it may have gone back,
    /// or have lost and regained one in between.
    ///
    /// Beyond a state lies only what is no record: the stage works through all it is given.
    async fn stand_again(&mut self, reader: &mut B::Reader) -> Result<(), Error> {
        let stands = reader.positions();
        let mut at = Positions::none();
        for (number, owned) in &self.open {
            let position = owned.partition.position()?;
            if stands.get(topic::MATCHES, *number).is_none_or(|stands| stands < position) {
                at.set(topic::MATCHES, *number, position);
            }
        }
        while !at.is_empty() {
            match reader.read_from(&at).await {
                Err(error) if error.is_retryable() && !self.stop.is_cancelled() => {
                    tracing::warn!(%error, "standing where the state stands is tried again");
                    tokio::time::sleep(LOOK).await;
                }
                stood => return Ok(stood?),
            }
        }
        Ok(())
    }

    /// Opens a partition and lets the reader stand where its state stands.
    async fn open(
        &mut self,
        number: u32,
        committed: &Positions,
        reader: &mut B::Reader,
    ) -> Result<(), Error> {
        self.saving.closed(number).await; // the file may still be on its way out
        let rules = self.rules.active().await?;
        let sources = self.bus.partitions(topic::EVENTS);
        let committed = committed.get(topic::MATCHES, number).unwrap_or(0);
        let opened = Partition::open(&self.settings, number, rules, sources, committed).await;
        let (partition, start) = opened?;
        // The first snapshot is not waited for.
        let save_at = self.saving.next();
        let save_at =
            save_at.map(|at| if partition.is_never_saved() { Instant::now() } else { at });
        self.open.insert(number, Owned { partition, save_at });
        self.read_from(number, start, reader).await
    }

    async fn read_from(
        &mut self,
        number: u32,
        start: Start,
        reader: &mut B::Reader,
    ) -> Result<(), Error> {
        let wanted = match start {
            Start::At(position) => position,
            Start::Oldest => 0,
        };
        let at = |position| Positions::of(topic::MATCHES, number, position);
        let position = match reader.read_from(&at(wanted)).await {
            Ok(()) => wanted,
            Err(BusError::Gone { oldest, .. })
                if matches!(start, Start::Oldest) || self.settings.lost != Lost::Stop =>
            {
                reader.read_from(&at(oldest)).await?;
                oldest
            }
            Err(error) => return Err(error.into()),
        };
        match self.open.get_mut(&number) {
            Some(owned) => owned.partition.begin_at(position),
            None => Ok(()),
        }
    }

    /// Lets a partition stand still and says why; alone on its node the stage ends.
    fn hold(&mut self, number: u32, error: Error) -> Result<(), Error> {
        if self.settings.snapshots.is_none() {
            return Err(error);
        }
        self.ready.set(&part(number), Some(chain(&error)));
        self.held.insert(number, Instant::now() + OPEN_AGAIN);
        Ok(())
    }

    /// Judges a batch, each partition on a thread of its own.
    fn work(&mut self, batch: Batch) -> Result<CorrelateCounts, Error> {
        let mut shares: BTreeMap<u32, Vec<Delivered>> = BTreeMap::new();
        for record in batch.records {
            shares.entry(record.partition).or_default().push(record);
        }
        let memory = (MEMORY_BYTES / self.open.len().max(1)).max(MEMORY_FLOOR);
        let (rules, runtime) = (&self.rules, Handle::current());
        let (ready, stop) = (&self.ready, &self.stop);
        let ask = |rule: Hash| runtime.block_on(answer(rules, ready, stop, rule));
        let shares = self.open.iter_mut().filter_map(|(number, owned)| {
            shares.remove(number).map(|records| (&mut owned.partition, records))
        });
        let shares: Vec<_> = shares.collect();
        let parts: Vec<Result<CorrelateCounts, Error>> = tokio::task::block_in_place(|| {
            if shares.len() == 1 {
                return shares
                    .into_iter()
                    .map(|(one, records)| one.work(&records, memory, &ask))
                    .collect();
            }
            std::thread::scope(|scope| {
                let ask = &ask;
                let running: Vec<_> = shares
                    .into_iter()
                    .map(|(one, records)| scope.spawn(move || one.work(&records, memory, ask)))
                    .collect();
                let done = running.into_iter().map(std::thread::ScopedJoinHandle::join);
                done.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                    .collect()
            })
        });
        let mut counts = CorrelateCounts::default();
        for part in parts {
            let part = part?;
            counts.records += part.records;
            counts.unreadable += part.unreadable;
        }
        Ok(counts)
    }

    /// Begins the snapshot that has been due for longest.
    fn save_what_is_due(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let due = self.open.values_mut().filter(|owned| owned.save_at.is_some_and(|at| at <= now));
        let mut due: Vec<&mut Owned> = due.collect();
        due.sort_by_key(|owned| owned.save_at);
        for owned in due {
            if self.saving.is_busy() {
                break;
            }
            if self.saving.begin(&owned.partition)? || !owned.partition.is_never_saved() {
                owned.save_at = self.saving.next();
            }
        }
        Ok(())
    }

    /// Gives everything up, each partition with its last snapshot.
    async fn leave_all(&mut self) {
        for (_, owned) in std::mem::take(&mut self.open) {
            self.saving.leave(owned.partition);
        }
        self.saving.all_closed().await;
    }

    fn is_retry_due(&self) -> bool {
        self.held.values().any(|retry| *retry <= Instant::now())
    }

    /// When there is something to do although no record comes.
    fn next_wake(&self, unpublished: bool) -> Instant {
        let again = if unpublished { PUBLISH_AGAIN } else { LOOK };
        let held = self.held.values().copied();
        held.fold(Instant::now() + again, Instant::min)
    }
}

/// What to do about a rule that a correlator does not know.
///
/// Waits while the active set is one that this release cannot judge by.
async fn answer<B: Bus>(
    rules: &RuleSets<B>,
    ready: &Readiness,
    stop: &CancellationToken,
    rule: Hash,
) -> Result<Answer, Error> {
    let (_, active) = rules.wait(ready, stop).await?.ok_or(Error::Stopped)?;
    let active = active.set.clone();
    if active.get(&rule).is_some() {
        return Ok(Answer::Sets(vec![active]));
    }
    let holding = rules.holding(&rule).await?;
    Ok(holding.map_or(Answer::Gone, |set| Answer::Sets(vec![set, active])))
}

fn part(number: u32) -> String {
    format!("partition {number} of matches")
}
