//! A receiver on bare sockets that does what its script says, and remembers every request.
//!
//! It speaks just enough HTTP/1.1 for that: a request with a `content-length`, an answer, the next request. It must not
//! know the host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hookyard::clock::Stopwatch;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// How long a test waits for something before it gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Request {
    /// Such as `POST`.
    pub method: String,
    /// With the query.
    pub path: String,
    /// By lower-case name.
    pub headers: HashMap<String, String>,
    /// As it came.
    pub body: Vec<u8>,
    /// The header `requestid`, or nothing.
    pub id: String,
    /// 1 for the first request with this `requestid`, 2 for the second, …
    pub nth: u32,
    /// Since the sink was started.
    pub at: Duration,
}

impl Request {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a body of JSON")
    }

    /// A header's value, or the empty text.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Whether the signature is good, by another's implementation of Standard Webhooks.
    pub fn verified(&self, secret: &str) -> bool {
        let headers = self.headers.iter().map(|(name, value)| {
            let name: axum::http::HeaderName = name.parse().expect("a header's name");
            (name, value.parse().expect("a header's value"))
        });
        let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
        webhook.verify(&self.body, &headers.collect()).is_ok()
    }
}

/// Something that is done at a moment of an answer.
pub type Act = Arc<dyn Fn() + Send + Sync>;

/// What a request is answered with.
#[derive(Clone)]
pub enum Answer {
    /// This status, without a body.
    Status(u16),
    /// This status with a header.
    With(u16, &'static str, String),
    /// This status with a body.
    Body(u16, String),
    /// Nothing, until the other side gives up.
    Hang,
    /// A head that promises a body, and then a byte of it now and then.
    Drip,
    /// A body without end, as fast as it is taken.
    Endless,
    /// The connection is closed without a word.
    Close,
    /// The answer, once the gate is open.
    Behind(Gate, Box<Answer>),
    /// The head of a 200 once the first gate is open, the end of its body once the second is.
    Halves(Gate, Gate),
    /// This status; something is done as soon as the answer has been handed to the system.
    Then(u16, Act),
}

/// What holds answers back until it is opened.
#[derive(Debug, Clone)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Gate {
    /// Lets everything through from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// An answer behind this gate.
    pub fn before(&self, answer: Answer) -> Answer {
        Answer::Behind(self.clone(), Box::new(answer))
    }

    pub(crate) async fn pass(&self) {
        // The sender lives in `self`.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

type Script = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

struct Inner {
    requests: Mutex<Vec<Request>>,
    script: Mutex<Script>,
    changed: watch::Sender<()>,
    since: Stopwatch,
    under_way: Mutex<(usize, usize)>,
}

/// Listens on a free port of the loopback until it is dropped. Answers 200 until it is told otherwise.
pub struct Sink {
    /// Such as `http://127.0.0.1:8000`.
    origin: String,
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Sink {
    /// Starts listening.
    ///
    /// # Panics
    /// When the loopback has no free port.
    pub async fn start() -> Self {
        Self::over(None).await
    }

    /// Starts listening for TLS connections, as `localhost`.
    pub async fn start_tls(config: ServerConfig) -> Self {
        Self::over(Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn over(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let origin = match &tls {
            None => format!("http://127.0.0.1:{port}"),
            Some(_) => format!("https://localhost:{port}"),
        };
        let inner = Arc::new(Inner {
            requests: Mutex::default(),
            script: Mutex::new(Arc::new(|_| Answer::Status(200))),
            changed: watch::Sender::new(()),
            since: Stopwatch::start(),
            under_way: Mutex::default(),
        });
        let shared = inner.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // Without it a small answer may wait for an acknowledgement.
                let _ = stream.set_nodelay(true);
                let (tls, shared) = (tls.clone(), shared.clone());
                tokio::spawn(async move {
                    match tls {
                        None => converse(Box::new(stream), shared).await,
                        Some(tls) => {
                            // A client that breaks off has its reasons.
                            if let Ok(stream) = tls.accept(stream).await {
                                converse(Box::new(stream), shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self { origin, inner, task }
    }

    /// An address of it.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.origin)
    }

    /// Answers by this script from the next request on.
    pub fn script(&self, script: impl Fn(&Request) -> Answer + Send + Sync + 'static) {
        *lock(&self.inner.script) = Arc::new(script);
    }

    /// Answers everything so from the next request on.
    pub fn answer(&self, answer: Answer) {
        self.script(move |_| answer.clone());
    }

    /// Every request so far.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.inner.requests).clone()
    }

    /// Forgets every request so far.
    pub fn forget(&self) {
        lock(&self.inner.requests).clear();
    }

    /// How many requests have come.
    pub fn count(&self) -> usize {
        lock(&self.inner.requests).len()
    }

    /// How often each `requestid` has come.
    pub fn times(&self) -> HashMap<String, u32> {
        let mut times = HashMap::new();
        for request in lock(&self.inner.requests).iter() {
            *times.entry(request.id.clone()).or_default() += 1;
        }
        times
    }

    /// The most requests that were under way at once.
    pub fn most_at_once(&self) -> usize {
        lock(&self.inner.under_way).1
    }

    /// Waits until the requests are as wanted.
    ///
    /// # Panics
    /// When they are not after [`PATIENCE`].
    pub async fn wait(&self, what: &str, enough: impl Fn(&[Request]) -> bool) {
        let mut changed = self.inner.changed.subscribe();
        let wait = async {
            while !enough(&lock(&self.inner.requests)) {
                // The sender lives in `self`.
                let _ = changed.changed().await;
            }
        };
        if tokio::time::timeout(PATIENCE, wait).await.is_err() {
            let came: Vec<_> = self.requests().into_iter().map(|r| (r.path, r.id, r.nth, r.at)).collect();
            panic!("waited in vain for {what}; these came: {came:#?}");
        }
    }

    /// Waits until `n` requests have come, and gives them.
    pub async fn come(&self, n: usize) -> Vec<Request> {
        self.wait(&format!("{n} requests"), |requests| requests.len() >= n).await;
        self.requests()
    }

    /// Waits until `n` deliveries have come, however often each.
    pub async fn distinct(&self, n: usize) {
        let enough = |requests: &[Request]| {
            requests.iter().map(|r| &r.id).collect::<std::collections::HashSet<_>>().len() >= n
        };
        self.wait(&format!("{n} deliveries"), enough).await;
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection, plain or not.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

type Stream = BufReader<Box<dyn Wire>>;

async fn converse(stream: Box<dyn Wire>, inner: Arc<Inner>) {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read(&mut stream, &inner).await {
        let script = lock(&inner.script).clone();
        lock(&inner.requests).push(request.clone());
        let under_way = UnderWay::begin(&inner);
        inner.changed.send_replace(());
        let goes_on = say(&mut stream, script(&request)).await;
        drop(under_way);
        if !goes_on {
            return;
        }
    }
}

/// Counts a request as under way until it is dropped.
struct UnderWay<'a>(&'a Inner);

impl<'a> UnderWay<'a> {
    fn begin(inner: &'a Inner) -> Self {
        let mut count = lock(&inner.under_way);
        count.0 += 1;
        count.1 = count.1.max(count.0);
        Self(inner)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        lock(&self.0.under_way).0 -= 1;
    }
}

async fn read(stream: &mut Stream, inner: &Inner) -> Option<Request> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line.trim_end().is_empty() {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let mut words = lines.first()?.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let headers: HashMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(Ok(0), |n| n.parse()).expect("a length");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let id = headers.get("requestid").cloned().unwrap_or_default();
    let before = lock(&inner.requests).iter().filter(|r| r.id == id).count();
    let nth = u32::try_from(before).unwrap_or(u32::MAX) + 1;
    Some(Request { method, path, headers, body, id, nth, at: inner.since.elapsed() })
}

/// Answers; gives whether the connection can be used again.
async fn say(stream: &mut Stream, answer: Answer) -> bool {
    match answer {
        Answer::Status(status) => head(stream, status, "").await,
        Answer::With(status, name, value) => head(stream, status, &format!("{name}: {value}\r\n")).await,
        Answer::Body(status, body) => {
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {length}\r\n\r\n");
            stream.write_all(format!("{head}{body}").as_bytes()).await.is_ok()
        }
        Answer::Hang => gone(stream).await,
        Answer::Drip => {
            let mut beat = tokio::time::interval(Duration::from_millis(20));
            if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.is_err() {
                return false;
            }
            loop {
                beat.tick().await;
                if stream.write_all(b".").await.is_err() {
                    return false;
                }
            }
        }
        Answer::Endless => {
            let start = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
            let mut more = stream.write_all(start).await;
            while more.is_ok() {
                more = stream.write_all(&[b'.'; 8_192]).await;
            }
            false
        }
        Answer::Close => false,
        Answer::Behind(gate, then) => {
            gate.pass().await;
            Box::pin(say(stream, *then)).await
        }
        Answer::Halves(first, second) => {
            first.pass().await;
            let head = b"HTTP/1.1 200 Scripted\r\ncontent-length: 2\r\n\r\no";
            if stream.write_all(head).await.is_err() {
                return false;
            }
            second.pass().await;
            stream.write_all(b"k").await.is_ok()
        }
        Answer::Then(status, act) => {
            let goes_on = head(stream, status, "").await;
            act();
            goes_on
        }
    }
}

async fn head(stream: &mut Stream, status: u16, more: &str) -> bool {
    let text = format!("HTTP/1.1 {status} Scripted\r\n{more}content-length: 0\r\n\r\n");
    stream.write_all(text.as_bytes()).await.is_ok()
}

/// Waits until the other side has closed.
async fn gone(stream: &mut Stream) -> bool {
    let mut rest = [0; 64];
    while matches!(stream.read(&mut rest).await, Ok(n) if n > 0) {}
    false
}
