use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::Error;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Threads that each own a connection and share one queue, so that SQLite never blocks the async threads.
///
/// They end when the handle is dropped and the queue is empty.
pub(super) struct Workers {
    jobs: Sender<Job>,
}

impl Workers {
    /// Starts one thread for each connection.
    pub(super) fn start(name: &str, connections: Vec<Connection>) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let queue = Arc::new(Mutex::new(queue));
        for connection in connections {
            let queue = queue.clone();
            thread::Builder::new().name(name.into()).spawn(move || work(&queue, connection))?;
        }
        Ok(Self { jobs })
    }

    /// Runs a job on the next free thread. A job whose caller has gone away still runs.
    pub(super) async fn run<T, F>(&self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Nobody may be waiting any more; then nobody needs the answer.
            let _ = answer.send(job(connection));
        });
        self.jobs.send(job).map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }
}

fn work(queue: &Mutex<Receiver<Job>>, mut connection: Connection) {
    loop {
        // The lock is held while waiting for one job, not while doing it.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job(&mut connection),
            Err(_) => return,
        }
    }
}
