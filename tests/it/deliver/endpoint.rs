//! A receiver written on bare sockets, so that it can misbehave in every way.

use std::collections::HashMap;
use std::future::Future;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A request as it came in.
pub(super) struct Received {
    pub(super) line: String,
    /// By lower-case name.
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
    /// Counts connections from 0.
    pub(super) connection: usize,
}

/// Listens on a free port of the loopback until it is dropped.
pub(super) struct Endpoint {
    port: u16,
    received: mpsc::UnboundedReceiver<Received>,
    task: JoinHandle<()>,
}

impl Endpoint {
    /// Answers each request with these bytes, and closes a connection whose answer ends only with it.
    pub(super) async fn answering(answer: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (say, received) = mpsc::unbounded_channel();
        let answer = answer.to_owned();
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(converse(stream, answer.clone(), connection, say.clone()));
            }
        });
        Self { port, received, task }
    }

    /// Hands each connection over once something has come in (which is read and thrown away).
    pub(super) async fn behaving<F, Fut>(behave: F) -> Self
    where
        F: Fn(TcpStream) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (_, received) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 8192]).await;
                tokio::spawn(behave(stream));
            }
        });
        Self { port, received, task }
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The next request.
    pub(super) async fn next(&mut self) -> Received {
        self.received.recv().await.expect("the endpoint listens")
    }

    /// Whether no request has come that was not asked for.
    pub(super) fn nothing_came(&mut self) -> bool {
        self.received.try_recv().is_err()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads requests and answers them until the other side closes.
async fn converse(
    stream: TcpStream,
    answer: String,
    connection: usize,
    say: mpsc::UnboundedSender<Received>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match stream.read_line(&mut line).await {
                Ok(n) if n > 0 => {}
                _ => return,
            }
            if line.trim_end().is_empty() {
                break;
            }
            lines.push(line.trim_end().to_owned());
        }
        let line = lines.remove(0);
        let headers: HashMap<_, _> = lines
            .iter()
            .filter_map(|l| l.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length = headers.get("content-length").map_or(0, |n| n.parse().unwrap());
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let _ = say.send(Received { line, headers, body, connection });
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
        // An answer that is shorter than it says is complete only with the connection's end.
        if answer.ends_with("short") {
            return;
        }
    }
}
