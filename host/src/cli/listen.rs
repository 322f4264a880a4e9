//! `hookyard listen`: a receiver on this machine that prints what it gets.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use axum::extract::{OriginalUri, State};
use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use tokio::net::TcpListener;

/// Receive webhooks on this machine and print them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Address and port to listen on.
    #[arg(long, default_value = "127.0.0.1:9000")]
    address: SocketAddr,
    /// Verify signatures with this `whsec_…` secret; a request that does not verify is answered with 401.
    #[arg(long)]
    secret: Option<String>,
    /// Answer with this status instead of 200, to see retries.
    #[arg(long, default_value = "200")]
    status: u16,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let listener = TcpListener::bind(args.address)
        .await
        .with_context(|| format!("cannot listen on {}", args.address))?;
    eprintln!("listening on http://{} (Ctrl-C ends it)", listener.local_addr()?);
    let status = StatusCode::from_u16(args.status).context("--status takes 100 to 599")?;
    let state = std::sync::Arc::new((args.secret, status));
    let app = axum::Router::new().fallback(show).with_state(state);
    let mut signals = crate::lifecycle::StopSignals::listen()?;
    tokio::select! {
        done = axum::serve(listener, app) => done?,
        () = signals.next() => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn show(
    State(state): State<std::sync::Arc<(Option<String>, StatusCode)>>,
    method: Method,
    OriginalUri(uri): OriginalUri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    println!("{method} {uri}");
    for (name, value) in &headers {
        println!("  {name}: {}", String::from_utf8_lossy(value.as_bytes()));
    }
    println!("  {}", String::from_utf8_lossy(&body));
    if let Some(secret) = &state.0 {
        if let Err(why) = super::receiver::verify(secret, &headers, &body) {
            println!("  signature: REFUSED: {why}\n");
            return StatusCode::UNAUTHORIZED;
        }
        println!("  signature: verified");
    }
    println!();
    state.1
}
