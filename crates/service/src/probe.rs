//! Asks a running service whether it is ready, for health checks in images that hold nothing else.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::health::address;
use crate::{HealthConfig, Invalid};

/// How long the answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// The longest answer that is looked at.
const MOST: u64 = 16 << 10;

/// Why a service is not ready.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unready {
    /// The address makes no sense.
    #[error(transparent)]
    Config(#[from] Invalid),
    /// Nobody answers.
    #[error(
        "nothing answers at {address}; start the service, or name the configuration it runs with"
    )]
    Away {
        /// Where it was asked.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The service says so itself.
    #[error("the service at {address} is not ready: {said}")]
    No {
        /// Where it was asked.
        address: SocketAddr,
        /// Its answer.
        said: String,
    },
}

/// Asks `/readyz` of the service that runs with this configuration on this machine.
pub(crate) fn ready(config: &HealthConfig) -> Result<(), Unready> {
    let address = nearby(address("health.listen", &config.listen)?);
    let answer = ask(address).map_err(|source| Unready::Away { address, source })?;
    let (head, said) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    match head.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(Unready::No { address, said: said.trim().to_owned() }),
    }
}

/// Loopback, where a service listens on every address.
fn nearby(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let end = Instant::now() + PATIENCE;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut answer, mut piece) = (Vec::new(), [0; 1024]);
    while (answer.len() as u64) < MOST {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut piece)? {
            0 => break,
            read => answer.extend_from_slice(&piece[..read]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::net::TcpListener;

    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::Health;

    async fn told(listen: String) -> Result<(), Unready> {
        tokio::task::spawn_blocking(move || ready(&HealthConfig { listen })).await.unwrap()
    }

    #[tokio::test]
    async fn says_what_the_service_says() {
        let health = Health::new();
        let bus = health.condition("bus");
        let server = health.bind(&HealthConfig { listen: "0.0.0.0:0".into() }).await.unwrap();
        let listen = server.address().unwrap().to_string();
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        bus.not_ready("no broker answers");
        let error = told(listen.clone()).await.unwrap_err().to_string();
        assert!(error.contains("no broker answers") && error.contains("127.0.0.1"), "{error}");
        bus.ready();
        told(listen.clone()).await.unwrap();
        health.stopping();
        assert!(matches!(told(listen.clone()).await, Err(Unready::No { .. })));
        stop.cancel();
        task.await.unwrap().unwrap();
        assert!(matches!(told(listen).await, Err(Unready::Away { .. })));
    }

    #[test]
    fn waits_no_longer_than_it_may_for_a_server_that_never_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            while stream.write_all(&[b'x'; 512]).is_ok() {}
        });
        let error = ready(&HealthConfig { listen }).unwrap_err();
        assert!(matches!(error, Unready::No { .. }), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn names_the_key_of_an_address_that_is_none() {
        let error = ready(&HealthConfig { listen: "7476".into() }).unwrap_err();
        assert!(error.to_string().contains("health.listen"), "{error}");
        assert!(error.source().is_none());
    }
}
