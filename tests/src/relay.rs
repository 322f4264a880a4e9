//! A relay between a client and a server on bare sockets: it cuts, stalls and counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What becomes of what clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It goes on to the server.
    Pass,
    /// After so many bytes of all connections together every connection is cut.
    CutAfter(u64),
    /// After so many bytes nothing goes on, in either direction; connections stay.
    StallAfter(u64),
}

/// Listens on a free port of the loopback until it is dropped.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    rule: watch::Sender<Rule>,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct State {
    sent: AtomicU64,
    connections: AtomicUsize,
    /// How often all connections were cut.
    cuts: watch::Sender<usize>,
}

impl Relay {
    /// Starts relaying to a port of the loopback.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (rule, rules) = watch::channel(Rule::Pass);
        let state = Arc::<State>::default();
        let kept = state.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                kept.connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(client, to, rules.clone(), kept.clone()));
            }
        });
        Self { port, rule, state, task }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it does from now on; bytes are counted from here.
    pub fn rule(&self, rule: Rule) {
        self.state.sent.store(0, Ordering::SeqCst);
        self.rule.send_replace(rule);
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        self.state.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Bytes that clients have sent since the last rule.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(client: TcpStream, to: u16, rules: watch::Receiver<Rule>, state: Arc<State>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    let mut cuts = state.cuts.subscribe();
    tokio::select! {
        () = pass(client_read, server_write, rules.clone(), &state, true) => {}
        () = pass(server_read, client_write, rules, &state, false) => {}
        _ = cuts.changed() => {}
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut rules: watch::Receiver<Rule>,
    state: &State,
    counted: bool,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let length_counted = if counted { length as u64 } else { 0 };
        let sent = state.sent.fetch_add(length_counted, Ordering::SeqCst) + length_counted;
        let rule = *rules.borrow_and_update();
        match rule {
            Rule::CutAfter(bytes) if sent > bytes => {
                state.cuts.send_modify(|cuts| *cuts += 1);
                return;
            }
            Rule::StallAfter(bytes) if sent > bytes => {
                // Until there is another rule.
                let _ = rules.wait_for(|rule| !matches!(rule, Rule::StallAfter(_))).await;
            }
            _ => {}
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
