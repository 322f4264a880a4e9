//! From a name to a session that is logged in: the address is checked, the server's key compared, and only then is anything said
//! that proves whose the login is.
//!
//! It must not know files.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{AlgorithmKind, MethodKind, Preferred, SshId};
use tokio::net::TcpStream;
use tokio_util::io::InspectReader;

use super::fault::Fault;
use super::keys::{self, Pin};
use super::steps::Steps;
use super::target::SftpTarget;
use super::wire::WAITING;
use crate::deliver::address::{AddressPolicy, lookup};

/// How many addresses of a name are tried.
const ADDRESSES: usize = 4;
/// How many kinds of keys a server is asked for when fingerprints alone are pinned: there are ed25519, ECDSA with three curves, RSA.
const KINDS: usize = 5;
/// How much of a server's greeting is kept, in bytes.
const GREETING: usize = 1_024;
/// How many questions of a keyboard-interactive login are answered with the password.
const QUESTIONS: usize = 3;

/// What a server says of itself before the login.
#[derive(Debug, Default)]
struct Said {
    /// The first line: the version of its software.
    version: Vec<u8>,
    banner: String,
    /// The key that it has.
    key: Option<PublicKey>,
}

/// Compares the server's key with the pinned ones.
#[derive(Debug)]
pub(super) struct Watch {
    pins: Vec<Pin>,
    said: Arc<Mutex<Said>>,
}

impl client::Handler for Watch {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.key = Some(key.clone());
        Ok(self.pins.iter().any(|pin| pin.is(key)))
    }

    async fn auth_banner(&mut self, banner: &str, _: &mut client::Session) -> Result<(), russh::Error> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.banner = banner.chars().take(GREETING).collect();
        Ok(())
    }
}

/// Connects and logs in.
pub(super) async fn connect(
    target: &SftpTarget,
    policy: &AddressPolicy,
    keepalive: Duration,
    steps: &mut Steps,
) -> Result<Handle<Watch>, Fault> {
    let addresses = lookup(policy, &target.host).await.map_err(Fault::Address)?;
    let addresses: Vec<SocketAddr> = addresses
        .into_iter()
        .take(ADDRESSES)
        .map(|address| SocketAddr::new(address.ip(), target.port))
        .collect();
    let mut offered: Vec<PublicKey> = Vec::new();
    for _ in 0..KINDS {
        let seen: Vec<Algorithm> = offered.iter().map(PublicKey::algorithm).collect();
        let stream = open(&addresses, steps).await?;
        let said = Arc::<Mutex<Said>>::default();
        match shake_hands(target, stream, &seen, keepalive, &said).await {
            Ok(handle) => {
                note(&said, steps);
                return log_in(handle, target, steps, &said).await;
            }
            Err(russh::Error::UnknownKey) => {
                note(&said, steps);
                let key = said.lock().unwrap_or_else(PoisonError::into_inner).key.take();
                offered.extend(key);
                // It may have another key, and that may be the one whose fingerprint is pinned.
                if !keys::may_have_another(&target.pins) {
                    break;
                }
            }
            // It has no other kind.
            Err(russh::Error::NoCommonAlgo { kind: AlgorithmKind::Key, .. }) if !offered.is_empty() => break,
            Err(why) => return Err(Fault::Handshake(why)),
        }
    }
    let shown =
        offered.iter().map(|key| format!("{} ({})", key.fingerprint(HashAlg::Sha256), key.algorithm()));
    let pinned: Vec<String> = target.pins.iter().map(Pin::shown).collect();
    Err(Fault::HostKey { offered: shown.collect::<Vec<_>>().join(", "), pinned: pinned.join(", ") })
}

async fn open(addresses: &[SocketAddr], steps: &mut Steps) -> Result<TcpStream, Fault> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                steps.note(format_args!("connected to {address}"));
                // Without it small requests wait for each other's acknowledgement.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(why) => last = Some(Fault::Connect { address: *address, why }),
        }
    }
    Err(last.unwrap_or(Fault::Closed))
}

async fn shake_hands(
    target: &SftpTarget,
    stream: TcpStream,
    without: &[Algorithm],
    keepalive: Duration,
    said: &Arc<Mutex<Said>>,
) -> Result<Handle<Watch>, russh::Error> {
    let config = client::Config {
        client_id: SshId::Standard(concat!("SSH-2.0-Hookyard_", env!("CARGO_PKG_VERSION")).into()),
        preferred: Preferred { key: keys::kinds(&target.pins, without).into(), ..Preferred::DEFAULT },
        keepalive_interval: Some(keepalive),
        channel_buffer_size: WAITING,
        nodelay: true,
        ..client::Config::default()
    };
    let listener = said.clone();
    let stream = InspectReader::new(stream, move |bytes| {
        let mut said = listener.lock().unwrap_or_else(PoisonError::into_inner);
        if said.version.len() < GREETING && !said.version.contains(&b'\n') {
            let room = GREETING - said.version.len();
            said.version.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    });
    let watch = Watch { pins: target.pins.clone(), said: said.clone() };
    client::connect_stream(Arc::new(config), stream, watch).await
}

fn note(said: &Arc<Mutex<Said>>, steps: &mut Steps) {
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    let version = said.version.split(|b| *b == b'\n').next().unwrap_or_default();
    steps.note(format_args!("server {}", String::from_utf8_lossy(version).trim_end()));
    if let Some(key) = &said.key {
        steps.note(format_args!("host key {} ({})", key.fingerprint(HashAlg::Sha256), key.algorithm()));
    }
}

/// Proves whose the login is: by the key, by the password, or by both where the server wants both.
async fn log_in(
    mut handle: Handle<Watch>,
    target: &SftpTarget,
    steps: &mut Steps,
    said: &Arc<Mutex<Said>>,
) -> Result<Handle<Watch>, Fault> {
    let refused = |why: String| Fault::Login(format!("{}: {why}", target.username));
    let mut tried = Vec::new();
    let mut methods: Vec<MethodKind> = Vec::new();
    if let Some(key) = &target.login.key {
        let fingerprint = key.public().fingerprint(HashAlg::Sha256);
        let key = key.clone();
        // Decrypting takes a moment.
        let open = tokio::task::spawn_blocking(move || key.open()).await;
        let open = open.map_err(|why| refused(why.to_string()))?.map_err(|why| refused(why.to_string()))?;
        let hash = match handle.best_supported_rsa_hash().await {
            _ if !open.algorithm().is_rsa() => None,
            Ok(Some(Some(hash))) => Some(hash),
            // It does not say: what those without that extension have had the longest.
            Ok(None) => Some(HashAlg::Sha256),
            Ok(Some(None)) => {
                return Err(refused(
                    "the server takes RSA keys with SHA-1 alone, which is broken".to_owned(),
                ));
            }
            Err(why) => return Err(Fault::Ssh(why)),
        };
        let key = PrivateKeyWithHashAlg::new(open, hash);
        match handle.authenticate_publickey(&target.username, key).await.map_err(Fault::Ssh)? {
            AuthResult::Success => {
                steps.note(format_args!("logged in as {} with the key {fingerprint}", target.username));
                return Ok(handle);
            }
            AuthResult::Failure { remaining_methods, partial_success } => {
                tried.push(match partial_success {
                    true => format!("the key {fingerprint} was taken, and more is wanted"),
                    false => format!("the key {fingerprint} was not taken"),
                });
                methods = remaining_methods.to_vec();
            }
        }
    }
    if let Some(password) = &target.login.password {
        let known = !methods.is_empty();
        if !known || methods.contains(&MethodKind::Password) {
            let result =
                handle.authenticate_password(&target.username, password).await.map_err(Fault::Ssh)?;
            let AuthResult::Failure { remaining_methods, .. } = result else {
                steps.note(format_args!("logged in as {} with the password", target.username));
                return Ok(handle);
            };
            tried.push("the password was not taken".to_owned());
            methods = remaining_methods.to_vec();
        }
        if methods.contains(&MethodKind::KeyboardInteractive)
            && answer_questions(&mut handle, &target.username, password).await?
        {
            steps.note(format_args!("logged in as {} with the password, as an answer", target.username));
            return Ok(handle);
        }
    }
    if handle.is_closed() && methods.is_empty() {
        // What looks like a refusal is the end of the connection.
        return Err(Fault::Closed);
    }
    let words = methods.iter().map(String::from).collect::<Vec<_>>().join(", ");
    tried.push(format!("the server takes {}", if words.is_empty() { "nothing else" } else { &words }));
    let said = said.lock().unwrap_or_else(PoisonError::into_inner);
    if !said.banner.is_empty() {
        steps.note(format_args!("banner {:?}", said.banner));
    }
    Err(refused(tried.join("; ")))
}

/// Servers that ask for a password as a question.
async fn answer_questions(handle: &mut Handle<Watch>, user: &str, password: &str) -> Result<bool, Fault> {
    let mut asked = handle.authenticate_keyboard_interactive_start(user, None).await.map_err(Fault::Ssh)?;
    for _ in 0..QUESTIONS {
        match asked {
            KeyboardInteractiveAuthResponse::Success => return Ok(true),
            KeyboardInteractiveAuthResponse::Failure { .. } => return Ok(false),
            KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } => {
                // What is shown while it is typed is no password.
                let answer = |echo| if echo { String::new() } else { password.to_owned() };
                let answers = prompts.iter().map(|prompt| answer(prompt.echo)).collect();
                let next = handle.authenticate_keyboard_interactive_respond(answers).await;
                asked = next.map_err(Fault::Ssh)?;
            }
        }
    }
    Ok(matches!(asked, KeyboardInteractiveAuthResponse::Success))
}
