//! Another process: this test program once more, doing one thing.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child as Process, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use hubwarden_bus::kafka::Settings;
use hubwarden_bus::topic::{CURSORS, EVENTS, RAW};
use hubwarden_bus::{Bus, Error, Kafka, Limit, Positions, Record, Sink, Source};

use crate::promises::records::next;
use crate::{PARTITIONS, settings};

const ROLE: &str = "HUBWARDEN_TEST_CHILD";
const PATIENCE: Duration = Duration::from_secs(60);

/// A running child; killed when dropped.
pub(crate) struct Child {
    process: Process,
    orders: ChildStdin,
    said: Receiver<String>,
}

impl Child {
    /// Starts one in a role, on the topics of these settings.
    pub(crate) fn start(role: &str, settings: &Settings) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child::is_started_by_others", "--ignored", "--nocapture"]);
        let order = format!("{role} {} {}", settings.brokers.join(","), settings.topic_prefix);
        command.env(ROLE, order).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::null()).spawn().unwrap();
        let orders = process.stdin.take().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (tell, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if let Some(line) = line.strip_prefix("child: ") {
                    drop(tell.send(line.to_owned())); // nobody listens after a kill
                }
            }
        });
        Self { process, orders, said }
    }

    /// The next thing that it says.
    pub(crate) fn says(&self) -> String {
        self.said.recv_timeout(PATIENCE).expect("the child says something")
    }

    /// Lets it go on.
    pub(crate) fn go(&mut self) {
        writeln!(self.orders, "go").unwrap();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let order = format!("kill -{signal} {}", self.process.id());
        assert!(Command::new("sh").args(["-c", &order]).status().unwrap().success());
    }

    /// Ends it at once.
    pub(crate) fn kill(&mut self) {
        drop(self.process.kill()); // it may have ended already
        drop(self.process.wait());
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

#[tokio::test]
#[ignore = "other tests start it as a process"]
async fn is_started_by_others() {
    let Ok(order) = std::env::var(ROLE) else { return };
    let mut words = order.split(' ');
    let (role, brokers, prefix) =
        (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
    let brokers = brokers.split(',').map(str::to_owned).collect();
    let bus = Kafka::connect(Settings { topic_prefix: prefix.into(), ..settings(brokers) });
    let bus = bus.await.unwrap();
    match role {
        "copy" => copy(&bus).await,
        "own" => own(&bus).await,
        role => panic!("no role {role}"),
    }
}

fn say(what: &str) {
    println!("child: {what}");
}

fn wait_for_order() {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).unwrap();
}

/// Copies what it reads first, when it is told to.
async fn copy(bus: &Kafka) {
    let mut reader = bus.reader("stage", &[RAW]).unwrap();
    let batch = next(&mut reader, Limit::default()).await.unwrap();
    say(&format!("read {}", batch.records.len()));
    wait_for_order();
    let copies = batch.records.iter();
    let copies = copies.map(|of| Record::new(EVENTS, of.key.clone(), of.body.clone()));
    say(outcome(reader.commit(copies.collect(), &batch.consumed()).await));
}

/// Owns every partition of `cursors`, and moves one when it is told to.
async fn own(bus: &Kafka) {
    let mut reader = bus.keeping_reader("owner", &[CURSORS]).unwrap();
    while reader.assignment().len() < PARTITIONS as usize {
        reader.next_batch(Limit::default()).await.unwrap();
    }
    say("owns");
    loop {
        wait_for_order();
        let outputs = vec![
            Record::new(CURSORS, "connection", "moved by the child").at(0),
            Record::new(RAW, "k", "read by the child"),
        ];
        say(outcome(reader.commit(outputs, &Positions::of(CURSORS, 0, 0)).await));
    }
}

fn outcome(result: Result<(), Error>) -> &'static str {
    match result {
        Ok(()) => "committed",
        Err(Error::Reassigned { .. }) => "reassigned",
        Err(Error::Fatal { .. }) => "fatal",
        Err(_) => "another error",
    }
}
