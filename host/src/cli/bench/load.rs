//! The load: connections that post one event at a time, as fast as they are answered or at a steady rate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::book::Book;
use super::wire;
use crate::clock::Stopwatch;

/// What is posted where.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) host: SocketAddr,
    pub(super) key: String,
    pub(super) carrier: String,
    pub(super) connections: usize,
    /// Events in all.
    pub(super) events: usize,
    /// Events per second, on a timetable that does not wait for answers; as fast as they are answered when absent.
    pub(super) rate: Option<f64>,
    /// Bytes of one event's payload.
    pub(super) bytes: usize,
}

/// Posts all events; gives how long it took and how often the host said that it was busy.
pub(super) async fn run(load: Load, book: Arc<Book>) -> anyhow::Result<(Duration, usize)> {
    let (next, busy) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watch = Stopwatch::start();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..load.connections {
        let (load, book, next, busy) = (load.clone(), book.clone(), next.clone(), busy.clone());
        tasks.spawn(async move { connection(load, book, next, busy, watch).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.context("a connection of the load failed")??;
    }
    Ok((watch.elapsed(), busy.load(Ordering::Relaxed)))
}

async fn connection(
    load: Load,
    book: Arc<Book>,
    next: Arc<AtomicUsize>,
    busy: Arc<AtomicUsize>,
    watch: Stopwatch,
) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(load.host).await.context("cannot reach the host")?;
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::with_capacity(16 << 10);
    loop {
        let n = next.fetch_add(1, Ordering::Relaxed);
        if n >= load.events {
            return Ok(());
        }
        if let Some(rate) = load.rate {
            let at = Duration::from_secs_f64(n as f64 / rate);
            if let Some(wait) = at.checked_sub(watch.elapsed()) {
                tokio::time::sleep(wait).await;
            }
        }
        let request = request(&load, n);
        book.posted(n);
        loop {
            stream.write_all(&request).await?;
            let Some(answer) = wire::read(&mut stream, &mut buffer).await? else {
                bail!("the host closed a connection");
            };
            let status = buffer.get(9..12).unwrap_or(b"").to_vec();
            if status == b"202" {
                let _ = buffer.split_to(answer.end);
                book.accepted(n);
                break;
            }
            if status != b"503" {
                bail!("an event was answered with {}", String::from_utf8_lossy(&buffer[..answer.end]));
            }
            let _ = buffer.split_to(answer.end);
            busy.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn request(load: &Load, n: usize) -> Vec<u8> {
    let mut payload = format!(
        r#"{{"n":{n},"caseData":{{"id":"5d3b8a10-2222-4e0a-8c11-aa00bb11cc22","brand":"Acme Mutual","claimNumber":"AC-{n}"}},"state":"open","caseType":"claim","customer":{{"first":"Maren","last":"Oakes","email":"maren.oakes@example.org","mobile":"+15550100101"}},"text":""#
    );
    while payload.len() < load.bytes.saturating_sub(2) {
        payload.push((b'a' + u8::try_from(payload.len() % 26).unwrap_or(0)) as char);
    }
    payload.push_str("\"}");
    let body = format!(
        r#"{{"carrier":"{}","id":"bench-{n}","type":"case.updated","payload":{payload}}}"#,
        load.carrier
    );
    format!(
        "POST /v1/events HTTP/1.1\r\nhost: bench\r\nx-api-key: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        load.key,
        body.len()
    )
    .into_bytes()
}
