//! Rule sets on their way: the topic `rules` holds them, and every replica judges by the active one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hubwarden_bus::{Bus, Delivered, Positions, Record, commit_when_room, topic};
use hubwarden_event::{Hash, hash_parts};
use hubwarden_proto::{Message, v1};
use hubwarden_rules::{RuleFile, RuleSet};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::readiness::chain;
use crate::{Error, LoadedRules, Readiness, Rulebook};

/// Key of the record on `rules` that says which rules judge.
const ACTIVE: &[u8] = b"active";

/// Sets that stay compiled: the active one and those whose matches may be under way.
const COMPILED: usize = 8;

/// The part of a stage that is not ready without a set.
const RULES: &str = "rules";

/// How often the topic is looked at while nothing else happens.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

impl Rulebook {
    /// Makes this the active set of the bus, unless it is already.
    ///
    /// Files, lists and the set stay on the topic under the hash of their content, so that a match
    /// of an earlier set can still be judged.
    ///
    /// # Errors
    /// When the bus cannot be read or does not take it.
    pub async fn publish<B: Bus>(&self, bus: &B) -> Result<(), Error> {
        let newest = bus.newest(topic::RULES).await?;
        let mut set = v1::RuleSet::default();
        let mut records = Vec::new();
        for file in &self.files {
            let RuleFile { name, text, shipped } = file.clone();
            let file = v1::RuleFile { name, text, shipped };
            set.files.push(add(&mut records, v1::rule_body::Body::File(file)));
        }
        for name in self.lists.names() {
            let values = self.lists.get(name).unwrap_or_default().to_vec();
            let list = v1::RuleList { name: name.into(), values };
            set.lists.push(add(&mut records, v1::rule_body::Body::List(list)));
        }
        set.compiled = Bytes::copy_from_slice(&self.compile().set.hash().0);
        add(&mut records, v1::rule_body::Body::Set(set.clone()));
        let body = v1::RuleBody { body: Some(v1::rule_body::Body::Set(set)) }.encode_to_vec();
        if newest.iter().any(|record| record.key == ACTIVE && record.body == body) {
            return Ok(());
        }
        records.retain(|record| !newest.iter().any(|known| known.key == record.key));
        records.push(Record::new(topic::RULES, ACTIVE, body));
        commit_when_room(&mut bus.writer("rules"), records, &Positions::none()).await?;
        Ok(())
    }

    /// The active set of the bus; none before the first was published.
    ///
    /// # Errors
    /// When it cannot be read, or names a file or list that is not there.
    pub async fn active<B: Bus>(bus: &B) -> Result<Option<Self>, Error> {
        let topic = Topic::read(bus).await?;
        topic.active.as_ref().map(|set| topic.book(set)).transpose()
    }
}

/// Adds a record of topic `rules` and gives its key, the hash of its content.
fn add(records: &mut Vec<Record>, body: v1::rule_body::Body) -> Bytes {
    let body = v1::RuleBody { body: Some(body) }.encode_to_vec();
    let key = Bytes::copy_from_slice(&Hash(hash_parts([body.as_slice()])).0);
    records.push(Record::new(topic::RULES, key.clone(), body));
    key
}

/// What the topic `rules` holds.
struct Topic {
    files: BTreeMap<Bytes, v1::RuleFile>,
    lists: BTreeMap<Bytes, v1::RuleList>,
    /// Newest first.
    sets: Vec<v1::RuleSet>,
    active: Option<v1::RuleSet>,
}

impl Topic {
    async fn read<B: Bus>(bus: &B) -> Result<Self, Error> {
        let (mut files, mut lists) = (BTreeMap::new(), BTreeMap::new());
        let (mut sets, mut active) = (Vec::new(), None);
        for Delivered { key, body, .. } in bus.newest(topic::RULES).await? {
            let body = match v1::RuleBody::decode(body) {
                Ok(body) => body.body,
                Err(error) if key == ACTIVE => {
                    return Err(hubwarden_proto::Error::from(error).into());
                }
                Err(error) => {
                    // A set that needs it is incomplete; the others do not mind.
                    tracing::warn!(?key, %error, "passed over a record of rules that is none");
                    continue;
                }
            };
            match body {
                Some(v1::rule_body::Body::File(file)) => {
                    files.insert(key, file);
                }
                Some(v1::rule_body::Body::List(list)) => {
                    lists.insert(key, list);
                }
                Some(v1::rule_body::Body::Set(set)) if key == ACTIVE => active = Some(set),
                Some(v1::rule_body::Body::Set(set)) => sets.push(set),
                // Something that a later release keeps here. What a set makes of it decides its hash.
                None => {}
            }
        }
        sets.reverse();
        Ok(Self { files, lists, sets, active })
    }

    fn book(&self, set: &v1::RuleSet) -> Result<Rulebook, Error> {
        let mut book = Rulebook::default();
        for key in &set.files {
            let file = self.files.get(key).ok_or(Error::IncompleteRuleSet)?;
            let v1::RuleFile { name, text, shipped } = file.clone();
            book.files.push(RuleFile { name, text, shipped });
        }
        for key in &set.lists {
            let list = self.lists.get(key).ok_or(Error::IncompleteRuleSet)?;
            book.lists.insert(&list.name, list.values.clone());
        }
        Ok(book)
    }
}

/// The sets of the topic `rules`, compiled once for everybody in this process who judges by them.
#[derive(Debug, Clone)]
pub(crate) struct RuleSets<B> {
    bus: B,
    /// Newest use first, by content hash of the record.
    compiled: Arc<Mutex<Vec<Compiled>>>,
}

/// A set under the hash of its record.
type Compiled = (Hash, Arc<LoadedRules>);

impl<B: Bus> RuleSets<B> {
    pub(crate) fn new(bus: B) -> Self {
        Self { bus, compiled: Arc::default() }
    }

    /// The set that judges now.
    ///
    /// # Errors
    /// There is none, it is incomplete, or this release does not make of it what its publisher did.
    pub(crate) async fn active(&self) -> Result<Arc<RuleSet>, Error> {
        Ok(self.load().await?.set.clone())
    }

    async fn load(&self) -> Result<Arc<LoadedRules>, Error> {
        let topic = Topic::read(&self.bus).await?;
        let set = topic.active.as_ref().ok_or(Error::NoRuleSet)?;
        let rules = self.compile(&topic, set)?;
        if !set.compiled.is_empty() && set.compiled[..] != rules.set.hash().0 {
            return Err(Error::OtherRuleSet {
                published: hex(&set.compiled),
                here: rules.set.hash().to_string(),
            });
        }
        Ok(rules)
    }

    /// The newest set, of all that were ever published, that has a rule with this content hash.
    ///
    /// # Errors
    /// The topic cannot be read.
    pub(crate) async fn holding(&self, rule: &Hash) -> Result<Option<Arc<RuleSet>>, Error> {
        let topic = Topic::read(&self.bus).await?;
        for set in topic.active.iter().chain(&topic.sets).take(COMPILED) {
            // A rule that this release knows is the same in a set of which it does not know all.
            match self.compile(&topic, set) {
                Ok(rules) if rules.set.get(rule).is_some() => return Ok(Some(rules.set.clone())),
                Ok(_) => {}
                Err(error) => tracing::debug!(%error, "an earlier rule set is passed over"),
            }
        }
        Ok(None)
    }

    /// The active set, as soon as there is one that this release can judge by, and an end of the
    /// topic before that: what is beyond it is news. Nothing when stopped.
    ///
    /// # Errors
    /// The bus fails for good.
    pub(crate) async fn wait(
        &self,
        ready: &Readiness,
        stop: &CancellationToken,
    ) -> Result<Option<(u64, Arc<LoadedRules>)>, Error> {
        loop {
            match self.read().await {
                Ok(read) => {
                    ready.set(RULES, None);
                    return Ok(Some(read));
                }
                Err(error) if error.is_of_rules() => ready.set(RULES, Some(chain(&error))),
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    async fn read(&self) -> Result<(u64, Arc<LoadedRules>), Error> {
        let end = self.end().await?;
        Ok((end, self.load().await?))
    }

    async fn end(&self) -> Result<u64, Error> {
        Ok(self.bus.ends().await?.get(topic::RULES, 0).unwrap_or(0))
    }

    fn compile(&self, topic: &Topic, set: &v1::RuleSet) -> Result<Arc<LoadedRules>, Error> {
        let key = Hash(hash_parts([set.encode_to_vec().as_slice()]));
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = compiled.iter().position(|(known, _)| *known == key) {
            let known = compiled.remove(place);
            compiled.insert(0, known.clone());
            return Ok(known.1);
        }
        let rules = Arc::new(LoadedRules::of(topic.book(set)?));
        compiled.insert(0, (key, rules.clone()));
        compiled.truncate(COMPILED);
        Ok(rules)
    }
}

/// The active set, followed by one who judges by it.
pub(crate) struct ActiveSet<B> {
    sets: RuleSets<B>,
    ready: Readiness,
    /// End of the topic before it was last read.
    seen: u64,
    /// On a cluster the end of the topic as it was lately: to ask before every batch would cost more
    /// than the batch. Alone, one asks, and every event meets the set that was there before it.
    lately: Option<(watch::Receiver<u64>, AbortOnDropHandle<()>)>,
}

impl<B: Bus> ActiveSet<B> {
    pub(crate) fn new(sets: RuleSets<B>, ready: Readiness) -> Self {
        let alone = sets.bus.partitions(topic::EVENTS) == 1;
        let lately = (!alone).then(|| {
            let (tell, lately) = watch::channel(0);
            let sets = sets.clone();
            let looking = tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LOOK).await;
                    match sets.end().await {
                        Ok(end) => drop(tell.send_replace(end)),
                        Err(error) => tracing::debug!(%error, "no news of rule sets"),
                    }
                }
            });
            (lately, AbortOnDropHandle::new(looking))
        });
        Self { sets, ready, seen: 0, lately }
    }

    /// Whether something was published since the set was last read.
    ///
    /// # Errors
    /// The bus fails.
    pub(crate) async fn has_changed(&self) -> Result<bool, Error> {
        let end = match &self.lately {
            Some((lately, _)) => *lately.borrow(),
            None => self.sets.end().await?,
        };
        Ok(end > self.seen)
    }

    /// The active set, as soon as there is one that this release can judge by; nothing when stopped.
    ///
    /// # Errors
    /// The bus fails for good.
    pub(crate) async fn wait(
        &mut self,
        stop: &CancellationToken,
    ) -> Result<Option<Arc<RuleSet>>, Error> {
        let Some((end, rules)) = self.sets.wait(&self.ready, stop).await? else { return Ok(None) };
        self.seen = end;
        self.ready.judges_by(rules.clone());
        Ok(Some(rules.set.clone()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
