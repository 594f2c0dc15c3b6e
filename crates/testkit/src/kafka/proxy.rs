use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Numbers of Kafka's requests.
pub mod api {
    /// Records to append.
    pub const PRODUCE: u16 = 0;
    /// Where a stage stands, outside of a transaction.
    pub const OFFSET_COMMIT: u16 = 8;
    /// The end of a transaction.
    pub const END_TXN: u16 = 26;
    /// Where a stage stands, inside of a transaction.
    pub const TXN_OFFSET_COMMIT: u16 = 28;
}

/// What goes wrong between clients and a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Every request comes later.
    Delay(Duration),
    /// Connections break, and new ones too.
    Cut,
    /// Connections stay, requests vanish; they are let through when this fault ends.
    BlackHole,
    /// Requests of this kind do not reach the broker; everything before them does.
    Hold(u16),
    /// Requests of this kind are carried out, but their sender never hears of it: its connection
    /// breaks in place of the answer.
    LoseAnswers(u16),
}

/// Stands before a broker and does what [`Fault`] says; it cuts requests, not bytes.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    fault: Fault,
    /// Requests that a fault has hit.
    hits: u64,
    connections: Vec<TcpStream>,
    /// How often connections were cut.
    cuts: u64,
    closed: bool,
}

impl Proxy {
    /// A proxy on a port of its own before this broker.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state =
            State { fault: Fault::None, hits: 0, connections: Vec::new(), cuts: 0, closed: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.lock().closed {
                    return;
                }
                accepting.connect(client, target);
            }
        });
        Self { address, shared }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets what goes wrong from now on.
    pub fn set(&self, fault: Fault) {
        let mut state = self.shared.lock();
        state.fault = fault;
        state.hits = 0;
        if fault == Fault::Cut {
            state.cuts += 1;
            for connection in state.connections.drain(..) {
                drop(connection.shutdown(Shutdown::Both)); // it may be closed already
            }
        }
        self.shared.changed.notify_all();
    }

    /// How many requests the present fault has hit.
    pub fn hits(&self) -> u64 {
        self.shared.lock().hits
    }

    /// Waits until the present fault has hit so many requests; fails the test when it does not.
    pub fn wait_for_hits(&self, hits: u64, within: Duration) {
        let state = self.shared.lock();
        let few = |state: &mut State| state.hits < hits;
        let (state, _) = self.shared.changed.wait_timeout_while(state, within, few).unwrap();
        assert!(
            state.hits >= hits,
            "{:?} hit {} requests within {within:?}",
            state.fault,
            state.hits
        );
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.set(Fault::Cut);
        self.shared.lock().closed = true;
        drop(TcpStream::connect(self.address)); // wakes the thread that accepts
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn connect(self: &Arc<Self>, client: TcpStream, target: SocketAddr) {
        let Ok(server) = TcpStream::connect(target) else { return };
        let clone = |stream: &TcpStream| stream.try_clone().unwrap();
        {
            let mut state = self.lock();
            if state.fault == Fault::Cut {
                return;
            }
            state.connections.retain(|connection| connection.peer_addr().is_ok());
            state.connections.push(clone(&client));
        }
        drop(client.set_nodelay(true));
        drop(server.set_nodelay(true));
        let mute = Arc::new(Mutex::new(false));
        let (shared, muted) = (self.clone(), mute.clone());
        let (from, to) = (clone(&client), clone(&server));
        std::thread::spawn(move || {
            drop(shared.requests(from, &to, &muted)); // ends with the connection
            drop(to.shutdown(Shutdown::Both));
        });
        std::thread::spawn(move || {
            drop(answers(server, &client, &mute));
            drop(client.shutdown(Shutdown::Both));
        });
    }

    /// Passes requests on, one by one.
    fn requests(
        &self,
        mut from: TcpStream,
        mut to: &TcpStream,
        mute: &Mutex<bool>,
    ) -> std::io::Result<()> {
        loop {
            let mut length = [0; 4];
            from.read_exact(&mut length)?;
            let mut request = vec![0; u32::from_be_bytes(length) as usize];
            from.read_exact(&mut request)?;
            let kind =
                request.get(..2).map_or(u16::MAX, |kind| u16::from_be_bytes([kind[0], kind[1]]));
            let fault = self.hit(kind);
            match fault {
                Fault::Delay(time) => std::thread::sleep(time),
                Fault::BlackHole | Fault::Hold(_) => {
                    let state = self.lock();
                    let cuts = state.cuts;
                    let same = |state: &mut State| state.fault == fault;
                    let state = self.changed.wait_while(state, same).unwrap();
                    if state.cuts != cuts {
                        return Ok(()); // what was held goes the way of its connection
                    }
                }
                // Set before the request is sent, so that its answer cannot be faster.
                Fault::LoseAnswers(_) => *mute.lock().unwrap() = true,
                Fault::None | Fault::Cut => {}
            }
            to.write_all(&length)?;
            to.write_all(&request)?;
        }
    }

    /// The fault that a request of this kind meets.
    fn hit(&self, kind: u16) -> Fault {
        let mut state = self.lock();
        let fault = match state.fault {
            Fault::Hold(of) | Fault::LoseAnswers(of) if of != kind => Fault::None,
            fault => fault,
        };
        if fault != Fault::None {
            state.hits += 1;
            self.changed.notify_all();
        }
        fault
    }
}

/// Passes answers on, until one is to be lost.
fn answers(mut from: TcpStream, mut to: &TcpStream, mute: &Mutex<bool>) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 || *mute.lock().unwrap() {
            return Ok(());
        }
        to.write_all(&buffer[..read])?;
    }
}
