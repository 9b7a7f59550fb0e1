//! A person who is signed in, or anybody who reaches the port, cannot use up what belongs to others: connections,
//! time, memory and room in the database.

mod access_log;
mod connections;
mod shares;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

/// A connection whose reads end after half a minute.
pub(super) fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream
}

/// A connection on which this was sent and nothing else.
pub(super) fn half(address: &str, said: &str) -> TcpStream {
    let mut stream = connect(address);
    // An error means that the gateway has closed the connection already. It has no place any more, which is what is
    // tested.
    let _ = stream.write_all(said.as_bytes());
    stream
}

/// The head of a request, without the empty line at its end.
pub(super) fn head(address: &str, method: &str, path: &str, person: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nX-Batchshare-User: {person}\r\n")
}

/// Whether the gateway has closed the connection, with or without an answer before.
fn is_closed(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}
