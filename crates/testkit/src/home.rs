use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::hubwarden_bin;

/// A folder of its own with a configuration and a data folder; removed when dropped.
pub struct Home {
    folder: TempDir,
}

/// What a command left behind.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; -1 when a signal ended it.
    pub code: i32,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Ran {
    /// The one JSON document of standard output.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON documents of standard output, one a line.
    pub fn ndjson(&self) -> Vec<Value> {
        let line =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(line).collect()
    }

    /// Fails the test unless the command ended with this code.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = output.status.code().unwrap_or(-1);
        Self { code, out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Default for Home {
    fn default() -> Self {
        Self::new("")
    }
}

impl Home {
    /// A home whose configuration is this, behind a port of its own for the server.
    pub fn new(config: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("hubwarden-test-").tempdir().unwrap();
        let home = Self { folder };
        home.write("hubwarden.toml", format!("[server]\nlisten = \"127.0.0.1:0\"\n{config}"));
        home
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a file and gives its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The program with these arguments, standing in this folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(hubwarden_bin());
        command.args(args).current_dir(self.folder.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HUBWARDEN_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Runs the program to its end with something on standard input, written by `feed`.
    pub fn run_fed(
        &self,
        args: &[&str],
        feed: impl FnOnce(&mut dyn Write) -> std::io::Result<()> + Send,
    ) -> (Ran, Memory) {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let pid = child.id();
        let mut input = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            let feeding = scope.spawn(move || {
                feed(&mut input).expect("the program reads all of its input");
                peak_kib(pid) // before standard input ends, so that the process is still there
            });
            let output = child.wait_with_output().unwrap();
            (output.into(), Memory { peak_kib: feeding.join().unwrap() })
        })
    }
}

/// How much memory a process took at most.
#[derive(Debug, Clone, Copy)]
pub struct Memory {
    /// Resident, in KiB.
    pub peak_kib: u64,
}

/// The most memory that a running process has had resident, in KiB.
pub(crate) fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"));
    let lines: BTreeMap<String, String> = status
        .unwrap()
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.into(), value.trim().trim_end_matches(" kB").into()))
        .collect();
    lines.get("VmHWM").expect("Linux tells the peak").parse().unwrap()
}
