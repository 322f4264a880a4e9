//! `hookyard serve`: runs the host until a signal or a crash.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;

use super::ConfigArgs;
use crate::clock::Clock;
use crate::host::Host;
use crate::{lifecycle, telemetry};

pub(super) async fn run(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let config = args.read()?;
    telemetry::log_to_stderr(&config.log);
    let listen = config.server.listen;
    let listener = TcpListener::bind(listen).await.with_context(|| {
        format!("cannot listen on {listen}; set `server.listen` (HOOKYARD_SERVER_LISTEN)")
    })?;
    let program = std::env::current_exe().context("cannot find the host's own program")?;
    let (soft, hard) =
        (Duration::from_secs(config.server.stop_soft_s), Duration::from_secs(config.server.stop_hard_s));
    let host = Host::start(&config, listener, Clock::system(), program).await?;
    if let Some(file) = host.first_key() {
        eprintln!(
            "The first admin key is in {}. Keep it safe, or delete it after making another.",
            file.display()
        );
    }
    eprintln!("Hookyard listens on http://{} (data in {})", host.address(), config.store.data.display());

    let crashed = tokio::select! {
        done = lifecycle::signal() => { done?; None }
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
    let hurry = async {
        let _ = lifecycle::signal().await;
    };
    let finished = host.stop(soft, hard, hurry).await;
    if !finished {
        tracing::warn!("some work was dropped; it goes on at the next start");
    }
    Ok(if crashed.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
