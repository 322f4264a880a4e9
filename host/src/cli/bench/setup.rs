//! The host under measurement: a process of its own, set up over its API as any operator would.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use serde_json::json;
use tokio::process::{Child, Command};

use crate::cli::client::{Client, Target};

/// A host in a child process, with its data in a temporary folder.
pub(super) struct BenchHost {
    pub(super) address: SocketAddr,
    pub(super) key: String,
    client: Client,
    child: Child,
    _data: tempfile::TempDir,
}

/// Starts a host on a free port and waits until it is ready.
pub(super) async fn start(database: &str, environment: &[String]) -> anyhow::Result<BenchHost> {
    let data = tempfile::tempdir().context("cannot make a temporary folder")?;
    // Free now; if somebody takes it in between, the host says so.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command
        .arg("serve")
        .env("HOOKYARD_SERVER_LISTEN", address.to_string())
        .env("HOOKYARD_STORE_DATA", data.path())
        .env("HOOKYARD_STORE_DATABASE", database)
        .env("HOOKYARD_DELIVER_ALLOW_HTTP", "true")
        .env("HOOKYARD_DELIVER_ALLOW_NETWORKS", "[\"127.0.0.0/8\"]")
        .env("HOOKYARD_LOG_LEVEL", "warn")
        .stderr(Stdio::inherit())
        .kill_on_drop(true);
    for setting in environment {
        let (name, value) = setting.split_once('=').context("--env takes NAME=VALUE")?;
        command.env(name, value);
    }
    let mut child = command.spawn().context("cannot start the host")?;
    let key = first_key(&mut child, &data.path().join("admin.key")).await?;
    let client = Client::new(&Target { url: format!("http://{address}"), key: key.clone() })?;
    for _ in 0..200 {
        if client.get("/v1/carriers").await.is_ok() {
            return Ok(BenchHost { address, key, client, child, _data: data });
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("the host did not become ready within 10 s");
}

async fn first_key(child: &mut Child, file: &Path) -> anyhow::Result<String> {
    for _ in 0..400 {
        if let Some(status) = child.try_wait()? {
            bail!("the host ended with {status}; is its database empty and reachable?");
        }
        match std::fs::read_to_string(file) {
            Ok(text) if text.ends_with('\n') => return Ok(text.trim().to_owned()),
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    bail!("the host made no admin key within 20 s; the database must be empty")
}

impl BenchHost {
    /// A carrier with one destination, and one subscription with the plugin on the way.
    pub(super) async fn carrier(&self, id: &str, sink: SocketAddr, plugin: &str) -> anyhow::Result<()> {
        let c = &self.client;
        c.post("/v1/carriers", &json!({ "id": id, "name": id })).await?;
        let destination = json!({ "kind": "http", "url": format!("http://{sink}/hook"), "concurrency": 64, "signing": "generate" });
        c.put(&format!("/v1/carriers/{id}/destinations/sink"), &destination).await?;
        let mut plugins = Vec::new();
        if plugin != "none" {
            let stock =
                crate::stock::find(plugin).with_context(|| format!("there is no stock plugin `{plugin}`"))?;
            let path = format!("/v1/carriers/{id}/plugins/{plugin}");
            let component = Bytes::from_static(stock.bytes);
            let uploaded = c
                .call(reqwest::Method::POST, &format!("{path}/versions"), "application/wasm", component)
                .await?;
            c.post(&format!("{path}/activate"), &json!({ "version": uploaded["version"] })).await?;
            plugins.push(plugin.to_owned());
        }
        let subscription = json!({ "event_types": ["*"], "plugins": plugins, "destinations": ["sink"] });
        c.put(&format!("/v1/carriers/{id}/subscriptions/main"), &subscription).await?;
        Ok(())
    }

    /// The memory that the host's process holds, in MiB.
    pub(super) fn rss_mib(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().ok()?;
        Some(kib / 1024.0)
    }

    /// Stops it as an operator would.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(pid) = rustix::process::Pid::from_raw(id)
        {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        }
        self.child.wait().await?;
        Ok(())
    }
}
