use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use crate::waiting::until;

/// How long the server may take to start or to stop; generous, for busy machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// The superuser of the server; PostgreSQL's own programs refuse to run as root, not to connect.
const USER: &str = "hubwarden";

/// A PostgreSQL server of its own in a temporary folder, reached over a Unix socket there.
///
/// It ends when this is dropped, and also when the test's process ends in any other way: it lives as
/// long as a pipe to that process.
pub struct Postgres {
    folder: TempDir,
    programs: PathBuf,
    durable: bool,
    running: Option<Running>,
    databases: AtomicU32,
}

/// The server and the shell that ends it.
struct Running {
    shell: Child,
}

/// Starts the server, tells its process id, waits for a signal's name or for the end of the test,
/// and passes the signal on. `QUIT` ends the server at once, without leaving anything behind. What
/// ends the tests as a group does not end the shell before it has done so.
const KEEPER: &str = r#"
trap "" HUP INT TERM
"$@" </dev/null >>"$LOG" 2>&1 &
server=$!
echo "$server"
read -r signal
kill -"${signal:-QUIT}" "$server"
wait "$server"
[ -n "$signal" ] || rm -rf "$FOLDER"
"#;

impl Postgres {
    /// The one server that the tests of a binary share; each takes a [`database`](Self::database).
    pub fn shared() -> &'static Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        SERVER.get_or_init(Self::start)
    }

    /// A new server that does not wait for the disk: quick, and nothing survives a power cut.
    pub fn start() -> Self {
        Self::new(false)
    }

    /// A new server that writes as carefully as in production.
    pub fn start_durable() -> Self {
        Self::new(true)
    }

    fn new(durable: bool) -> Self {
        let folder = tempfile::Builder::new().prefix("hubwarden-pg-").tempdir().unwrap();
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(folder.path()));
        }
        let databases = AtomicU32::new(0);
        let mut server = Self { folder, programs: programs(), durable, running: None, databases };
        let mut command = server.unprivileged("initdb");
        command.args(["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--username"]);
        run(command.arg(USER).arg("--pgdata").arg(server.data()));
        server.start_again();
        server
    }

    /// Starts it after a [`stop`](Self::stop), with what it kept, and waits until it answers.
    pub fn start_again(&mut self) {
        assert!(self.running.is_none(), "PostgreSQL runs already");
        let mut server = self.unprivileged("postgres");
        server.arg("-D").arg(self.data());
        let socket = format!("unix_socket_directories={}", self.folder.path().display());
        let quick = ["fsync=off", "synchronous_commit=off", "full_page_writes=off"];
        let mut settings = vec!["listen_addresses=", &socket, "shared_buffers=64MB"];
        // In the folder, so that nothing is left behind in shared memory.
        settings.push("dynamic_shared_memory_type=mmap");
        settings.extend(if self.durable { &[][..] } else { &quick[..] });
        for setting in settings {
            server.args(["-c", setting]);
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", KEEPER, "sh"]).arg(server.get_program()).args(server.get_args());
        shell.env("LOG", self.log()).env("FOLDER", self.folder.path()).current_dir("/");
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(shell.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        let process = Path::new("/proc").join(pid.trim());
        self.running = Some(Running { shell });
        until("PostgreSQL's start", PATIENCE, || {
            assert!(process.exists(), "PostgreSQL ended: {}", self.said());
            self.psql("postgres", "SELECT 1").ok().map(drop)
        });
    }

    /// Stops it as a service manager would: running transactions are broken off, sessions end.
    pub fn stop(&mut self) {
        self.end("INT\n");
    }

    /// Ends it at once, as a crash would; the next start recovers.
    pub fn crash(&mut self) {
        self.end("QUIT\n");
    }

    fn end(&mut self, signal: &str) {
        let Running { mut shell } = self.running.take().expect("PostgreSQL runs");
        shell.stdin.take().unwrap().write_all(signal.as_bytes()).unwrap();
        until("PostgreSQL's end", PATIENCE, || shell.try_wait().unwrap());
    }

    /// Makes an empty database and gives its URL.
    pub fn database(&self) -> String {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        format!("postgres://{USER}@localhost/{database}?host={folder}")
    }

    /// Runs SQL in a database, as the superuser, and gives what it answers, one row a line.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.psql(database, sql).unwrap_or_else(|said| panic!("{sql}: {said}"))
    }

    /// What the server has said so far.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    fn psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]);
        psql.args(["--set=ON_ERROR_STOP=1", "--username", USER, "--dbname", database]);
        psql.arg("--host").arg(self.folder.path()).args(["--command", sql]);
        let ran = psql.stdin(Stdio::null()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if ran.status.success() { Ok(text(ran.stdout)) } else { Err(text(ran.stderr)) }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// One of PostgreSQL's programs; root runs it as the user that the package made for it.
    fn unprivileged(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        if !is_root() {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--"]).arg(program);
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(Running { mut shell }) = self.running.take() {
            drop(shell.stdin.take());
            drop(shell.wait()); // it may have ended already
        }
    }
}

/// Where the newest PostgreSQL of this machine has its programs.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.and_then(|name| name.parse::<u32>().ok())
    };
    // Debian's package keeps them off the search path; elsewhere they lie on it.
    let debian = versions.map(|entry| entry.path()).filter(|path| path.join("bin/initdb").exists());
    let debian = debian.max_by_key(version).map(|path| path.join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = debian
        .or_else(|| std::env::split_paths(&path).find(|folder| folder.join("initdb").exists()));
    found.expect("PostgreSQL is installed; `scripts/setup.sh test` does it")
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.trim_ascii() == b"0"
}

fn run(command: &mut Command) {
    // In a folder that every user may enter.
    let ran = command.current_dir("/").stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
}
