//! What can go wrong in the simulator.

use std::io;

/// Why the simulator could not start or a file could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is taken or not one of this machine.
    #[error("the simulator cannot listen on {address}; choose another address or port 0")]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file or stream took no more bytes.
    #[error("the events could not be written; check the path and the free space")]
    Write(#[from] io::Error),
    /// An event that was handed over is not a JSON object with `@timestamp` and `action`.
    #[error("event {number} is not an audit event: {reason}")]
    Event {
        /// Its place among the events handed over, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
}
