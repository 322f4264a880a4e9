//! A real mail server: Debian's Exim on free ports, with certificates and a login of its own, that puts every mail into a folder.
//!
//! It needs root, as Exim does to become its own user; `tests/run` installs it.

use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::sink::PATIENCE;
use crate::tls::Authority;

const PROGRAM: &str = "/usr/sbin/exim4";
/// Whom Debian's Exim runs as.
const USER: &str = "Debian-exim";

/// Whom it lets in.
pub const USERNAME: &str = "events";
/// What that login proves itself with.
pub const PASSWORD: &str = "relay-password-6c1f";
/// The largest message, in bytes.
pub const SIZE: usize = 1 << 20;

/// Which logins it offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logins {
    /// Both.
    Both,
    /// LOGIN alone.
    Login,
}

/// A running Exim; stopped when it is dropped.
pub struct Exim {
    /// The port of SMTP with STARTTLS.
    pub port: u16,
    /// The port of SMTP under TLS from the first byte.
    pub tls_port: u16,
    authority: Authority,
    folder: tempfile::TempDir,
    _child: Child,
}

/// A mail as it lies in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Whom this copy is for.
    pub to: String,
    /// The envelope's sender.
    pub from: String,
    /// The mail, its lines ended by CRLF again, without what the server put before it.
    pub raw: Vec<u8>,
}

impl Exim {
    /// Starts it and waits until it listens.
    pub async fn start() -> Self {
        Self::with(Logins::Both).await
    }

    /// The same with some of the logins.
    ///
    /// # Panics
    /// When it is not installed, when this is not root, or when it does not come up.
    pub async fn with(logins: Logins) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is missing (Debian: apt-get install exim4-daemon-light)"
        );
        assert!(rustix::process::geteuid().is_root(), "a mail server is started: run this test as root");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("its permissions");
        let authority = Authority::default();
        certificate(&authority, path);
        let [port, tls_port] = free_ports();
        let conf = path.join("exim.conf");
        std::fs::write(&conf, configuration(path, port, tls_port, logins)).expect("its configuration");
        for name in ["spool", "log", "mail"] {
            std::fs::create_dir(path.join(name)).expect("a folder");
        }
        let (uid, gid) = user();
        for name in ["spool", "log", "mail", "key.pem", "cert.pem"] {
            chown(path.join(name), Some(uid), Some(gid)).expect("its owner");
        }
        let mut command = Command::new(PROGRAM);
        command.arg("-C").arg(&conf).arg("-bdf").kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("it starts");
        let exim = Self { port, tls_port, authority, folder, _child: child };
        for port in [port, tls_port] {
            exim.until("it listens", || {
                std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
            })
            .await;
        }
        exim
    }

    /// The authority that vouches for its certificate, for `localhost`; PEM.
    pub fn ca(&self) -> String {
        self.authority.pem()
    }

    /// From now on mails to `grey@…` are taken; before, they are put off with 451.
    ///
    /// # Panics
    /// When its folder cannot be written.
    pub fn end_greylisting(&self) {
        std::fs::write(self.folder.path().join("open"), "").expect("a file");
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log/mainlog")).unwrap_or_default()
    }

    /// The mails that have come, when there are at least so many, in no order.
    pub async fn come(&self, count: usize) -> Vec<Delivered> {
        self.until(&format!("{count} mails"), || Some(self.mails()).filter(|mails| mails.len() >= count))
            .await
    }

    /// The mails that have come.
    ///
    /// # Panics
    /// When a file cannot be read.
    pub fn mails(&self) -> Vec<Delivered> {
        let Ok(found) = std::fs::read_dir(self.folder.path().join("mail/new")) else { return Vec::new() };
        found.map(|file| read(&std::fs::read(file.expect("a file").path()).expect("a mail"))).collect()
    }

    /// Waits for something that the server does by itself.
    async fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        // Nothing tells that another process has done something: all that one can do is to look again.
        let mut beat = tokio::time::interval(Duration::from_millis(10));
        let look = async {
            loop {
                beat.tick().await;
                if let Some(found) = look() {
                    return found;
                }
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(found) => found,
            Err(_) => panic!("waited in vain for {what}; the server's log:\n{}", self.log()),
        }
    }
}

/// Takes the server's lines before the mail off.
fn read(file: &[u8]) -> Delivered {
    let text = String::from_utf8(file.to_vec()).expect("the mail is UTF-8");
    let value = |name: &str| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap_or_else(|| panic!("{name} in {text}"));
        line.trim().trim_matches(['<', '>']).to_owned()
    };
    let (to, from) = (value("Envelope-to:"), value("Return-path:"));
    let mut lines = text.split_inclusive('\n').peekable();
    let own = ["Envelope-to:", "Return-path:", "Received:"];
    while lines
        .peek()
        .is_some_and(|line| own.iter().any(|own| line.starts_with(own)) || line.starts_with(['\t', ' ']))
    {
        lines.next();
    }
    let raw = lines.collect::<String>().replace('\n', "\r\n").into_bytes();
    Delivered { to, from, raw }
}

fn certificate(authority: &Authority, folder: &Path) {
    let (certificate, key) = authority.for_server("localhost");
    std::fs::write(folder.join("cert.pem"), certificate).expect("its certificate");
    std::fs::write(folder.join("key.pem"), key).expect("its key");
}

fn free_ports() -> [u16; 2] {
    // Both are held until both are known.
    let held = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a free port"));
    [0, 1].map(|at: usize| held[at].local_addr().expect("its address").port())
}

fn user() -> (u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("the users");
    let line = passwd.lines().find(|line| line.starts_with(&format!("{USER}:"))).expect("Exim's user");
    let ids: Vec<u32> = line.split(':').skip(2).take(2).map(|id| id.parse().expect("an id")).collect();
    (ids[0], ids[1])
}

fn configuration(folder: &Path, port: u16, tls_port: u16, logins: Logins) -> String {
    let folder: PathBuf = folder.to_owned();
    let folder = folder.display();
    let plain = if logins == Logins::Both {
        format!(
            "plain:\n driver = plaintext\n public_name = PLAIN\n server_prompts = :\n \
             server_condition = ${{if and{{{{eq{{$auth2}}{{{USERNAME}}}}}{{eq{{$auth3}}{{{PASSWORD}}}}}}}}}\n server_set_id = $auth2\n"
        )
    } else {
        String::new()
    };
    format!(
        "primary_hostname = mail.test\n\
         keep_environment =\n\
         spool_directory = {folder}/spool\n\
         log_file_path = {folder}/log/%slog\n\
         pid_file_path = {folder}/spool/exim.pid\n\
         local_interfaces = 127.0.0.1\n\
         daemon_smtp_ports = {port} : {tls_port}\n\
         tls_on_connect_ports = {tls_port}\n\
         tls_advertise_hosts = *\n\
         tls_certificate = {folder}/cert.pem\n\
         tls_privatekey = {folder}/key.pem\n\
         auth_advertise_hosts = ${{if eq{{$tls_in_cipher}}{{}}{{}}{{*}}}}\n\
         message_size_limit = {SIZE}\n\
         host_lookup =\n\
         rfc1413_hosts =\n\
         never_users =\n\
         smtp_accept_max = 0\n\
         smtp_accept_max_per_connection = 0\n\
         smtp_accept_queue_per_connection = 0\n\
         acl_smtp_mail = check_mail\n\
         acl_smtp_rcpt = check_rcpt\n\
         begin acl\n\
         check_mail:\n \
         deny message = 5.7.0 authentication required\n  !authenticated = *\n \
         accept\n\
         check_rcpt:\n \
         deny message = no such user\n  local_parts = refused\n \
         defer message = greylisted, try again\n  local_parts = grey\n  condition = ${{if exists{{{folder}/open}}{{no}}{{yes}}}}\n \
         accept\n\
         begin routers\n\
         all:\n driver = accept\n transport = file\n\
         begin transports\n\
         file:\n driver = appendfile\n directory = {folder}/mail\n maildir_format\n create_directory\n user = {USER}\n \
         envelope_to_add\n return_path_add\n\
         begin authenticators\n\
         {plain}\
         login:\n driver = plaintext\n public_name = LOGIN\n server_prompts = <| Username: | Password:\n \
         server_condition = ${{if and{{{{eq{{$auth1}}{{{USERNAME}}}}}{{eq{{$auth2}}{{{PASSWORD}}}}}}}}}\n server_set_id = $auth1\n"
    )
}
