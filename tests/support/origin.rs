//! An origin that does what its script says and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use socket2::{Domain, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use super::patiently;
use super::reply::{After, Reply};
use super::request::Seen;
use super::wire::{Body, Wire};

type Answer = Arc<dyn Fn(&Seen) -> Reply + Send + Sync>;

enum Script {
    /// Each once, the last for ever.
    Replies(VecDeque<Reply>),
    Answer(Answer),
}

#[derive(Default)]
struct Log {
    scripts: HashMap<String, Script>,
    otherwise: Option<Answer>,
    seen: Vec<Seen>,
    connections: usize,
    open: usize,
    aborted: usize,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Notify,
}

impl Shared {
    fn read<T>(&self, f: impl FnOnce(&Log) -> T) -> T {
        f(&self.log.lock().expect("no test panics while it holds the log"))
    }

    /// Changes the log and wakes whoever waits for a change.
    fn change<T>(&self, f: impl FnOnce(&mut Log) -> T) -> T {
        let value = f(&mut self.log.lock().expect("no test panics while it holds the log"));
        self.changed.notify_waiters();
        value
    }
}

/// A scripted HTTP/1.1 server on a port of its own.
pub struct Origin {
    addr: SocketAddr,
    shared: Arc<Shared>,
    life: Mutex<Life>,
}

enum Life {
    Alive {
        stop: oneshot::Sender<()>,
        server: JoinHandle<()>,
    },
    /// Holds the port without listening: connects are refused, and nobody else gets it.
    Dead(Socket),
    Between,
}

impl Origin {
    /// Listens on a free port of 127.0.0.1; answers 404 until told what to say.
    pub async fn start() -> Origin {
        let socket = placeholder(SocketAddr::from(([127, 0, 0, 1], 0)));
        let addr = address_of(&socket);
        let origin = Origin { addr, shared: Arc::default(), life: Mutex::new(Life::Dead(socket)) };
        origin.restart();
        origin
    }

    /// A free address that refuses every connection for as long as the value lives.
    pub fn refusing() -> Refusing {
        let socket = placeholder(SocketAddr::from(([127, 0, 0, 1], 0)));
        Refusing { addr: address_of(&socket), _socket: socket }
    }

    /// An address where connects are neither accepted nor refused: its queue is full and nobody takes from it.
    pub fn deaf() -> Deaf {
        let socket = placeholder(SocketAddr::from(([127, 0, 0, 1], 0)));
        socket.listen(0).expect("a bound socket can listen");
        let addr = address_of(&socket);
        // A queue of length 0 still holds one connection; the kernel drops what comes after it.
        let queue = (0..3).map(|_| {
            let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
            filler.set_nonblocking(true).expect("sockets can be non-blocking");
            // In progress is as good as done here.
            let _ = filler.connect(&addr.into());
            filler
        });
        Deaf { addr, _queue: queue.collect(), _socket: socket }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on, requests for `path` (with a query: for exactly that target) get this reply.
    pub fn on(&self, path: &str, reply: Reply) -> &Origin {
        self.on_each(path, [reply])
    }

    /// From now on, requests for `path` get these replies in turn, and the last one for ever.
    pub fn on_each(&self, path: &str, replies: impl IntoIterator<Item = Reply>) -> &Origin {
        let replies: VecDeque<Reply> = replies.into_iter().collect();
        assert!(!replies.is_empty(), "a script for {path} needs a reply");
        self.shared.change(|log| log.scripts.insert(path.to_owned(), Script::Replies(replies)));
        self
    }

    /// From now on, requests for `path` get what `answer` makes of them.
    pub fn on_call(&self, path: &str, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> &Origin {
        self.shared.change(|log| log.scripts.insert(path.to_owned(), Script::Answer(Arc::new(answer))));
        self
    }

    /// The same, told which request for `path` it is, counted from 1.
    pub fn on_nth(&self, path: &str, answer: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> &Origin {
        let count = AtomicUsize::new(0);
        self.on_call(path, move |seen| answer(count.fetch_add(1, Ordering::Relaxed) + 1, seen))
    }

    /// What requests for any other path get.
    pub fn otherwise(&self, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> &Origin {
        self.shared.change(|log| log.otherwise = Some(Arc::new(answer)));
        self
    }

    /// Every request so far for `path` (without its query), in order of arrival.
    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.shared.read(|log| log.seen.iter().filter(|seen| seen.path() == path).cloned().collect())
    }

    /// The only request so far for `path`.
    #[track_caller]
    pub fn only(&self, path: &str) -> Seen {
        let mut seen = self.seen(path);
        assert_eq!(seen.len(), 1, "requests for {path}: {seen:#?}");
        seen.remove(0)
    }

    /// How many requests for `path` so far.
    pub fn count(&self, path: &str) -> usize {
        self.seen(path).len()
    }

    /// What was asked for so far, in order of arrival.
    pub fn targets(&self) -> Vec<String> {
        self.shared.read(|log| log.seen.iter().map(|seen| seen.target.clone()).collect())
    }

    /// How many requests so far.
    pub fn requests(&self) -> usize {
        self.shared.read(|log| log.seen.len())
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.read(|log| log.connections)
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.shared.read(|log| log.open)
    }

    /// How often the peer left before its request was whole or the reply was out.
    pub fn aborted(&self) -> usize {
        self.shared.read(|log| log.aborted)
    }

    /// Waits until `condition` holds; it is asked again whenever anything happens here.
    pub async fn until(&self, what: &str, condition: impl Fn(&Origin) -> bool) {
        let holds = async {
            loop {
                // Registered before asking: what happens in between is not missed.
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                if condition(self) {
                    return;
                }
                changed.await;
            }
        };
        patiently(holds, || format!("{what}; {}", self.story())).await;
    }

    /// The first request to come here, whatever it asks for.
    pub async fn until_first(&self) -> Seen {
        self.until("a first request", |origin| origin.requests() > 0).await;
        self.shared.read(|log| log.seen[0].clone())
    }

    /// What was seen, for messages.
    pub fn story(&self) -> String {
        let line = |seen: &Seen| format!("{} {} (connection {})", seen.method, seen.target, seen.connection);
        self.shared.read(|log| {
            let seen: Vec<String> = log.seen.iter().map(line).collect();
            format!("{} connections, {} open, {} aborted: {seen:?}", log.connections, log.open, log.aborted)
        })
    }

    /// Dies: the listener and every connection are closed, connects are refused. Scripts and the log stay.
    pub async fn kill(&self) {
        let life = std::mem::replace(&mut *self.life.lock().expect("not held across a panic"), Life::Between);
        let socket = match life {
            Life::Alive { stop, server } => {
                // The server's end is waited for, whoever ended it.
                let _ = stop.send(());
                server.await.expect("the origin itself did not panic");
                placeholder(self.addr)
            }
            Life::Dead(socket) => socket,
            Life::Between => panic!("killed twice at once"),
        };
        *self.life.lock().expect("not held across a panic") = Life::Dead(socket);
    }

    /// Lives again on the same port after [`Origin::kill`].
    pub fn restart(&self) {
        let mut life = self.life.lock().expect("not held across a panic");
        let Life::Dead(socket) = std::mem::replace(&mut *life, Life::Between) else { panic!("not dead") };
        socket.listen(1024).expect("a bound socket can listen");
        socket.set_nonblocking(true).expect("sockets can be non-blocking");
        let listener = TcpListener::from_std(socket.into()).expect("within a runtime");
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(accept(listener, Arc::clone(&self.shared), stopped));
        *life = Life::Alive { stop, server };
    }
}

/// An address that refuses; see [`Origin::refusing`].
#[derive(Debug)]
pub struct Refusing {
    addr: SocketAddr,
    _socket: Socket,
}

impl Refusing {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// An address that does not answer; see [`Origin::deaf`].
#[derive(Debug)]
pub struct Deaf {
    addr: SocketAddr,
    _queue: Vec<Socket>,
    _socket: Socket,
}

impl Deaf {
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// A socket that owns its port without listening: connects to it are refused.
fn placeholder(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
    // Connections of an earlier life may still linger on the port.
    socket.set_reuse_address(true).expect("SO_REUSEADDR");
    socket.bind(&addr.into()).unwrap_or_else(|e| panic!("cannot bind {addr}: {e}"));
    socket
}

fn address_of(socket: &Socket) -> SocketAddr {
    socket.local_addr().ok().and_then(|addr| addr.as_socket()).expect("a bound socket has an address")
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let id = shared.change(|log| {
                    log.connections += 1;
                    log.connections
                });
                connections.spawn(serve(stream, id, Arc::clone(&shared)));
            }
            _ = &mut stopped => break,
        }
    }
    drop(listener);
    connections.shutdown().await;
}

/// Counts a connection as open for as long as it is served.
struct Open(Arc<Shared>);

impl Open {
    fn new(shared: Arc<Shared>) -> Open {
        shared.change(|log| log.open += 1);
        Open(shared)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.change(|log| log.open -= 1);
    }
}

async fn serve(stream: TcpStream, id: usize, shared: Arc<Shared>) {
    let _open = Open::new(Arc::clone(&shared));
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head().await {
        let Some(seen) = Seen::parse(&head, id) else {
            wire.send(b"HTTP/1.1 400 Not A Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            return;
        };
        let after = match receive(seen, &mut wire, &shared).await {
            Some(seen) => reply_to(&seen, &shared).play(&mut wire, &seen).await,
            None => After::Abandoned,
        };
        match after {
            After::KeepAlive => {}
            After::Close => return wire.finish().await,
            After::Reset => return wire.reset(),
            After::Abandoned => return shared.change(|log| log.aborted += 1),
        }
    }
}

/// Logs the request, then its body as it comes; `None` when it breaks off.
async fn receive(seen: Seen, wire: &mut Wire, shared: &Shared) -> Option<Seen> {
    let mut body = Body::new(seen.framing());
    let expects = seen.headers.lists("Expect", "100-continue");
    let at = shared.change(|log| {
        log.seen.push(seen);
        log.seen.len() - 1
    });
    if expects && !wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await {
        return None;
    }
    while let Some(piece) = body.piece(wire).await {
        shared.change(|log| log.seen[at].body.extend_from_slice(&piece));
    }
    shared.change(|log| {
        log.seen[at].whole = body.complete();
        body.complete().then(|| log.seen[at].clone())
    })
}

fn reply_to(seen: &Seen, shared: &Shared) -> Reply {
    let found = shared.change(|log| {
        let key = if log.scripts.contains_key(&seen.target) { seen.target.as_str() } else { seen.path() };
        match log.scripts.get_mut(key) {
            Some(Script::Replies(replies)) if replies.len() > 1 => replies.pop_front().map(Ok),
            Some(Script::Replies(replies)) => replies.front().cloned().map(Ok),
            Some(Script::Answer(answer)) => Some(Err(Arc::clone(answer))),
            None => log.otherwise.clone().map(Err),
        }
    });
    match found {
        Some(Ok(reply)) => reply,
        // Called without the lock: an answer may ask its origin.
        Some(Err(answer)) => answer(seen),
        None => Reply::new(404).body(format!("no script for {}", seen.path())),
    }
}
