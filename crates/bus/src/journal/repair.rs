//! What can be done about a damaged journal.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::files::{Files, Folder};
use super::frame::{self, Ends, Head, Kind, Meta, NO_SALT, Unreadable};
use super::recover::{Listing, read_from, write_index};
use super::segment::{self, Scan, Segment, io_error, unreadable};
use super::snapshot::{self, Snapshot};
use super::writer::head_frame;
use super::{Handle, Journal, Options, commit, lock};
use crate::topic::ALL;
use crate::{Error, Positions, Topic};

/// What a repair may do.
#[derive(Clone, Debug, Default)]
pub struct Repair {
    /// Whether damaged bytes may be given up; without it they are only named.
    pub accept_loss: bool,
    /// Stages that are moved to the end of everything they read, so that what they never consumed
    /// can leave; taken only with `accept_loss`.
    pub pass: Vec<String>,
}

/// What a repair found and did.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// Damaged places, in the order of the journal.
    pub damage: Vec<Damage>,
    /// Whether the damage was given up and the journal opens again.
    pub sound: bool,
    /// Segments whose index was made again.
    pub indexes: usize,
    /// Records that stages were moved past: stage, topic, number of records.
    pub passed: Vec<(String, Topic, u64)>,
}

/// A damaged place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// What is wrong.
    pub reason: String,
    /// Records that were there: topic, first position, number. What stood at the very end of the
    /// journal cannot be counted.
    pub lost: Vec<(Topic, u64, u64)>,
}

impl Journal {
    /// Checks every byte of a journal that is not in use, makes missing indexes again and gives up
    /// what is damaged, if allowed.
    ///
    /// Positions that are lost stay unused, so nothing that refers to a record changes its meaning.
    ///
    /// # Errors
    /// [`Error::InUse`] while a server has the journal; damage that this cannot mend: a file that is
    /// missing, a damaged snapshot. [`Error::Later`] for what a later release wrote: that is no damage.
    pub async fn repair(
        folder: impl AsRef<Path>,
        options: Options,
        repair: Repair,
    ) -> Result<Repaired, Error> {
        let folder = folder.as_ref();
        let lock = lock(folder)?;
        let files: Arc<dyn Files> = Arc::new(Folder::at(folder));
        let mut repaired = mend(&*files, repair.accept_loss)?;
        if !repair.accept_loss || repair.pass.is_empty() || !repaired.sound {
            return Ok(repaired);
        }
        let journal = Journal::start(files, options, Some(lock))?;
        for stage in &repair.pass {
            pass(&journal.handle, &journal, stage, &mut repaired).await?;
        }
        Ok(repaired)
    }
}

async fn pass(
    handle: &Arc<Handle>,
    journal: &Journal,
    stage: &str,
    repaired: &mut Repaired,
) -> Result<(), Error> {
    let mut ends = Positions::none();
    for lag in journal.lag(stage) {
        ends.set(lag.topic, lag.partition, lag.end);
        repaired.passed.push((stage.to_owned(), lag.topic, lag.records()));
    }
    commit(handle, &stage.into(), Vec::new(), &ends).await
}

fn mend(files: &dyn Files, accept_loss: bool) -> Result<Repaired, Error> {
    let mut listing = Listing::of(files)?;
    // An open removes them.
    listing.covered();
    let mut before = match listing.snapshots.last() {
        Some(&base) => Some(read_snapshot(files, base)?),
        None => None,
    };
    let mut repaired = Repaired { sound: true, ..Repaired::default() };
    for (place, &base) in listing.segments.iter().enumerate() {
        let last = place + 1 == listing.segments.len();
        let known = before.take();
        let mended = Mending::of(files, base, known.clone(), last)?;
        if let (Some(known), Some(damage)) = (&known, repaired.damage.last_mut()) {
            damage.lost.extend(lost(&known.ends, &mended.scan.head.ends, &[]));
        }
        let damaged = !mended.damage.is_empty();
        repaired.damage.extend(mended.damage);
        if damaged && accept_loss {
            let name = segment::file_name(base);
            let written =
                segment::write_new(files, &name, &mended.bytes).and_then(|()| files.sync_folder());
            written.map_err(|source| io_error(files, "writing", &name, source))?;
        }
        repaired.sound &= !damaged || accept_loss;
        let mut scan = mended.scan;
        before = Some(Head {
            salt: scan.head.salt,
            base: scan.segment.end(),
            at_ms: scan.segment.newest_ms,
            ends: scan.ends,
            stages: scan.stages,
        });
        let indexed = segment::load_index(files, base, scan.segment.len).is_some();
        if !last && (!indexed || damaged) && repaired.sound {
            write_index(files, &mut scan.segment)?;
            repaired.indexes += 1;
        }
    }
    Ok(repaired)
}

fn read_snapshot(files: &dyn Files, base: u64) -> Result<Head, Error> {
    let snapshot = Snapshot::open(files, base);
    let snapshot = snapshot
        .map_err(|source| io_error(files, "opening", &snapshot::file_name(base), source))?;
    snapshot.values(files, |_, _| false, |_| Ok(()))
}

/// A segment as it is after its damaged places were replaced by gaps.
struct Mending {
    bytes: Bytes,
    scan: Scan,
    damage: Vec<Damage>,
}

impl Mending {
    fn of(
        files: &dyn Files,
        base: u64,
        before: Option<Head>,
        last: bool,
    ) -> Result<Mending, Error> {
        let name = segment::file_name(base);
        let bytes = read_from(files, &name, 0)?;
        let file = files.folder().join(&name);
        let unreadable = |offset, why| unreadable(files, &name, offset, why);
        let mut out = Vec::with_capacity(bytes.len());
        let mut damage: Vec<Damage> = Vec::new();
        let head = match frame::Frame::split(&bytes, NO_SALT.wrapping_add(base)) {
            Ok((frame, _)) => Head::decode(&frame.meta).map_err(|why| unreadable(0, why))?,
            Err(why @ Unreadable::Later(_)) => return Err(unreadable(0, why)),
            // It says what the segment before it knew at its end.
            Err(why) => match before.filter(|before| before.base == base) {
                Some(before) => {
                    damage.push(Damage {
                        file: file.clone(),
                        offset: 0,
                        bytes: head_frame(&before).len() as u64,
                        reason: reason(&why),
                        lost: Vec::new(),
                    });
                    before
                }
                None => return Err(unreadable(0, why)),
            },
        };
        out.extend(head_frame(&head));
        let mut scan = Scan {
            segment: Segment::new(&head, out.len() as u64),
            ends: head.ends,
            stages: head.stages.clone(),
            head,
            gap: false,
            bad: None,
        };
        while out.len() < bytes.len() {
            let at = out.len();
            let seed = scan.head.salt.wrapping_add(base + at as u64);
            let sound = frame::Frame::split(&bytes.slice(at..), seed);
            let known = scan.ends;
            let why = match sound.and_then(|(frame, body)| scan.take(&frame, body).map(|()| frame))
            {
                Ok(frame) => {
                    out.extend_from_slice(&bytes[at..at + frame.len() as usize]);
                    if let (Some(damage), Ok(meta)) = (damage.last_mut(), Meta::decode(&frame.meta))
                    {
                        damage.lost.extend(lost(&known, &scan.ends, &meta.topics));
                    }
                    continue;
                }
                Err(why @ Unreadable::Later(_)) => return Err(unreadable(at as u64, why)),
                Err(why) => why,
            };
            let address = base + at as u64;
            let next =
                frame::next_whole(&bytes.slice(at..), frame::HEADER, scan.head.salt, address);
            let next = next.map_err(|why| unreadable(at as u64, why))?;
            let until = next.as_ref().map_or(bytes.len(), |(found, _, _)| at + found);
            if next.is_none() && last {
                // A torn end: the next open cuts it.
                break;
            }
            let Some(filler) = (until - at).checked_sub(frame::HEADER) else {
                return Err(unreadable(at as u64, why));
            };
            damage.push(Damage {
                file: file.clone(),
                offset: at as u64,
                bytes: (until - at) as u64,
                reason: reason(&why),
                lost: Vec::new(),
            });
            frame::put(&mut out, Kind::Gap, &[], &vec![0; filler], seed);
            scan.segment.len += (until - at) as u64;
            scan.gap = true;
        }
        Ok(Mending { bytes: out.into(), scan, damage })
    }
}

/// Records between what was known and what turns out to have been written.
fn lost(known: &Ends, ends: &Ends, here: &[(Topic, u64, u32)]) -> Vec<(Topic, u64, u64)> {
    let mut lost = Vec::new();
    for topic in ALL {
        let slot = topic.index();
        let here = here.iter().filter(|(other, _, _)| *other == topic);
        let here: u64 = here.map(|(_, _, count)| u64::from(*count)).sum();
        let missing = ends[slot].saturating_sub(known[slot]).saturating_sub(here);
        if missing > 0 {
            lost.push((topic, known[slot], missing));
        }
    }
    lost
}

fn reason(why: &Unreadable) -> String {
    match why {
        Unreadable::Bad(reason) | Unreadable::Later(reason) => reason.clone(),
        Unreadable::Io(error) => error.to_string(),
    }
}
