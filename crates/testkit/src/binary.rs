use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// The root folder of the checkout.
pub fn workspace() -> &'static Path {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    crates.and_then(Path::parent).expect("this crate lies in crates/testkit")
}

/// The program, built on the first call with the profile of the tests.
///
/// `HUBWARDEN_BIN` names one that is built already, such as a release.
pub fn hubwarden_bin() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("HUBWARDEN_BIN").map_or_else(build, PathBuf::from))
}

/// A service, `hubwarden-collector` and so on; it lies beside [`hubwarden_bin`].
pub fn service_bin(name: &str) -> PathBuf {
    hubwarden_bin().with_file_name(name)
}

/// Everything that tests run, built together, so that it is compiled once.
const PROGRAMS: [&str; 5] = [
    "hubwarden",
    "hubwarden-collector",
    "hubwarden-normalizer",
    "hubwarden-detector",
    "hubwarden-console",
];

/// Variables that Cargo sets for this test alone; some build scripts run again when they change.
const OF_THIS_TEST: [&str; 5] =
    ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];

fn build() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--locked"]);
    for name in PROGRAMS {
        command.args(["--package", name, "--bin", name]);
    }
    command.arg("--message-format=json-render-diagnostics").current_dir(workspace());
    for (name, _) in std::env::vars_os() {
        if OF_THIS_TEST.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let built = command.stderr(Stdio::inherit()).output().expect("cargo runs");
    assert!(built.status.success(), "the program must build before it can be tested");
    let messages = String::from_utf8(built.stdout).expect("cargo writes UTF-8");
    let executable = |line: &str| {
        let message: Value = serde_json::from_str(line).ok()?;
        let path = PathBuf::from(message.get("executable")?.as_str()?);
        (path.file_stem()? == "hubwarden").then_some(path)
    };
    messages.lines().find_map(executable).expect("cargo names the binary that it built")
}
