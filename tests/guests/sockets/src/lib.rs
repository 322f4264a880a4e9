//! Opens a connection, and so imports sockets: the host must refuse it when it is uploaded.

use hookyard::{Event, Failure, Result, Verdict};

#[hookyard::plugin]
fn handle(_: &Event) -> Result<Verdict> {
    match std::net::TcpStream::connect("192.0.2.1:80") {
        Ok(_) => Ok(Verdict::forward()),
        Err(error) => Err(Failure::rejected(error.to_string())),
    }
}
