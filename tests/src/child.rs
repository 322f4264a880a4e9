//! A host in a process of its own, which can be killed: the built binary, found beside the test's.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::client::Api;
use crate::data::Data;
use crate::sink::{Act, PATIENCE};
use crate::wasm::binary;

/// A running `hookyard serve`; killed when it is dropped.
pub struct ChildHost {
    child: Child,
    pid: Pid,
    log: Log,
    /// Ends with the log.
    logged: tokio::task::JoinHandle<()>,
    /// Speaks with the first admin key.
    pub admin: Api,
}

/// What a process has written to stderr.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<String>>);

impl Log {
    /// All of it so far.
    pub fn text(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The subcommand with these settings (`STORE_LEASE_S` for `HOOKYARD_STORE_LEASE_S`), on this folder.
pub fn command(subcommand: &str, folder: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    command
        .arg(subcommand)
        .env("HOOKYARD_STORE_DATA", folder)
        .env("HOOKYARD_SERVER_LISTEN", "127.0.0.1:0")
        .env("HOOKYARD_DELIVER_ALLOW_HTTP", "true")
        .env("HOOKYARD_DELIVER_ALLOW_NETWORKS", "[\"127.0.0.0/8\"]")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    for (name, value) in settings {
        command.env(format!("HOOKYARD_{name}"), value);
    }
    command
}

impl ChildHost {
    /// Starts a host on this data and waits until it listens.
    pub async fn start(data: &Data, settings: &[(&str, &str)]) -> Self {
        Self::in_folder(data, data.folder().to_owned(), settings).await
    }

    /// The same with another data folder: a second node on one database.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn in_folder(data: &Data, folder: PathBuf, settings: &[(&str, &str)]) -> Self {
        let mut command = command("serve", &folder, settings);
        let mut child =
            command.env("HOOKYARD_STORE_DATABASE", data.database()).spawn().expect("the binary starts");
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).expect("a process");
        let (told, mut address) = watch::channel(None);
        let log = Log::default();
        let mut lines = BufReader::new(child.stderr.take().expect("its stderr")).lines();
        let kept = log.clone();
        let logged = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((_, rest)) = line.split_once("listens on ") {
                    let url = rest.split(' ').next().unwrap_or_default().to_owned();
                    told.send_replace(Some(url));
                }
                let mut text = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        });
        let up = tokio::time::timeout(PATIENCE, address.wait_for(Option::is_some)).await;
        let Ok(Ok(url)) = up.map(|url| url.map(|url| url.clone().unwrap_or_default())) else {
            panic!("the host did not come up:\n{}", log.text());
        };
        let admin = Api::new(&url, &data.admin_key());
        Self { child, pid, log, logged, admin }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Everything that it has logged when it has ended. End it first.
    ///
    /// # Panics
    /// When it lives on.
    pub async fn log_after_the_end(mut self) -> String {
        let log = self.log.clone();
        let end = async { (self.child.wait().await, (&mut self.logged).await) };
        let (status, logged) = tokio::time::timeout(PATIENCE, end).await.expect("it ends");
        status.expect("its status");
        logged.expect("its log is read to the end");
        log.text()
    }

    /// Kills it at once, as `kill -9` does, and waits for its end.
    ///
    /// # Panics
    /// When the system refuses.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// What kills it when it is called. Wait with [`ChildHost::dead`].
    pub fn killer(&self) -> Act {
        let pid = self.pid;
        Arc::new(move || {
            // It may be dead already.
            let _ = kill_process(pid, Signal::KILL);
        })
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it lives on.
    pub async fn dead(mut self) -> ExitStatus {
        let end = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        end.expect("it ends").expect("its status")
    }

    /// Asks it to stop, as an operator does.
    pub fn terminate(&self) {
        let _ = kill_process(self.pid, Signal::TERM);
    }

    /// Asks it to stop, as Ctrl-C does.
    pub fn interrupt(&self) {
        let _ = kill_process(self.pid, Signal::INT);
    }

    /// The memory that it holds, in MiB.
    ///
    /// # Panics
    /// When the system does not tell.
    pub fn rss_mib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        let status = std::fs::read_to_string(path).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") >> 10
    }
}

impl Drop for ChildHost {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- the host's log ---\n{}", self.log.text());
        }
    }
}
