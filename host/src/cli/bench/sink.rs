//! The receiver of the load: answers 200 and notes which event arrived when.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use super::book::Book;
use super::wire;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// Listens on a free port until the process ends.
pub(super) async fn start(book: Arc<Book>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen on loopback")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let book = book.clone();
            // A connection that breaks is the host's to repair: it sends again, and the book counts it.
            tokio::spawn(async move { connection(stream, &book).await });
        }
    });
    Ok(address)
}

async fn connection(mut stream: TcpStream, book: &Book) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(16 << 10);
    while let Some(request) = wire::read(&mut stream, &mut buffer).await? {
        if let Some(n) = wire::number(&buffer[request.head..request.end], b"\"n\":") {
            book.arrived(n);
        }
        let _ = buffer.split_to(request.end);
        stream.write_all(OK).await?;
    }
    Ok(())
}
