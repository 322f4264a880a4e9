//! ClamAV's scanner, run for a test with signatures of its own in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use crate::sink::PATIENCE;

/// The harmless text that every scanner is tried with (EICAR), in halves, so that this file itself is left alone.
const EICAR: [&str; 2] = ["X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-STANDARD", "-ANTIVIRUS-TEST-FILE!$H+H*"];
/// Bytes that it takes at most: its `StreamMaxLength`.
pub const STREAM_MAX: usize = 1 << 20;

/// What the scanner finds.
pub fn eicar() -> String {
    EICAR.concat()
}

/// A running scanner; killed when it is dropped.
pub struct Clamd {
    _child: Child,
}

impl Clamd {
    /// The setting `media.clamd` for a scanner in this folder.
    pub fn setting(folder: &Path) -> String {
        format!("unix:{}", socket(folder).display())
    }

    /// Starts one in this folder, and waits until it answers.
    ///
    /// # Panics
    /// When there is no `clamd`, or it does not come up.
    pub async fn start(folder: &Path) -> Self {
        let database = folder.join("signatures");
        std::fs::create_dir_all(&database).expect("a folder");
        let hex: String = eicar().bytes().map(|b| format!("{b:02x}")).collect();
        std::fs::write(database.join("test.ndb"), format!("Hookyard.Eicar:0:*:{hex}\n")).expect("signatures");
        let config = folder.join("clamd.conf");
        let text = format!(
            "Foreground yes\nDatabaseDirectory {}\nLocalSocket {}\nTemporaryDirectory {}\n\
             StreamMaxLength {STREAM_MAX}\nAlertExceedsMax yes\nMaxThreads 2\n",
            database.display(),
            socket(folder).display(),
            folder.display(),
        );
        std::fs::write(&config, text).expect("a configuration");
        // One that was killed leaves its socket.
        let _ = std::fs::remove_file(socket(folder));
        let log = std::fs::File::create(folder.join("clamd.log")).expect("a log");
        let child = Command::new(program())
            .arg("--config-file")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("clamd starts");
        let scanner = Self { _child: child };
        // It tells nobody when it is ready: it can only be asked again.
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        let up = async {
            while ping(folder).await.as_deref() != Some("PONG") {
                beat.tick().await;
            }
        };
        if tokio::time::timeout(PATIENCE, up).await.is_err() {
            let log = std::fs::read_to_string(folder.join("clamd.log")).unwrap_or_default();
            panic!("clamd did not come up:\n{log}");
        }
        scanner
    }
}

async fn ping(folder: &Path) -> Option<String> {
    let mut stream = UnixStream::connect(socket(folder)).await.ok()?;
    stream.write_all(b"nPING\n").await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    Some(answer.trim().to_owned())
}

fn socket(folder: &Path) -> PathBuf {
    folder.join("clamd.sock")
}

fn program() -> PathBuf {
    let found = ["/usr/sbin/clamd", "/usr/local/sbin/clamd", "/opt/homebrew/sbin/clamd"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!("there is no `clamd`: run the tests with `tests/run`, which installs it (Debian: apt-get install clamav-daemon)")
    })
}
