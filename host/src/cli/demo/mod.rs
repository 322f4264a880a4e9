//! `hookyard demo`: the whole way of an event on this machine, to destinations of all kinds, shown as it goes and checked
//! against what they really got.
//!
//! Host, receiver, mail server, SFTP site and media store run in this process on free loopback ports; the data is in a
//! temporary folder. Everything is set up over the API, as any operator and carrier would. Exit status 1 when the account does not add up.

mod account;
mod closing;
mod events;
mod mail;
mod media;
mod picture;
mod servers;
mod setup;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Context;
use axum::http::StatusCode;
use tokio::net::TcpListener;

use self::servers::Servers;
use crate::carrier::RelaySecurity;
use crate::cli::client::{Client, Target};
use crate::cli::receiver::Receiver;
use crate::clock::{Clock, Stopwatch};
use crate::config::{Config, LogConfig};
use crate::host::Host;
use crate::telemetry;

/// Show the whole way of an event on this machine, and check it against what the receiver got.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Keep host and receiver running at the end, so that you can look at what the demo made.
    #[arg(long)]
    keep: bool,
    /// Events for each of the two carriers.
    #[arg(long, default_value = "120", value_parser = clap::value_parser!(u32).range(10..=5_000))]
    events: u32,
}

/// One in so many deliveries is refused at first.
const REFUSE_EVERY: u32 = 8;
/// How long the demo waits for its deliveries.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let watch = Stopwatch::start();
    let data = tempfile::Builder::new().prefix("hookyard-demo-").tempdir()?;
    telemetry::log_to_stderr(&LogConfig { level: "warn".to_owned(), ..LogConfig::default() });

    // Some deliveries meet a receiver that is ill at first: one refusal, or two.
    let count = AtomicU32::new(0);
    let ill = std::sync::Mutex::new(std::collections::HashMap::<String, u32>::new());
    let refuse = move |_: &str, id: &str, refused: u32| {
        let mut ill = ill.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let times = *ill.entry(id.to_owned()).or_insert_with(|| {
            let n = count.fetch_add(1, Ordering::Relaxed);
            if n.is_multiple_of(REFUSE_EVERY) { 1 + n / REFUSE_EVERY % 2 } else { 0 }
        });
        (refused < times).then_some(StatusCode::SERVICE_UNAVAILABLE)
    };
    let receiver = Receiver::start(SocketAddr::from(([127, 0, 0, 1], 0)), Box::new(refuse)).await?;

    let servers = Servers::start().await?;

    let mut config = Config::default();
    config.store.data = data.path().to_owned();
    config.deliver.allow_http = true;
    config.deliver.allow_networks = vec!["127.0.0.0/8".parse()?];
    config.mail.relay = servers.smtp.ip().to_string();
    config.mail.port = servers.smtp.port();
    config.mail.security = RelaySecurity::None;
    config.mail.from = "Claims events <events@platform.example>".to_owned();
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("cannot listen on loopback")?;
    let host = Host::start(&config, listener, Clock::system(), std::env::current_exe()?).await?;
    let key_file = host.first_key().context("a new store has made no admin key")?;
    let key = std::fs::read_to_string(key_file)?.trim().to_owned();
    let url = format!("http://{}", host.address());
    let client = Client::new(&Target { url: url.clone(), key: key.clone() })?;
    println!("host      {url}  (SQLite in {})", data.path().display());
    println!(
        "receiver  http://{}  (verifies every signature, refuses some requests at first)",
        receiver.address
    );
    println!("mail      smtp://{}  (puts the first mail off)", servers.smtp);
    println!("files     sftp://{}", servers.site.address);
    println!("media     http://{}  (links are signed and expire)\n", servers.media.address);

    println!("Setting up two carriers, three stock plugins and three destinations");
    let carriers = setup::carriers(&client, &url, &receiver).await?;

    let samples = events::samples(args.events as usize);
    let (first, second) = samples.split_at(samples.len() / 2);
    println!("\nPosting {} events: singly, in batches and as CloudEvents", samples.len());
    let mut accepted = setup::post(&client, first).await?;
    println!("  {accepted} accepted; now `redact` is replaced while they are on their way");
    let swapped = setup::swap(&carriers.acme).await?;
    println!("  redact version {swapped} is active");
    accepted += setup::post(&client, second).await?;
    println!("  {accepted} accepted\n");

    let expected = samples.iter().filter(|s| s.goes_to.is_some()).count();
    let all = receiver.wait(|seen| seen.requests.values().filter(|r| r.taken > 0).count() >= expected);
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        println!(
            "Not everything arrived within {} s; the account below says what is missing.\n",
            PATIENCE.as_secs()
        );
    }
    let account = account::draw_up(&carriers, &samples, accepted, &receiver).await?;
    account.print();

    println!("\nCases close: their transcripts are mailed and put on an SFTP site, and so are pictures");
    let closing = closing::run(&client, &url, &servers).await?;
    closing.print();
    println!("\ntook {:.1} s", watch.elapsed().as_secs_f64());

    if args.keep {
        let sample = samples.iter().find(|s| s.carrier == "acme" && s.goes_to.is_some());
        hints(&url, &key, sample.map_or("acme-0", |s| s.id.as_str()));
        crate::lifecycle::StopSignals::listen()?.next().await;
    } else {
        println!("\n`hookyard demo --keep` leaves everything running and says how to look at it.");
    }
    host.stop(Duration::from_secs(10), Duration::from_secs(1), std::future::pending()).await;
    Ok(if account.adds_up() && closing.adds_up() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn hints(url: &str, key: &str, event: &str) {
    println!("\nStill running (Ctrl-C ends it and removes its data). To look at it:\n");
    println!("  export KEY={key}");
    println!("  # why one event went where it went: routings, plugin versions, deliveries, attempts");
    println!("  curl -s -H \"x-api-key: $KEY\" {url}/v1/carriers/acme/events/{event}");
    println!("  # deliveries that needed more than one attempt are among these");
    println!("  curl -s -H \"x-api-key: $KEY\" '{url}/v1/carriers/acme/deliveries?limit=5'");
    println!("  # plugins and their versions");
    println!("  curl -s -H \"x-api-key: $KEY\" {url}/v1/carriers/acme/plugins");
    println!("  # post one more event");
    println!(
        "  curl -s -H \"x-api-key: $KEY\" -H 'content-type: application/json' {url}/v1/events \\\n    -d '{{\"carrier\":\"northwind\",\"id\":\"by-hand-1\",\"type\":\"case.created\",\"payload\":{{\"caseData\":{{\"lineOfBusiness\":{{\"type\":\"auto\"}}}}}}}}'"
    );
    println!("  # the counters, and the API's description");
    println!("  curl -s {url}/metrics");
    println!("  curl -s {url}/v1/openapi.json");
}
