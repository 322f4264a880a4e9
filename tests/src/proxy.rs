//! A proxy on bare sockets: it connects where `CONNECT` says, answers everything else itself, and remembers every head.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Listens on a free port of the loopback until it is dropped.
pub struct Proxy {
    port: u16,
    heads: Arc<Mutex<Vec<Vec<String>>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts listening.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let heads = Arc::default();
        let kept = Arc::clone(&heads);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&kept)));
            }
        });
        Self { port, heads, task }
    }

    /// Its address; `user` is empty or `user:password@`.
    pub fn url(&self, user: &str) -> String {
        format!("http://{user}127.0.0.1:{}", self.port)
    }

    /// The lines of every head that came.
    pub fn heads(&self) -> Vec<Vec<String>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: TcpStream, heads: Arc<Mutex<Vec<Vec<String>>>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let mut words = head.first()?.split(' ');
    let (method, place) = (words.next()?.to_owned(), words.next()?.to_owned());
    heads.lock().unwrap_or_else(PoisonError::into_inner).push(head);
    if method != "CONNECT" {
        // The body goes unread: the connection ends with the answer.
        let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await.ok()?;
        return stream.shutdown().await.ok();
    }
    let mut other = TcpStream::connect(place).await.ok()?;
    stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.ok()?;
    copy_bidirectional(&mut stream, &mut other).await.ok()?;
    Some(())
}
