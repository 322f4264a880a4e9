//! A media host over TLS that does what its script says, and remembers what it was asked for.
//!
//! It closes the connection after each answer, so that an answer may also end in the wrong place.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::sink::{Act, Gate, PATIENCE};
use crate::tls::Authority;

/// What every PNG image begins with.
pub const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";

/// An image of so many bytes, at least those of [`PNG`].
pub fn png(len: usize) -> Bytes {
    let mut bytes = PNG.to_vec();
    bytes.resize(len.max(PNG.len()), b'.');
    bytes.into()
}

/// What follows an answer's head.
#[derive(Clone)]
pub enum Content {
    /// All of it, with its length.
    Whole(Bytes),
    /// All of it, without a length: the connection's end ends it.
    Unsaid(Bytes),
    /// This, and then dots up to the length that was said.
    Long(Bytes, u64),
    /// This, although more was said.
    Short(Bytes, u64),
    /// Dots without end or length.
    Endless,
    /// This, and then nothing more until the other side gives up.
    Stuck(Bytes),
}

/// An answer.
#[derive(Clone)]
pub struct Item {
    status: u16,
    headers: Vec<String>,
    content: Content,
    gate: Option<Gate>,
    act: Option<Act>,
}

impl Item {
    /// 200 with this type.
    pub fn of(content_type: &str, content: Content) -> Self {
        let headers = vec![format!("content-type: {content_type}")];
        Self { status: 200, headers, content, gate: None, act: None }
    }

    /// An image.
    pub fn png(len: usize) -> Self {
        Self::of("image/png", Content::Whole(png(len)))
    }

    /// This status with a few words.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::of("text/plain", Content::Whole(Bytes::from_static(b"no"))) }
    }

    /// With another header.
    #[must_use]
    pub fn header(mut self, line: &str) -> Self {
        self.headers.push(line.to_owned());
        self
    }

    /// Once the gate is open.
    #[must_use]
    pub fn behind(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    /// With something that is done when the head and what is there of the content have been handed to the system.
    #[must_use]
    pub fn then(self, act: Act) -> Self {
        Self { act: Some(act), ..self }
    }
}

type Script = Arc<dyn Fn(&str, usize) -> Item + Send + Sync>;

struct Inner {
    asked: Mutex<Vec<String>>,
    changed: watch::Sender<()>,
    script: Mutex<Script>,
    under_way: Mutex<(usize, usize)>,
}

/// Listens on a free port of the loopback until it is dropped.
pub struct MediaHost {
    /// Such as `https://localhost:8000`.
    origin: String,
    /// Vouches for it.
    authority: Authority,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl MediaHost {
    /// Starts listening. Everything is a small image until it is told otherwise.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start() -> Self {
        let authority = Authority::default();
        let acceptor = TlsAcceptor::from(Arc::new(authority.server()));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let origin = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
        let inner = Arc::new(Inner {
            asked: Mutex::default(),
            changed: watch::Sender::new(()),
            script: Mutex::new(Arc::new(|_, _| Item::png(1_000))),
            under_way: Mutex::default(),
        });
        let shared = inner.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    // A client that breaks off has its reasons.
                    if let Ok(stream) = acceptor.accept(stream).await {
                        let _ = answer(stream, &shared).await;
                    }
                });
            }
        });
        Self { origin, authority, inner, task }
    }

    /// A link to it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// The authority that vouches for it, as PEM.
    pub fn pem(&self) -> String {
        self.authority.pem()
    }

    /// Answers by this script from the next request on: by the path and how often it was asked for, 1 for the first time.
    pub fn script(&self, script: impl Fn(&str, usize) -> Item + Send + Sync + 'static) {
        *lock(&self.inner.script) = Arc::new(script);
    }

    /// Answers everything so.
    pub fn answer(&self, item: Item) {
        self.script(move |_, _| item.clone());
    }

    /// The paths that were asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.inner.asked).clone()
    }

    /// The most requests that were under way at once.
    pub fn most_at_once(&self) -> usize {
        lock(&self.inner.under_way).1
    }

    /// Waits until so many requests have come.
    ///
    /// # Panics
    /// When they have not after [`PATIENCE`].
    pub async fn come(&self, n: usize) {
        let mut changed = self.inner.changed.subscribe();
        let wait = async {
            while lock(&self.inner.asked).len() < n {
                // The sender lives in `self`.
                let _ = changed.changed().await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            panic!("waited in vain for {n} requests; these came: {:?}", self.asked());
        }
    }
}

impl Drop for MediaHost {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts a request as under way until it is dropped.
struct UnderWay<'a>(&'a Inner);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.0.under_way).0 -= 1;
    }
}

async fn answer(
    stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>,
    inner: &Inner,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let nth = {
        let mut asked = lock(&inner.asked);
        asked.push(path.clone());
        asked.iter().filter(|one| **one == path).count()
    };
    {
        let mut count = lock(&inner.under_way);
        count.0 += 1;
        count.1 = count.1.max(count.0);
    }
    let _under_way = UnderWay(inner);
    inner.changed.send_replace(());
    let script = lock(&inner.script).clone();
    let Item { status, headers, content, gate, act } = script(&path, nth);
    if let Some(gate) = gate {
        gate.pass().await;
    }
    let (bytes, said) = match &content {
        Content::Whole(bytes) => (bytes.clone(), Some(bytes.len() as u64)),
        Content::Unsaid(bytes) => (bytes.clone(), None),
        Content::Long(bytes, said) | Content::Short(bytes, said) => (bytes.clone(), Some(*said)),
        Content::Endless => (png(1_000), None),
        Content::Stuck(bytes) => (bytes.clone(), Some(bytes.len() as u64 + 1_000)),
    };
    let mut head = format!("HTTP/1.1 {status} Scripted\r\nconnection: close\r\n");
    for line in headers.into_iter().chain(said.map(|n| format!("content-length: {n}"))) {
        head.push_str(&line);
        head.push_str("\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    stream.write_all(&bytes).await?;
    stream.flush().await?;
    if let Some(act) = act {
        act();
    }
    let dots = vec![b'.'; 16_384];
    match content {
        Content::Whole(_) | Content::Unsaid(_) | Content::Short(..) => {}
        Content::Long(bytes, said) => {
            let mut left = said - bytes.len() as u64;
            while left > 0 {
                let n = usize::try_from(left).map_or(dots.len(), |left| left.min(dots.len()));
                stream.write_all(&dots[..n]).await?;
                left -= n as u64;
            }
        }
        Content::Endless => loop {
            stream.write_all(&dots).await?;
        },
        Content::Stuck(_) => {
            let mut rest = [0; 64];
            while stream.read(&mut rest).await? > 0 {}
        }
    }
    stream.shutdown().await
}
