//! A real OpenSSH server: its own host keys, a free port of the loopback, a folder for what it takes.
//!
//! It runs as whoever runs the test. As root it can also have users of its own, with passwords; they are removed with it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::sink::PATIENCE;

/// How a server is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// The kinds of its host keys, as `ssh-keygen -t` takes them; `ed25519` when there are none.
    pub host_keys: Vec<&'static str>,
    /// A program that stands for SFTP, in place of OpenSSH's own.
    pub subsystem: Option<String>,
    /// Options of OpenSSH's SFTP server, such as `-P hardlink`.
    pub sftp_options: String,
    /// Further lines of its configuration.
    pub lines: Vec<String>,
    /// Whether it has a user of its own who logs in with [`Sshd::PASSWORD`]. Needs root.
    pub user: bool,
}

/// A running server; ended when it is dropped.
#[derive(Debug)]
pub struct Sshd {
    child: Child,
    port: u16,
    folder: tempfile::TempDir,
    user: String,
    own_user: bool,
    log: Arc<Mutex<String>>,
    lines: watch::Receiver<usize>,
}

/// A pair of keys as `ssh-keygen` makes them.
#[derive(Debug, Clone)]
pub struct KeyPair {
    /// The private key's text.
    pub private: String,
    /// The line for `authorized_keys`.
    pub public: String,
    /// `SHA256:…`
    pub fingerprint: String,
}

impl KeyPair {
    /// Makes one of a kind (`ed25519`, `ecdsa`, `rsa`, with `-b` after it where that matters).
    ///
    /// # Panics
    /// When `ssh-keygen` is missing or refuses.
    pub async fn make(kind: &str, passphrase: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        let mut words = kind.split(' ');
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-C", "made for a test", "-N", passphrase, "-t"]).args(&mut words);
        run(command.arg("-f").arg(&file)).await;
        Self::read(&file).await
    }

    async fn read(file: &Path) -> Self {
        let text = |path: PathBuf| std::fs::read_to_string(path).expect("a key");
        let shown = run(Command::new("ssh-keygen").arg("-lf").arg(file.with_extension("pub"))).await;
        let fingerprint = shown.split(' ').nth(1).expect("a fingerprint").to_owned();
        Self {
            private: text(file.to_owned()),
            public: text(file.with_extension("pub")).trim().to_owned(),
            fingerprint,
        }
    }
}

/// Runs a program to its end and gives what it wrote.
///
/// # Panics
/// When it is missing, or fails.
pub async fn run(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output().await;
    let done = done.unwrap_or_else(|why| {
        panic!("{command:?}: {why}; it comes with Debian's openssh-server and openssh-client")
    });
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Sshd {
    /// The password of its own user.
    pub const PASSWORD: &'static str = "a-password-of-sshd-62c1";

    /// Starts one with an ed25519 key, for whoever runs the test.
    pub async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// Starts one.
    ///
    /// # Panics
    /// When `sshd` is missing, does not come up, or a user is asked for without root.
    pub async fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        std::fs::create_dir(&home).expect("a folder");
        let program =
            ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|path| Path::new(path).exists());
        let program =
            program.expect("these tests need an SSH server (Debian: apt-get install openssh-server)");
        if is_root() {
            // Where it puts the part of itself that speaks to strangers.
            std::fs::create_dir_all("/run/sshd").expect("root may");
        }
        let kinds = if setup.host_keys.is_empty() { vec!["ed25519"] } else { setup.host_keys };
        let mut config = String::new();
        for (at, kind) in kinds.iter().enumerate() {
            let pair = KeyPair::make(kind, "").await;
            let file = folder.path().join(format!("host-{at}"));
            std::fs::write(&file, &pair.private).expect("a file");
            std::fs::write(file.with_extension("pub"), &pair.public).expect("a file");
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .expect("its own");
            config.push_str(&format!("HostKey {}\n", file.display()));
        }
        let user = if setup.user { make_user(&home).await } else { whoami().await };
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("its own");
        let keys = folder.path().join("authorized_keys");
        std::fs::write(&keys, "").expect("a file");
        let options = &setup.sftp_options;
        let sftp = setup.subsystem.unwrap_or(format!("internal-sftp -d {} {options}", home.display()));
        config.push_str(&format!(
            "ListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             AuthorizedKeysFile {}\nPasswordAuthentication {}\nKbdInteractiveAuthentication no\n\
             Subsystem sftp {sftp}\nLogLevel VERBOSE\nMaxStartups 200\nUseDNS no\n{}\n",
            keys.display(),
            if setup.user { "yes" } else { "no" },
            setup.lines.join("\n")
        ));
        let file = folder.path().join("sshd_config");
        std::fs::write(&file, config).expect("a file");
        let (child, port, log, lines) = launch(program, &file).await;
        Self { child, port, folder, user, own_user: setup.user, log, lines }
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whom to log in as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The folder in which logins begin.
    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// The public half of its host key with this number, and the fingerprint.
    pub async fn host_key(&self, number: usize) -> KeyPair {
        KeyPair::read(&self.folder.path().join(format!("host-{number}"))).await
    }

    /// Lets a key in.
    ///
    /// # Panics
    /// When the file cannot be written.
    pub fn authorize(&self, public: &str) {
        use std::io::Write;
        let file = std::fs::OpenOptions::new().append(true).open(self.folder.path().join("authorized_keys"));
        writeln!(file.expect("the file"), "{public}").expect("a line");
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many logins it has let in.
    pub fn logins(&self) -> usize {
        ["Accepted publickey for ", "Accepted password for "]
            .iter()
            .map(|one| self.log().matches(one).count())
            .sum()
    }

    /// Waits until its log is as wanted.
    ///
    /// # Panics
    /// When it is not after [`PATIENCE`].
    pub async fn logged(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let mut lines = self.lines.clone();
        let wait = async { lines.wait_for(|_| wanted(&self.log())).await.map(drop) };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(matches!(waited, Ok(Ok(()))), "waited in vain for {what}:\n{}", self.log());
    }

    /// All files below the folder of logins with their contents' length, hidden ones included, by their path there.
    ///
    /// # Panics
    /// When a folder cannot be read.
    pub fn files(&self) -> Vec<(String, u64)> {
        let mut found = Vec::new();
        let mut folders = vec![self.home()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                // What is renamed just now is seen the next time.
                let Ok(metadata) = path.symlink_metadata() else { continue };
                if metadata.is_dir() {
                    folders.push(path);
                } else {
                    let name = path.strip_prefix(self.home()).expect("below").display().to_string();
                    found.push((name, metadata.len()));
                }
            }
        }
        found.sort();
        found
    }

    /// The names of the files that are not hidden.
    pub fn names(&self) -> Vec<String> {
        let hidden = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with('.'));
        self.files().into_iter().map(|(name, _)| name).filter(|name| !hidden(name)).collect()
    }

    /// The contents of a file.
    ///
    /// # Panics
    /// When it is not there.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let path = self.home().join(name);
        std::fs::read(&path)
            .unwrap_or_else(|why| panic!("{}: {why}; there are {:?}", path.display(), self.files()))
    }

    /// Ends it with all of its connections.
    ///
    /// # Panics
    /// When the system refuses.
    pub async fn end(&mut self) {
        self.child.kill().await.expect("it can be ended");
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if self.own_user {
            // It may have processes that still end.
            let _ = std::process::Command::new("userdel").args(["-f", &self.user]).output();
        }
    }
}

async fn whoami() -> String {
    run(Command::new("id").arg("-un")).await.trim().to_owned()
}

/// A user of the server's own, with the password.
async fn make_user(home: &Path) -> String {
    assert!(is_root(), "this test makes a user of the system's: run it as root");
    let id = uuid::Uuid::now_v7().simple().to_string();
    let user = format!("hookyard-{}", &id[id.len() - 8..]);
    let hash = run(Command::new("openssl").args(["passwd", "-6", Sshd::PASSWORD])).await;
    // Others make theirs at the same time, and the system's list has one lock that nobody waits for.
    let mut beat = tokio::time::interval(std::time::Duration::from_millis(50));
    let making = async {
        loop {
            beat.tick().await;
            let mut command = Command::new("useradd");
            command.args(["-M", "-N", "-s", "/bin/sh", "-p", hash.trim(), "-d"]).arg(home).arg(&user);
            let done = command.output().await.expect("useradd");
            if done.status.success() {
                return;
            }
            let said = String::from_utf8_lossy(&done.stderr).into_owned();
            assert!(said.contains("lock"), "{said}");
        }
    };
    tokio::time::timeout(PATIENCE, making).await.expect("the user is made");
    run(Command::new("chown").arg(&user).arg(home)).await;
    user
}

type Launched = (Child, u16, Arc<Mutex<String>>, watch::Receiver<usize>);

/// Starts it on a free port. Between finding one and taking it another may have taken it; then there is another.
async fn launch(program: &str, config: &Path) -> Launched {
    for _ in 0..20 {
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            free.local_addr().expect("an address").port()
        };
        let mut command = Command::new(program);
        command.args(["-D", "-e", "-p", &port.to_string(), "-f"]).arg(config);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("sshd starts");
        let (log, (count, lines)) = (Arc::<Mutex<String>>::default(), watch::channel(0));
        let mut stderr = BufReader::new(child.stderr.take().expect("its stderr")).lines();
        let kept = log.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = stderr.next_line().await {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push_str(&format!("{line}\n"));
                count.send_modify(|count| *count += 1);
            }
        });
        let text = || log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut seen = lines.clone();
        let up = seen.wait_for(|_| text().contains("Server listening on"));
        if matches!(tokio::time::timeout(PATIENCE, up).await, Ok(Ok(_))) {
            return (child, port, log, lines);
        }
        assert!(text().contains("Cannot bind") || text().contains("Address already in use"), "{}", text());
    }
    panic!("no free port for sshd");
}
