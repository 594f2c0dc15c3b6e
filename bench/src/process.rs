//! The program itself as a child, and what the system says about it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::figure::Outcome;

/// The release build of `hubwarden`, brought up to date first.
pub(crate) fn program() -> Outcome<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--package", "hubwarden"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !built.success() {
        return Err("`cargo build --release -p hubwarden` failed".into());
    }
    let program = std::env::current_exe()?.with_file_name("hubwarden");
    if !program.is_file() {
        return Err(format!("there is no {}", program.display()).into());
    }
    Ok(program)
}

/// A child that is killed when nobody holds it any more.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

/// What `/proc` says about a child's resident memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Resident {
    /// Now, in bytes.
    pub(crate) now: u64,
    /// The most so far, in bytes.
    pub(crate) peak: u64,
}

impl Resident {
    /// Asks; `None` once the process has ended.
    pub(crate) fn of(child: &Child) -> Option<Self> {
        let file = Path::new("/proc").join(child.id().to_string()).join("status");
        Self::parse(&std::fs::read_to_string(file).ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib << 10)
        };
        Some(Self { now: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
    }
}

/// Processor time of this process so far, in hundredths of a second.
pub(crate) fn ticks() -> Outcome<u64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    ticks_of(&stat).ok_or_else(|| "/proc/self/stat does not say what was used".into())
}

/// User and system time; the name before them may hold blanks and parentheses.
fn ticks_of(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn reads_what_the_system_says() {
        let status = "Name:\thubwarden\nVmPeak:\t   99 kB\nVmHWM:\t   20 kB\nVmRSS:\t   10 kB\n";
        let resident = Resident::parse(status).unwrap();
        assert_eq!((resident.now, resident.peak), (10 << 10, 20 << 10));
        assert!(Resident::parse("Name:\tzombie\n").is_none());
    }

    #[test]
    fn reads_what_was_used() {
        let stat = "7 (a) b) R 1 7 7 0 -1 4194304 90 0 0 0 120 30 0 0 20 0 1 0 5 6 7\n";
        assert_eq!(ticks_of(stat), Some(150));
        assert_eq!(ticks_of("7 (a"), None);
    }
}
