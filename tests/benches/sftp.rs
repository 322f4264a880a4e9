//! 1 000 small files to one destination over one session, against OpenSSH's `sftp -b` that puts the same files to the same
//! server. They take turns, so that a machine that slows down slows down both; each round gives a ratio, and their median counts.
//! Both times begin before the connection and end with the last answer.
//!
//! `cargo bench -p hookyard-tests --bench sftp`. Once as `sftp` does it, without waiting for the disk, and once with that (`sftp -f`).

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use hookyard::carrier::destination::{DestinationSecrets, DestinationSpec};
use hookyard::carrier::{DestinationKind, Login, SftpSpec};
use hookyard::clock::{Clock, Stopwatch};
use hookyard::deliver::sftp::SftpLimits;
use hookyard::deliver::{AddressPolicy, Sender, SenderParts, Target};
use hookyard::event::{Event, delivery_id};
use hookyard::retry::Outcome;
use hookyard::store::work::{Body, HeldDelivery, Message};
use hookyard_tests::sshd::{KeyPair, Sshd, run};
use tokio::process::Command;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const FILES: usize = 1_000;
const BYTES: usize = 1_024;
/// Odd, so that the median is one of them.
const ROUNDS: usize = 9;
/// As many as a lane sends at once.
const CONCURRENCY: usize = 10;

struct Bed {
    sshd: Sshd,
    folder: tempfile::TempDir,
    target: Target,
    policy: AddressPolicy,
}

fn main() {
    // What `cargo bench` passes on is not for us.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let bed = Bed::make().await;
        println!("{FILES} files of {BYTES} bytes, median of {ROUNDS} rounds that take turns (least to most)");
        for fsync in [false, true] {
            bed.compare(fsync).await;
        }
    });
}

impl Bed {
    async fn make() -> Self {
        let sshd = Sshd::start().await;
        let key = KeyPair::make("ed25519", "").await;
        sshd.authorize(&key.public);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, &key.private).unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        for n in 0..FILES {
            std::fs::write(folder.path().join(format!("{n}.json")), vec![b'x'; BYTES]).unwrap();
        }
        let sftp = SftpSpec {
            host: Some("127.0.0.1".to_owned()),
            port: Some(sshd.port()),
            username: Some(sshd.user().to_owned()),
            host_keys: vec![sshd.host_key(0).await.fingerprint],
            ..SftpSpec::default()
        };
        let spec = DestinationSpec { sftp: Some(sftp), ..DestinationSpec::of(DestinationKind::Sftp) };
        let login = Login { private_key: Some(key.private), ..Login::default() };
        let secrets = DestinationSecrets { login: Some(login), ..DestinationSecrets::default() };
        let policy =
            AddressPolicy { allow_http: false, allowed_networks: vec!["127.0.0.0/8".parse().unwrap()] };
        let (carrier, name) = ("acme".parse().unwrap(), "files".parse().unwrap());
        let target = Target::compile(carrier, name, &spec, &secrets, &policy).unwrap();
        Self { sshd, folder, target, policy }
    }

    async fn compare(&self, fsync: bool) {
        let mut ratios = Vec::with_capacity(ROUNDS);
        let (mut own, mut other) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let (hookyard, sftp) = (self.hookyard(round, fsync).await, self.sftp(round, fsync).await);
            // The first warms both up.
            if round > 0 {
                ratios.push(hookyard / sftp);
                own.push(hookyard);
                other.push(sftp);
            }
        }
        let what = if fsync { "with fsync, hookyard / sftp -f" } else { "without, hookyard / sftp" };
        for list in [&mut ratios, &mut own, &mut other] {
            list.sort_by(f64::total_cmp);
        }
        let middle = ROUNDS / 2;
        println!(
            "{what:<32} {:.2} ({:.2} to {:.2}); {:.2} s and {:.2} s",
            ratios[middle],
            ratios[0],
            ratios[ROUNDS - 1],
            own[middle],
            other[middle]
        );
    }

    async fn hookyard(&self, round: usize, fsync: bool) -> f64 {
        let limits = SftpLimits { fsync, ..SftpLimits::default() };
        let parts = SenderParts { sftp: limits, ..SenderParts::default() };
        let sender = Sender::with(&self.policy, parts).unwrap();
        let now = Clock::system().now();
        let deliveries: Vec<_> =
            (0..FILES).map(|n| delivery(&format!("h-{fsync}-{round}/{n}.json"))).collect();
        let watch = Stopwatch::start();
        let sent =
            stream::iter(&deliveries).map(|d| sender.attempt(&self.target, d, Duration::from_secs(60), now));
        let reports: Vec<_> = sent.buffer_unordered(CONCURRENCY).collect().await;
        let took = watch.elapsed().as_secs_f64();
        assert!(reports.iter().all(|report| report.outcome == Outcome::Delivered), "{:?}", reports[0]);
        sender.close().await;
        self.all_there(&format!("h-{fsync}-{round}"));
        took
    }

    async fn sftp(&self, round: usize, fsync: bool) -> f64 {
        let name = format!("s-{fsync}-{round}");
        std::fs::create_dir(self.sshd.home().join(&name)).unwrap();
        let batch = self.folder.path().join("batch");
        let from = self.folder.path().display();
        let lines: String = (0..FILES).map(|n| format!("put {from}/{n}.json {name}/{n}.json\n")).collect();
        std::fs::write(&batch, lines).unwrap();
        let mut command = Command::new("sftp");
        command.args([
            "-q",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "LogLevel=ERROR",
        ]);
        command.arg("-i").arg(self.folder.path().join("key")).arg("-P").arg(self.sshd.port().to_string());
        if fsync {
            command.arg("-f");
        }
        command.arg("-b").arg(&batch).arg(format!("{}@127.0.0.1", self.sshd.user()));
        let watch = Stopwatch::start();
        run(&mut command).await;
        let took = watch.elapsed().as_secs_f64();
        self.all_there(&name);
        took
    }

    fn all_there(&self, name: &str) {
        let folder: &Path = &self.sshd.home().join(name);
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), FILES);
        std::fs::remove_dir_all(folder).unwrap();
    }
}

fn delivery(path: &str) -> HeldDelivery {
    let now = Clock::system().now();
    let event = Event {
        carrier: "acme".parse().unwrap(),
        id: path.replace('/', "-").parse().unwrap(),
        event_type: "case.closed".parse().unwrap(),
        received: now,
        attributes: [].into(),
        payload: "{}".into(),
    };
    let subscription = "main".parse().unwrap();
    HeldDelivery {
        id: delivery_id(&event, &subscription, 0),
        event: Arc::new(event),
        subscription,
        destination: "files".parse().unwrap(),
        message: Message::Sftp { path: path.to_owned() },
        body: Body::Bytes(vec![b'x'; BYTES].into()),
        attempts: 0,
        due: now,
    }
}
