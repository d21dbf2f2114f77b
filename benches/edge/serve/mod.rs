//! Servers of the bench itself, each a process of its own: this program started again with `--serve`.
//!
//! One thread waits for readable connections, reads until the blank line, and answers with one write. That is the least a
//! server can do, so one that answers the same to everybody is the *floor*: what it costs is the kernel's, whatever the
//! proxy. The *origin* looks at the path as well.

pub(crate) mod floor;
pub(crate) mod origin;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

/// Connections not yet accepted that may wait.
const BACKLOG: i32 = 4096;
/// The longest head of a request.
const HEAD: usize = 4096;

/// Serves for as long as the process lives. `answer` is asked for a whole response to a request's head.
pub(crate) fn serve(addresses: &[SocketAddr], mut answer: impl FnMut(&[u8]) -> Rc<[u8]>) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut listeners = Vec::new();
    for (number, address) in addresses.iter().enumerate() {
        let listener = TcpListener::bind(address)?;
        SockRef::from(&listener).listen(BACKLOG)?;
        listener.set_nonblocking(true)?;
        let mut listener = mio::net::TcpListener::from_std(listener);
        poll.registry().register(&mut listener, Token(number), Interest::READABLE)?;
        listeners.push(listener);
    }
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut unused = Vec::new();
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            let Token(token) = event.token();
            if let Some(listener) = listeners.get(token) {
                while let Some(mut stream) = accepted(listener)? {
                    let place = unused.pop().unwrap_or(connections.len());
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(listeners.len() + place), interest)?;
                    if place == connections.len() {
                        connections.push(None);
                    }
                    connections[place] = Some(Connection { stream, head: Vec::new(), rest: None });
                }
                continue;
            }
            let place = token - listeners.len();
            let Some(connection) = connections.get_mut(place).and_then(Option::as_mut) else { continue };
            let goes_on = (!event.is_writable() || connection.go_on()?)
                && (!event.is_readable() || connection.hear(&mut answer)?);
            if !goes_on {
                connections[place] = None;
                unused.push(place);
            }
        }
    }
}

fn accepted(listener: &mio::net::TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nodelay(true)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

struct Connection {
    stream: TcpStream,
    /// Of a request that has not come as a whole.
    head: Vec<u8>,
    /// A response, and how much of it has been written.
    rest: Option<(Rc<[u8]>, usize)>,
}

impl Connection {
    /// Reads what is there and answers a complete request; `false` at the end.
    ///
    /// Events tell of what is new: a read that did not fill the buffer has taken all there was.
    fn hear(&mut self, answer: &mut impl FnMut(&[u8]) -> Rc<[u8]>) -> io::Result<bool> {
        let mut buffer = [0; HEAD];
        let read = match self.stream.read(&mut buffer) {
            Ok(0) => return Ok(false),
            Ok(read) if read < buffer.len() => &buffer[..read],
            Ok(_) => return Err(io::Error::other("a request is longer than the bench ever sends")),
            Err(error) => return retry(&error),
        };
        let whole = |text: &[u8]| text.ends_with(b"\r\n\r\n");
        let response = if self.head.is_empty() && whole(read) {
            answer(read)
        } else {
            self.head.extend_from_slice(read);
            if !whole(&self.head) {
                return Ok(true);
            }
            answer(&std::mem::take(&mut self.head))
        };
        self.rest = Some((response, 0));
        self.go_on()
    }

    /// Writes what is left of a response; `false` if nobody wants it.
    fn go_on(&mut self) -> io::Result<bool> {
        while let Some((response, written)) = &mut self.rest {
            match self.stream.write(&response[*written..]) {
                Ok(more) => *written += more,
                Err(error) => return retry(&error),
            }
            if *written == response.len() {
                self.rest = None;
            }
        }
        Ok(true)
    }
}

/// Whether to go on later.
fn retry(error: &io::Error) -> io::Result<bool> {
    Ok(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted))
}
