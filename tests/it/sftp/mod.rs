//! Files to a real OpenSSH server, and what is there afterwards.

mod faults;
mod files;
mod host;
mod keys;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookyard::carrier::destination::{DestinationSecrets, DestinationSpec};
use hookyard::carrier::{DestinationKind, Login, SftpSpec};
use hookyard::clock::Clock;
use hookyard::deliver::sftp::SftpLimits;
use hookyard::deliver::{AddressPolicy, Report, Sender, SenderParts, Target, TargetError};
use hookyard::event::{Event, delivery_id};
use hookyard::retry::Outcome;
use hookyard::store::work::{Body, HeldDelivery, Message};
use hookyard_tests::sshd::{KeyPair, Setup, Sshd};

/// As long as no test waits for it.
const LONG: Duration = Duration::from_secs(20);

fn loopback() -> AddressPolicy {
    AddressPolicy { allow_http: true, allowed_networks: vec!["127.0.0.0/8".parse().unwrap()] }
}

/// A server, a key that it lets in, and who sends there.
struct Bed {
    sshd: Sshd,
    key: KeyPair,
    sender: Sender,
    spec: SftpSpec,
    login: Login,
}

impl Bed {
    async fn make() -> Self {
        Self::with(Setup::default(), SftpLimits::default()).await
    }

    async fn with(setup: Setup, limits: SftpLimits) -> Self {
        let sshd = Sshd::with(setup).await;
        let key = KeyPair::make("ed25519", "").await;
        sshd.authorize(&key.public);
        let spec = SftpSpec {
            host: Some("127.0.0.1".to_owned()),
            port: Some(sshd.port()),
            username: Some(sshd.user().to_owned()),
            host_keys: vec![sshd.host_key(0).await.fingerprint],
            ..SftpSpec::default()
        };
        let login = Login { private_key: Some(key.private.clone()), ..Login::default() };
        let parts = SenderParts { sftp: limits, ..SenderParts::default() };
        Self { sshd, key, sender: Sender::with(&loopback(), parts).unwrap(), spec, login }
    }

    fn compile(&self) -> Result<Target, TargetError> {
        let (spec, secrets) = self.described();
        Target::check(&spec, &secrets, &loopback())?;
        let (carrier, name) = ("acme".parse().unwrap(), "files".parse().unwrap());
        Target::compile(carrier, name, &spec, &secrets, &loopback())
    }

    fn described(&self) -> (DestinationSpec, DestinationSecrets) {
        let spec =
            DestinationSpec { sftp: Some(self.spec.clone()), ..DestinationSpec::of(DestinationKind::Sftp) };
        (spec, DestinationSecrets { login: Some(self.login.clone()), ..DestinationSecrets::default() })
    }

    async fn send(&self, d: &HeldDelivery) -> Report {
        self.within(d, LONG).await
    }

    async fn within(&self, d: &HeldDelivery, timeout: Duration) -> Report {
        self.sender.attempt(&self.compile().unwrap(), d, timeout, Clock::system().now()).await
    }

    async fn delivered(&self, d: &HeldDelivery) -> Report {
        let report = self.send(d).await;
        assert_eq!(report.outcome, Outcome::Delivered, "{:?}\n{}", report.error, said(&report));
        report
    }
}

/// The steps of an attempt.
fn said(report: &Report) -> String {
    String::from_utf8_lossy(report.response_body.as_deref().unwrap_or_default()).into_owned()
}

/// A file of a plugin's naming; `event` tells deliveries apart.
fn file(event: &str, path: &str, content: impl Into<Bytes>) -> HeldDelivery {
    delivery(event, Message::Sftp { path: path.to_owned() }, Body::Bytes(content.into()))
}

fn delivery(event: &str, message: Message, body: Body) -> HeldDelivery {
    let payload = serde_json::json!({ "id": "4e7d1c92-58ab", "referenceId": "NB/48213", "brand": "Nørd" });
    let event = Event {
        carrier: "acme".parse().unwrap(),
        id: event.parse().unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: hookyard_tests::host::T0,
        attributes: [].into(),
        payload: payload.to_string().into(),
    };
    let subscription = "main".parse().unwrap();
    HeldDelivery {
        id: delivery_id(&event, &subscription, 0),
        event: Arc::new(event),
        subscription,
        destination: "files".parse().unwrap(),
        message,
        body,
        attempts: 0,
        due: hookyard_tests::host::T0,
    }
}

/// Bytes that are nowhere alike.
fn noise(length: usize) -> Bytes {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        bytes.extend_from_slice(&next());
    }
    bytes.truncate(length);
    bytes.into()
}
