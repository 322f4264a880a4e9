//! `hookyard bench`: the whole way of an event under load, on this machine, with its receiver.
//!
//! The host runs in a process of its own; load and receiver share this one. Nothing is counted but identities: an event
//! is lost when it was accepted and never arrived, repeated when it arrived twice.

mod book;
mod load;
mod setup;
mod sink;
mod wire;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use clap::ValueEnum;
use serde_json::json;

use book::Book;
use load::Load;

/// Measure the whole way of an event: post → accept → plugin → deliver → record.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the host keeps its data.
    #[arg(long, value_enum, default_value = "sqlite")]
    store: StoreArg,
    /// The database for `--store postgres`; it must be empty.
    #[arg(long, default_value = "postgres://postgres@127.0.0.1/hookyard_bench")]
    postgres_url: String,
    /// Connections that post, one event at a time each.
    #[arg(long, default_value = "64")]
    connections: usize,
    /// Events to post.
    #[arg(long, default_value = "60000")]
    events: usize,
    /// Post at this rate per second, without waiting for answers, instead of as fast as possible.
    #[arg(long)]
    rate: Option<f64>,
    /// Bytes of one payload.
    #[arg(long, default_value = "1024")]
    bytes: usize,
    /// The stock plugin on the way; `none` for none.
    #[arg(long, default_value = "redact")]
    plugin: String,
    /// Events posted before the measurement, to warm everything up.
    #[arg(long, default_value = "2000")]
    warm_up: usize,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Further settings of the host, such as `HOOKYARD_PLUGINS_THREADS=1`.
    #[arg(long = "env", value_name = "NAME=VALUE")]
    environment: Vec<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StoreArg {
    Sqlite,
    Postgres,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.connections == 0 || args.events == 0 {
        bail!("--connections and --events take at least 1");
    }
    let book = Arc::new(Book::new(args.events));
    let warm = Arc::new(Book::new(args.warm_up.max(1)));
    let (sink, warm_sink) = (sink::start(book.clone()).await?, sink::start(warm.clone()).await?);
    let database = match args.store {
        StoreArg::Sqlite => "sqlite".to_owned(),
        StoreArg::Postgres => args.postgres_url.clone(),
    };
    let host = setup::start(&database, &args.environment).await?;
    host.carrier("warm", warm_sink, &args.plugin).await?;
    host.carrier("bench", sink, &args.plugin).await?;

    let load = |carrier: &str, events, rate| Load {
        host: host.address,
        key: host.key.clone(),
        carrier: carrier.to_owned(),
        connections: args.connections,
        events,
        rate,
        bytes: args.bytes,
    };
    if args.warm_up > 0 {
        load::run(load("warm", args.warm_up, None), warm.clone()).await?;
        arrive(&warm, args.warm_up).await;
    }
    let (took, busy) = load::run(load("bench", args.events, args.rate), book.clone()).await?;
    arrive(&book, args.events).await;
    let rss_mib = host.rss_mib().unwrap_or(0.0);
    host.stop().await?;

    let sum = book.sum();
    let accepted_per_s = args.events as f64 / took.as_secs_f64();
    let delivered_per_s = book.delivered() as f64 / sum.seconds.max(1e-6);
    if args.json {
        let result = json!({
            "accepted_per_s": accepted_per_s.round(), "delivered_per_s": delivered_per_s.round(),
            "p50_ms": sum.p50_ms, "p99_ms": sum.p99_ms, "lost": sum.lost, "repeated": sum.repeated,
            "rss_mib": rss_mib.round(), "busy": busy,
        });
        println!("{result}");
    } else {
        println!("accepted            {accepted_per_s:>10.0} events/s");
        println!("delivered           {delivered_per_s:>10.0} events/s");
        println!("post to arrival p50 {:>10.2} ms", sum.p50_ms);
        println!("post to arrival p99 {:>10.2} ms", sum.p99_ms);
        println!("lost                {:>10}", sum.lost);
        println!("repeated            {:>10}", sum.repeated);
        println!("answered busy       {busy:>10}");
        println!("host's memory       {rss_mib:>10.0} MiB");
    }
    Ok(if sum.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Waits until all have arrived, or nothing more has come for ten seconds.
async fn arrive(book: &Book, events: usize) {
    let (mut seen, mut quiet) = (0, 0);
    while seen < events && quiet < 200 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = book.delivered();
        quiet = if now == seen { quiet + 1 } else { 0 };
        seen = now;
    }
}
