//! The door: connections in, bounded in number and in the time that a client may take over each part of a request.
//!
//! It must not know the routes. `axum::serve` knows no bound and no deadline, and hyper's own deadline for a request's head
//! also ends connections that merely rest between two requests; so the loop and the watch over each connection are here.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use crate::telemetry::Metrics;

/// Connections above the bound that are told so at once; those above these are closed without a word.
const REFUSALS: usize = 64;

/// How long a connection above the bound may take to say what it wants.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// How long nothing is accepted when the system has no more to give (descriptors, memory).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How many clients are served, and how slow each may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once.
    pub connections: usize,
    /// From a connection's beginning, or from the first byte after a rest, until a request's head is there.
    pub head: Duration,
    /// From an answer until the first byte of the next request; it is also how long a client may take to read the answer.
    pub idle: Duration,
}

/// What is served.
#[derive(Debug)]
pub struct Server {
    /// Answers requests.
    pub app: Router,
    /// Answers the one request of a connection above the bound.
    pub overflow: Router,
    /// The bounds.
    pub limits: ServerLimits,
    /// Where connections are counted.
    pub metrics: Metrics,
    /// Cancelled when nothing new is to be taken in: requests under way are finished.
    pub stopping: CancellationToken,
}

impl Server {
    /// Serves until it is told to stop and the last request is answered. When it is dropped, so are its connections.
    ///
    /// # Errors
    /// Never: a connection's error is its own. The type is that of the host's tasks.
    pub async fn run(self, listener: TcpListener) -> Result<(), Infallible> {
        let Self { app, overflow, limits, metrics, stopping } = self;
        let (mut served, mut refused) = (JoinSet::new(), JoinSet::new());
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                Some(_) = served.join_next() => {
                    metrics.connections.set(count(&served));
                    continue;
                }
                Some(_) = refused.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) if is_clients(&error) => continue,
                Err(error) => {
                    tracing::error!(%error, "no connection can be accepted; is the limit on open files too low for `server.connections`?");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            // A small answer must not wait for a full packet; failing to ask for that costs only time.
            let _ = stream.set_nodelay(true);
            if served.len() < limits.connections {
                served.spawn(serve(stream, app.clone(), limits, true, stopping.clone()));
                metrics.connections.set(count(&served));
                continue;
            }
            metrics.connections_refused.inc();
            if refused.len() < REFUSALS {
                let limits = ServerLimits { head: REFUSAL_PATIENCE, idle: REFUSAL_PATIENCE, ..limits };
                refused.spawn(serve(stream, overflow.clone(), limits, false, stopping.clone()));
            }
        }
        // Whoever knocks now is to hear at once that nobody listens.
        drop(listener);
        while served.join_next().await.is_some() {}
        metrics.connections.set(0);
        Ok(())
    }
}

fn count(served: &JoinSet<()>) -> i64 {
    i64::try_from(served.len()).unwrap_or(i64::MAX)
}

/// Whether accepting failed for a reason of this one client.
fn is_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// One connection, until it ends, breaks, or its client is too slow.
async fn serve(
    stream: TcpStream,
    app: Router,
    limits: ServerLimits,
    keep_alive: bool,
    stopping: CancellationToken,
) {
    let watch = Watch::default();
    let service = hyper::service::service_fn(|request: hyper::Request<Incoming>| {
        watch.called();
        // The router is always ready.
        let answer = app.clone().call(request);
        let watch = watch.clone();
        async move {
            let answer = answer.await;
            watch.answered();
            answer
        }
    });
    let io = TokioIo::new(Watched { stream, watch: watch.clone() });
    let mut builder = http1::Builder::new();
    let mut connection = pin!(builder.keep_alive(keep_alive).serve_connection(io, service));
    let mut stopping = pin!(stopping.cancelled());
    let mut told = false;
    let mut deadline = Deadline::new(&limits);
    poll_fn(|cx| {
        if !told && stopping.as_mut().poll(cx).is_ready() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        // What went wrong on the way is between the client and the network.
        if connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        deadline.poll(cx, &watch, &limits)
    })
    .await;
}

/// What a connection is waiting for: a phase, as a number that grows with every change. Everything that changes it happens
/// while the connection is polled, so whoever polls it looks afterwards.
#[derive(Debug, Clone, Default)]
struct Watch(Arc<AtomicU64>);

/// The head of a request, which has begun (or the connection has).
const HEAD: u64 = 0;
/// The answer: how long that takes is ours, or the body's, which has a deadline of its own.
const ANSWER: u64 = 1;
/// The next request.
const REST: u64 = 2;
/// How many phases there are.
const PHASES: u64 = 3;

impl Watch {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on to the next moment of this phase.
    fn enter(&self, phase: u64) {
        let now = self.now();
        self.0.store(now + (phase + PHASES - now % PHASES - 1) % PHASES + 1, Ordering::Relaxed);
    }

    /// Bytes have come.
    fn came(&self) {
        if self.now() % PHASES == REST {
            self.enter(HEAD);
        }
    }

    fn called(&self) {
        self.enter(ANSWER);
    }

    fn answered(&self) {
        self.enter(REST);
    }
}

/// When a connection's patience ends. The timer is only set anew when it would come too late, which a request that arrives
/// whole never needs.
struct Deadline {
    seen: u64,
    end: Option<Instant>,
    timer: Pin<Box<tokio::time::Sleep>>,
}

impl Deadline {
    fn new(limits: &ServerLimits) -> Self {
        let end = Instant::now() + limits.head;
        Self { seen: HEAD, end: Some(end), timer: Box::pin(sleep_until(end)) }
    }

    /// Ready when the client has taken too long over the present phase.
    fn poll(&mut self, cx: &mut Context<'_>, watch: &Watch, limits: &ServerLimits) -> Poll<()> {
        let now = watch.now();
        if now != self.seen {
            self.seen = now;
            self.end = match now % PHASES {
                HEAD => Some(Instant::now() + limits.head),
                REST => Some(Instant::now() + limits.idle),
                _ => None,
            };
        }
        let Some(end) = self.end else { return Poll::Pending };
        if end < self.timer.deadline() {
            self.timer.as_mut().reset(end);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if Instant::now() >= end {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(end);
        }
        Poll::Pending
    }
}

/// A stream that notes when bytes come.
#[derive(Debug)]
struct Watched {
    stream: TcpStream,
    watch: Watch,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.watch.came();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_and_are_never_the_same_moment() {
        let watch = Watch::default();
        let mut seen = vec![watch.now()];
        let mut note = |watch: &Watch, phase| {
            assert_eq!(watch.now() % PHASES, phase);
            assert!(!seen.contains(&watch.now()), "{seen:?}");
            seen.push(watch.now());
        };
        watch.called();
        note(&watch, ANSWER);
        // The body's bytes.
        watch.came();
        assert_eq!(watch.now() % PHASES, ANSWER);
        watch.answered();
        note(&watch, REST);
        watch.came();
        note(&watch, HEAD);
        let head = watch.now();
        watch.came();
        assert_eq!(watch.now(), head, "more of the same head does not buy more time");
        watch.called();
        note(&watch, ANSWER);
        watch.answered();
        note(&watch, REST);
        // A request that came together with the one before.
        watch.called();
        note(&watch, ANSWER);
        watch.answered();
        note(&watch, REST);
    }

    #[tokio::test]
    async fn patience_is_that_of_the_phase() {
        let limits = ServerLimits {
            connections: 1,
            head: Duration::from_millis(20),
            idle: Duration::from_millis(100),
        };
        let watch = Watch::default();
        let mut deadline = Deadline::new(&limits);
        let begun = Instant::now();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        watch.called();
        // While the host works, nobody is too slow: not even when the timer of the head has fired.
        tokio::time::sleep_until(begun + limits.head).await;
        assert!(deadline.poll(&mut cx, &watch, &limits).is_pending());
        watch.answered();
        let rests = Instant::now();
        poll_fn(|cx| deadline.poll(cx, &watch, &limits)).await;
        assert!(rests.elapsed() >= limits.idle, "{:?}", rests.elapsed());
        // From a rest to a head the patience becomes shorter, though the timer was set to the end of the rest.
        watch.called();
        watch.answered();
        assert!(deadline.poll(&mut cx, &watch, &limits).is_pending());
        watch.came();
        assert!(deadline.poll(&mut cx, &watch, &limits).is_pending());
        assert!(deadline.end.is_some_and(|end| end == deadline.timer.deadline()));
        assert!(deadline.timer.deadline() < Instant::now() + limits.idle - limits.head);
        poll_fn(|cx| deadline.poll(cx, &watch, &limits)).await;
    }
}
