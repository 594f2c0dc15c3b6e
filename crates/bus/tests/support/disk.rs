//! A disk in memory that forgets what was not synced, fills up and fails when told.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};

use hubwarden_bus::{File, Files};

/// A clone is the same disk.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<World>>);

struct World {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    /// Changes until the power goes; `None` for never.
    fuse: Option<u64>,
    honest: bool,
    free: u64,
    full: bool,
    sync_fails: bool,
}

#[derive(Default)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    SetLen(usize),
}

#[derive(Clone)]
enum NameChange {
    Set(String, usize),
    Remove(String),
}

impl Disk {
    pub fn new() -> Disk {
        Disk::with(Vec::new(), BTreeMap::new(), true)
    }

    /// A disk whose syncs do nothing, as under a journal that does not sync.
    pub fn without_sync() -> Disk {
        Disk::with(Vec::new(), BTreeMap::new(), false)
    }

    fn with(inodes: Vec<Inode>, names: BTreeMap<String, usize>, honest: bool) -> Disk {
        Disk(Arc::new(Mutex::new(World {
            inodes,
            durable_names: names.clone(),
            names,
            name_changes: Vec::new(),
            fuse: None,
            honest,
            free: u64::MAX / 4,
            full: false,
            sync_fails: false,
        })))
    }

    pub fn files(&self) -> Arc<dyn Files> {
        Arc::new(self.clone())
    }

    /// Lets the power go after so many changes; from then on everything fails.
    pub fn cut_power_after(&self, changes: u64) {
        self.0.lock().unwrap().fuse = Some(changes);
    }

    pub fn set_free(&self, free: u64) {
        self.0.lock().unwrap().free = free;
    }

    /// Writes fail half way from now on, as on a full disk, or work again.
    pub fn set_full(&self, full: bool) {
        self.0.lock().unwrap().full = full;
    }

    pub fn set_sync_fails(&self, fails: bool) {
        self.0.lock().unwrap().sync_fails = fails;
    }

    /// What is left after a power cut: all that was synced, and of the rest nothing, a torn
    /// beginning, or some pages.
    pub fn after_power_cut(&self, random: &mut Random) -> Disk {
        let world = self.0.lock().unwrap();
        let mut names = world.durable_names.clone();
        let kept = random.below(world.name_changes.len() as u64 + 1) as usize;
        for change in &world.name_changes[..kept] {
            change.apply(&mut names);
        }
        let inodes = world.inodes.iter().map(|inode| {
            let content = inode.after_power_cut(random);
            Inode { now: content.clone(), durable: content, changes: Vec::new() }
        });
        Disk::with(inodes.collect(), names, world.honest)
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Set(name, inode) => {
                names.retain(|_, other| other != inode);
                names.insert(name.clone(), *inode);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Inode {
    fn after_power_cut(&self, random: &mut Random) -> Vec<u8> {
        let mut content = self.durable.clone();
        match random.below(3) {
            0 => {}
            1 => {
                let kept = random.below(self.changes.len() as u64 + 1) as usize;
                self.changes[..kept].iter().for_each(|change| change.apply(&mut content));
                if let Some(Change::Write(offset, bytes)) = self.changes.get(kept) {
                    let torn = random.below(bytes.len() as u64 + 1) as usize;
                    write(&mut content, *offset, &bytes[..torn]);
                }
            }
            _ => {
                for change in &self.changes {
                    let Change::Write(offset, bytes) = change else {
                        continue;
                    };
                    for (place, page) in bytes.chunks(512).enumerate() {
                        if random.below(2) == 0 {
                            write(&mut content, offset + place * 512, page);
                        }
                    }
                }
            }
        }
        content
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write(offset, bytes) => write(content, *offset, bytes),
            Change::SetLen(len) => content.resize(*len, 0),
        }
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl World {
    fn change(&mut self) -> io::Result<()> {
        match &mut self.fuse {
            Some(0) => return Err(io::Error::other("the power is out")),
            Some(left) => *left -= 1,
            None => {}
        }
        Ok(())
    }

    fn rename(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push(change);
    }

    fn record(&mut self, inode: usize, change: Change) {
        let inode = &mut self.inodes[inode];
        change.apply(&mut inode.now);
        inode.changes.push(change);
    }
}

struct Open {
    disk: Disk,
    inode: usize,
}

impl Files for Disk {
    fn folder(&self) -> &Path {
        Path::new("disk")
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let world = self.0.lock().unwrap();
        let inode = *world.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        let disk = self.clone();
        Ok(Arc::new(Open { disk, inode }))
    }

    fn open_for_writing(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.open(name)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut world = self.0.lock().unwrap();
        world.change()?;
        let inode = world.inodes.len();
        world.inodes.push(Inode::default());
        world.rename(NameChange::Set(name.to_owned(), inode));
        let disk = self.clone();
        Ok(Arc::new(Open { disk, inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        world.change()?;
        let inode = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        world.rename(NameChange::Set(to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        world.change()?;
        world.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        world.rename(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut world = self.0.lock().unwrap();
        world.change()?;
        if world.honest {
            world.durable_names = world.names.clone();
            world.name_changes.clear();
        }
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().free)
    }
}

impl File for Open {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().unwrap().inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let world = self.disk.0.lock().unwrap();
        let content = &world.inodes[self.inode].now;
        let rest = content.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(into.len());
        into[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut world = self.disk.0.lock().unwrap();
        world.change()?;
        let full = world.full;
        let written = if full { bytes.len() / 2 } else { bytes.len() };
        world.record(self.inode, Change::Write(offset as usize, bytes[..written].to_vec()));
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.disk.0.lock().unwrap();
        world.change()?;
        world.record(self.inode, Change::SetLen(len as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.0.lock().unwrap();
        world.change()?;
        if world.sync_fails {
            return Err(io::Error::other("the device does not answer"));
        }
        if world.honest {
            let inode = &mut world.inodes[self.inode];
            inode.durable = inode.now.clone();
            inode.changes.clear();
        }
        Ok(())
    }
}

/// Numbers that look random and repeat with their seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}
