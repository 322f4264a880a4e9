//! `hookyard serve`: runs the host until a signal or a crash.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;

use super::ConfigArgs;
use crate::clock::Clock;
use crate::host::Host;
use crate::lifecycle::StopSignals;
use crate::telemetry;

pub(super) async fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = args.read()?;
    telemetry::log_to_stderr(&config.log);
    // Before anything else, so that no signal is lost: neither one that comes during the start, nor a second one right
    // after the first.
    let mut signals = StopSignals::listen().context("cannot listen for signals")?;
    raise_open_files(config.server.connections);
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; set `server.listen` (HOOKYARD_SERVER_LISTEN)")
    })?;
    let program = std::env::current_exe().context("cannot find the host's own program")?;
    let (soft, hard) =
        (Duration::from_secs(config.server.stop_soft_s), Duration::from_secs(config.server.stop_hard_s));
    let host = tokio::select! {
        started = Host::start(&config, listener, Clock::system(), program) => started?,
        () = signals.next() => {
            // Nothing has been accepted yet, and what a start has begun the next one does again.
            tracing::info!("stopped during the start");
            return Ok(ExitCode::SUCCESS);
        }
    };
    if let Some(file) = host.first_key() {
        eprintln!(
            "The first admin key is in {}. Keep it safe, or delete it after making another.",
            file.display()
        );
    }
    eprintln!("Hookyard listens on http://{} (data in {})", host.address(), config.store.data.display());

    let crashed = tokio::select! {
        () = signals.next() => None,
        crash = host.crash() => Some(crash),
    };
    if let Some(crash) = &crashed {
        tracing::error!(task = crash.task, why = %crash.why, "a part of the host failed; stopping");
    } else {
        tracing::info!(
            soft_s = soft.as_secs(),
            "stopping: finishing what is under way (a second signal drops it)"
        );
    }
    let finished = host.stop(soft, hard, signals.next()).await;
    if !finished {
        tracing::warn!("some work was dropped; it goes on at the next start");
    }
    Ok(if crashed.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Descriptors for what is not a connection of a client: deliveries under way, the database, artifacts, the log.
const OPEN_FILES_BESIDE: u64 = 1_024;

/// Raises the process's limit on open files as far as the system lets it, and warns when the connections do not fit.
fn raise_open_files(connections: usize) {
    let wanted = OPEN_FILES_BESIDE.saturating_add(connections as u64);
    let limit = getrlimit(Resource::Nofile);
    // Without a limit there is nothing to raise.
    let Some(current) = limit.current.filter(|current| *current < wanted) else { return };
    let most = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raised = most > current
        && setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum }).is_ok();
    let allowed = if raised { most } else { current };
    if allowed < wanted {
        tracing::warn!(
            allowed,
            wanted,
            "the system's limit on open files does not fit `server.connections`; raise it (`ulimit -n`), or lower that"
        );
    }
}
