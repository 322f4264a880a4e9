//! An OpenSSH server that offers a drop folder as the README says: each carrier a user of the system, shut into its own folder. Needs
//! root; the users are removed with it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use std::io::{BufRead, BufReader, Write};

/// What `sshd` is told: the part of the README for operators, without what every installation has.
const CONFIG: &str = "AuthorizedKeysFile {keys}/%u\nSubsystem sftp internal-sftp\nPubkeyAcceptedAlgorithms \
    ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521,rsa-sha2-512,rsa-sha2-256\n\
    Match Group {group}\n    ChrootDirectory {folder}/%u\n    ForceCommand internal-sftp -R -d /files\n    \
    AuthenticationMethods publickey\n    PermitTTY no\n    DisableForwarding yes\n";

/// A server, and the users that it knows.
pub struct DropServer {
    child: Child,
    port: u16,
    /// The superuser's folder, with nothing above it that others could write.
    folder: tempfile::TempDir,
    group: String,
    users: Vec<String>,
}

impl DropServer {
    /// Makes so many users, and starts a server for them. It makes no folder of theirs: the host does.
    ///
    /// # Panics
    /// When there is no `sshd`, or the test is not run by root.
    pub fn start(users: usize) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "this test makes users of the system for a chrooted server: run it as root"
        );
        // Everything above the root of a session must be the superuser's alone, which /tmp is not.
        let folder =
            tempfile::Builder::new().prefix("hookyard-drop").tempdir_in("/srv").expect("a folder in /srv");
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).expect("its permissions");
        std::fs::create_dir_all("/run/sshd").expect("what sshd shuts itself into");
        let tag = uuid::Uuid::now_v7().simple().to_string()[22..].to_owned();
        let group = format!("hyg{tag}");
        run(Command::new("groupadd").arg(&group));
        let users: Vec<String> = (0..users).map(|number| format!("hyu{tag}{number}")).collect();
        for user in &users {
            run(Command::new("useradd")
                .args([
                    "--password",
                    "*",
                    "--no-create-home",
                    "--no-user-group",
                    "--home-dir",
                    "/nonexistent",
                ])
                .args(["--shell", "/usr/sbin/nologin", "--gid", &group, user]));
        }
        let (child, port) = Self::serve(folder.path(), &group);
        Self { child, port, folder, group, users }
    }

    fn serve(folder: &Path, group: &str) -> (Child, u16) {
        let host_key = folder.join("host_key");
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", ""]).arg("-f").arg(&host_key));
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it").port();
        let config = CONFIG
            .replace("{keys}", folder.join("keys").to_str().expect("a path"))
            .replace("{folder}", folder.join("drop").to_str().expect("a path"))
            .replace("{group}", group);
        let own = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nUsePAM no\nPidFile none\n",
            host_key.display()
        );
        let file = folder.join("sshd_config");
        std::fs::write(&file, own + &config).expect("its configuration");
        let mut child = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`sshd` is needed (Debian: apt-get install openssh-server); `tests/run` installs it");
        let mut log = BufReader::new(child.stderr.take().expect("its log"));
        let mut said = String::new();
        while !said.contains("Server listening") {
            let read = log.read_line(&mut said).expect("a line");
            assert!(read > 0, "sshd ended: {said}");
        }
        // It must not wait for its log to be read.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
        (child, port)
    }

    /// The drop folder.
    pub fn drop_folder(&self) -> PathBuf {
        self.folder.path().join("drop")
    }

    /// The folder of the keys.
    pub fn keys_folder(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    /// A user's name.
    pub fn user(&self, number: usize) -> &str {
        &self.users[number]
    }

    /// Makes a pair of keys, and gives the private one's file and the public one's text.
    pub fn key(&self, name: &str, kind: &[&str]) -> (PathBuf, String) {
        let file = self.folder.path().join(name);
        run(Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-C", "a carrier"])
            .args(kind)
            .arg("-f")
            .arg(&file));
        let public = std::fs::read_to_string(file.with_extension("pub")).expect("the public key");
        (file, public)
    }

    /// The private key's file of a pair that was made.
    pub fn private_key(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What `sftp` answers a user with this key to these commands, each of which must go well.
    ///
    /// # Panics
    /// When `sftp` is not there.
    pub fn sftp(&self, user: &str, key: &Path, commands: &str) -> Output {
        let mut child = Command::new("sftp")
            .args(["-q", "-b", "-", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-o", "LogLevel=ERROR"])
            .args(["-F", "none", "-P", &self.port.to_string(), "-i"])
            .arg(key)
            .arg(format!("{user}@127.0.0.1"))
            .env_remove("SSH_AUTH_SOCK")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`sftp` is needed (Debian: apt-get install openssh-client)");
        // It may have been refused before it reads.
        let _ = child.stdin.take().expect("its stdin").write_all(commands.as_bytes());
        child.wait_with_output().expect("its output")
    }
}

impl Drop for DropServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for user in &self.users {
            let _ = Command::new("userdel").args(["--force", user]).output();
        }
        let _ = Command::new("groupdel").arg(&self.group).output();
    }
}

/// Others make users at the same time, and the files of users have one lock: a beat later it is free.
fn run(command: &mut Command) {
    for _ in 0..100 {
        let done = command.output().unwrap_or_else(|why| panic!("{command:?}: {why}"));
        if done.status.success() {
            return;
        }
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(said.contains("lock"), "{command:?}: {said}");
        // The lock tells nobody when it is free.
        std::thread::yield_now();
    }
    panic!("{command:?}: the files of users stay locked");
}
