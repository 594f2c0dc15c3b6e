use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::{tool, workspace};

/// Starting again helps where another program took the port in between.
const STARTS: u32 = 3;
/// Waiting for anything ends here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running OpenTelemetry Collector that writes what arrives to `traces.jsonl`, `metrics.jsonl`
/// and `logs.jsonl`; it is killed when this is dropped.
#[derive(Debug)]
pub struct Collector {
    process: Child,
    address: String,
}

impl Collector {
    /// Builds the collector if that has not been done, and starts it; its files go to `folder`.
    ///
    /// # Panics
    /// When it cannot be built or does not listen.
    pub fn start(folder: &Path) -> Self {
        let program = tool("otelcol.sh");
        for _ in 0..STARTS {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let address = free.to_string();
            let log = std::fs::File::create(folder.join("collector.log")).unwrap();
            let mut process = Command::new(&program)
                .arg("--config")
                .arg(workspace().join("tests/telemetry/collector.yaml"))
                .env("OTLP_LISTEN", &address)
                .env("OUT_DIR", folder)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .unwrap();
            let until = Instant::now() + PATIENCE;
            while process.try_wait().unwrap().is_none() && Instant::now() < until {
                if TcpStream::connect(free).is_ok() {
                    return Self { process, address };
                }
                std::thread::sleep(Duration::from_millis(20)); // between two looks
            }
            let _ = process.kill();
            let _ = process.wait();
        }
        let log = std::fs::read_to_string(folder.join("collector.log")).unwrap_or_default();
        panic!("the collector does not listen:\n{log}");
    }

    /// Where it takes OTLP over gRPC, as `[telemetry] otlp` has it.
    pub fn otlp(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // where it is gone already there is nothing to end
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
