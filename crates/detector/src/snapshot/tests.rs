use std::fs;

use hubwarden_rules::Changes;
use tempfile::TempDir;

use super::*;
use crate::state::State;

/// A target and a state file of partition 3.
struct Place {
    folder: TempDir,
    target: Target,
    state: State,
}

impl Place {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let target = Target::directory(&folder.path().join("target")).unwrap();
        let state = State::open(&folder.path().join("correlate-3.db"), 3).unwrap();
        Self { folder, target, state }
    }

    async fn save_at(&mut self, position: u64) -> Snapshot {
        self.state.commit(&Changes::default(), position).unwrap();
        let file = self.folder.path().join("correlate-3.db");
        self.target.save(&file, 3, self.folder.path()).await.unwrap()
    }

    fn stored(&self, snapshot: &Snapshot) -> std::path::PathBuf {
        self.folder.path().join("target").join(&snapshot.name)
    }

    /// Fetches on another node.
    async fn fetch(&self, snapshot: &Snapshot) -> Result<State, Error> {
        let node = self.folder.path().join("node");
        fs::create_dir_all(&node).unwrap();
        let file = node.join("correlate-3.db");
        self.target.fetch(snapshot, &file).await?;
        Ok(State::open(&file, 3).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_named_by_its_position_and_opens_elsewhere() {
    let mut place = Place::new();
    assert_eq!(place.target.list(3).await.unwrap(), []);
    let snapshot = place.save_at(4711).await;
    assert_eq!(snapshot.name, "correlate-3/00000000000000004711.db.zst");
    assert_eq!(place.target.list(3).await.unwrap(), std::slice::from_ref(&snapshot));
    let elsewhere = place.fetch(&snapshot).await.unwrap();
    assert_eq!(elsewhere.position().unwrap(), Some(4711));
    let left: Vec<_> = fs::read_dir(place.folder.path().join("node")).unwrap().collect();
    assert!(left.iter().all(|file| {
        let name = file.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with("correlate-3.db")
    }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetched_state_replaces_an_older_one_and_its_journal() {
    let mut place = Place::new();
    let snapshot = place.save_at(20).await;
    let mut older = place.fetch(&snapshot).await.unwrap();
    older.commit(&Changes::default(), 30).unwrap(); // stands in the journal of the old file
    std::mem::forget(older); // as a killed process: nothing is checkpointed
    let again = place.fetch(&snapshot).await.unwrap();
    assert_eq!(again.position().unwrap(), Some(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_two_are_kept_and_those_of_a_later_position_are_not_touched() {
    let mut place = Place::new();
    let later = place.save_at(900).await;
    fs::rename(place.stored(&later), place.folder.path().join("later")).unwrap();
    let file = place.folder.path().join("correlate-3.db");
    place.state = State::open(&place.folder.path().join("other"), 3).unwrap();
    for position in [10, 20, 30] {
        place.state.commit(&Changes::default(), position).unwrap();
        let from = place.folder.path().join("other");
        place.target.save(&from, 3, place.folder.path()).await.unwrap();
    }
    fs::rename(place.folder.path().join("later"), place.stored(&later)).unwrap();
    place.state.commit(&Changes::default(), 40).unwrap();
    let from = place.folder.path().join("other");
    place.target.save(&from, 3, place.folder.path()).await.unwrap();
    let kept: Vec<u64> =
        place.target.list(3).await.unwrap().iter().map(|one| one.position).collect();
    assert_eq!(kept, [900, 40, 30]);
    assert!(file.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_torn_foreign_or_newer_is_refused_by_name() {
    let mut place = Place::new();
    let snapshot = place.save_at(7).await;
    let stored = place.stored(&snapshot);
    let good = fs::read(&stored).unwrap();
    let unpacked = zstd::decode_all(&good[..]).unwrap();
    let packed = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let with_number = |at: usize, number: i32| {
        let mut bytes = unpacked.clone();
        bytes[at..at + 4].copy_from_slice(&number.to_be_bytes());
        packed(&bytes)
    };
    let mut flipped = good.clone();
    let last = flipped.len() - 20;
    flipped[last] ^= 0xff;
    for (what, bytes, said) in [
        ("cut", good[..good.len() / 2].to_vec(), "is torn"),
        ("empty", Vec::new(), "is torn"),
        ("flipped", flipped, "is torn"),
        ("text", b"what is this?".to_vec(), "is torn"),
        ("packed text", packed(&b"what is this? ".repeat(20)), "no SQLite file"),
        ("another program", with_number(68, 1), "of another program"),
        ("another partition", with_number(68, crate::state::application_id(4)), "of partition 4"),
        ("newer", with_number(60, 99), "has format 99"),
    ] {
        fs::write(&stored, bytes).unwrap();
        let error = place.fetch(&snapshot).await.unwrap_err();
        let text = error.to_string();
        assert!(error.is_refusal(), "{what}: {text}");
        assert!(text.contains(said) && text.contains(&snapshot.name), "{what}: {text}");
        assert!(!place.folder.path().join("node/correlate-3.db").exists(), "{what}");
    }
    fs::write(&stored, &good).unwrap();
    let renamed = Snapshot { position: 8, name: snapshot.name.replace('7', "8"), ..snapshot };
    fs::rename(&stored, place.stored(&renamed)).unwrap();
    let error = place.fetch(&renamed).await.unwrap_err();
    assert!(error.to_string().contains("it holds position 7"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_whose_records_may_be_gone_is_refused() {
    let mut place = Place::new();
    let snapshot = place.save_at(1).await;
    let day = Duration::from_secs(24 * 3600);
    let later = |days: u32| snapshot.stored_at_ms + 86_400_000 * i64::from(days);
    let check = |days| place.target.check_age(&snapshot, later(days), 7 * day);
    assert!(check(6).is_ok());
    let error = check(6 + 1).unwrap_err().to_string();
    assert!(error.contains("--rebuild") && error.contains(&snapshot.name), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_understood_or_said_to_be_wrong() {
    let folder = TempDir::new().unwrap();
    let url = format!("file://{}/deep/er", folder.path().display());
    Target::open(&url, &S3::default()).unwrap().probe().await.unwrap();
    for (url, said) in [
        ("file://relative", "begins with `/`"),
        ("s3:///prefix", "names no bucket"),
        ("/var/lib/snapshots", "neither with file:// nor with s3://"),
    ] {
        let error = Target::open(url, &S3::default()).unwrap_err().to_string();
        assert!(error.contains(said) && error.contains(url), "{error}");
    }
}
