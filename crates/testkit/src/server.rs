use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use crate::home::{Home, peak_kib};
use crate::waiting::until;

/// How long a server may take to start or to stop; generous, for busy machines.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running `hubwarden serve`; killed when dropped.
pub struct Server {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Server {
    /// Starts to serve a home, and does not wait for anything.
    pub fn spawn(home: &Home) -> Self {
        let mut child = home.command(&["serve"]).stderr(Stdio::piped()).spawn().unwrap();
        let said: Arc<Mutex<String>> = Arc::default();
        let (lines, told) = (BufReader::new(child.stderr.take().unwrap()).lines(), said.clone());
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let mut said = told.lock().unwrap();
                said.push_str(&line);
                said.push('\n');
            }
        });
        Self { child, said }
    }

    /// Starts to serve a home, and waits until it answers.
    pub fn start(home: &Home) -> Self {
        let mut server = Self::spawn(home);
        let file = home.data().join("server.json");
        until("the server's start", PATIENCE, || {
            assert!(server.child.try_wait().unwrap().is_none(), "{}", server.said());
            let address: Value = serde_json::from_slice(&std::fs::read(&file).ok()?).ok()?;
            (address["pid"].as_u64() == Some(u64::from(server.child.id()))).then_some(())
        });
        server
    }

    /// What it has said on standard error so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// The most memory that it has had resident, in KiB.
    pub fn peak_kib(&self) -> u64 {
        peak_kib(self.child.id())
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop, as a service manager would, and waits until it has.
    pub fn stop(mut self) -> ExitStatus {
        let order = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &order]).status().unwrap().success());
        until("the server's end", PATIENCE, || self.child.try_wait().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill()); // it may have ended already
        drop(self.child.wait());
    }
}
