use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::carrier::destination::DestinationSecrets;
use crate::carrier::{DestinationKind, DestinationSpec, DropKey, Existing, SftpSpec};
use crate::deliver::AddressPolicy;
use crate::event::{Event, time_ordered};
use crate::pgp::tests::{public_text, secret_key};
use crate::store::work::Body;

const NOW: Millis = Millis(1_795_343_400_123);
const TIMEOUT: Duration = Duration::from_secs(60);

struct Bench {
    folder: tempfile::TempDir,
    drop: DropFolder,
}

impl Bench {
    fn new() -> Self {
        Self::with(Share { bytes: 1 << 20, files: 100 })
    }

    fn with(share: Share) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = DropSettings {
            folder: folder.path().join("drop"),
            keys: folder.path().join("keys"),
            share,
            keep: Duration::from_secs(86_400),
        };
        Self { drop: DropFolder::open(settings).unwrap(), folder }
    }

    fn files(&self) -> std::path::PathBuf {
        self.folder.path().join("drop/acme/files")
    }

    async fn put(&self, sftp: SftpSpec, pgp: &[String], d: &HeldDelivery) -> Tried {
        let target = target(sftp, pgp);
        let super::super::target::Way::Drop(place) = &target.way else { panic!("{target:?}") };
        self.drop.attempt(&target, place, d, &Contents::default(), TIMEOUT, NOW).await
    }

    /// Puts a file by its path, and gives where it came to.
    async fn path(&self, existing: Existing, d: &HeldDelivery) -> Result<String, Outcome> {
        let tried = self.put(SftpSpec { existing, ..SftpSpec::default() }, &[], d).await;
        match tried.outcome {
            Outcome::Delivered => {
                let answer: serde_json::Value =
                    serde_json::from_slice(&tried.response_body.unwrap()).unwrap();
                Ok(answer["path"].as_str().unwrap().to_owned())
            }
            other => Err(other),
        }
    }

    async fn names(&self) -> Vec<String> {
        let list = self.drop.list(&acme(), None, 1_000).await.unwrap();
        list.into_iter().map(|file| file.path).collect()
    }

    fn unfinished(&self) -> usize {
        std::fs::read_dir(self.files().join(".incoming")).map_or(0, Iterator::count)
    }
}

fn acme() -> CarrierId {
    "acme".parse().unwrap()
}

fn target(sftp: SftpSpec, pgp: &[String]) -> Target {
    let spec = DestinationSpec {
        sftp: Some(SftpSpec { hosted: true, ..sftp }),
        pgp_keys: pgp.to_vec(),
        ..DestinationSpec::of(DestinationKind::Sftp)
    };
    let secrets = DestinationSecrets::default();
    Target::check(&spec, &secrets, &AddressPolicy::default()).unwrap();
    Target::compile(acme(), "box".parse().unwrap(), &spec, &secrets, &AddressPolicy::default()).unwrap()
}

fn delivery(number: u8, message: Message, content: &[u8]) -> HeldDelivery {
    HeldDelivery {
        event: Arc::new(Event {
            carrier: acme(),
            id: "e".parse().unwrap(),
            event_type: "case.closed".parse().unwrap(),
            received: NOW,
            attributes: Default::default(),
            payload: Bytes::from_static(
                br#"{"caseData":{"id":"4e7d1c92-58ab","brand":"../A"},"referenceId":"NB-1"}"#,
            ),
        }),
        subscription: "main".parse().unwrap(),
        id: time_ordered(Millis(0), [number; 10]).into(),
        destination: "box".parse().unwrap(),
        message,
        body: Body::Bytes(Bytes::copy_from_slice(content)),
        attempts: 0,
        due: Millis(0),
    }
}

fn file(number: u8, path: &str) -> HeldDelivery {
    delivery(number, Message::Sftp { path: path.to_owned() }, &[number; 10])
}

#[tokio::test]
async fn a_file_has_its_name_time_and_permissions_and_a_repeat_changes_nothing() {
    let bench = Bench::new();
    let spec = || SftpSpec {
        folder: Some("out".to_owned()),
        file_name: Some("${caseData.brand}/${referenceId}_${partialId}.txt".to_owned()),
        mode: Some("0664".to_owned()),
        ..SftpSpec::default()
    };
    let d = delivery(1, Message::Forward, b"Claim\n");
    let tried = bench.put(spec(), &[], &d).await;
    assert_eq!((tried.outcome, tried.error), (Outcome::Delivered, None));
    let path = bench.files().join("out/_A/NB-1_4e7d1c92-.txt");
    assert_eq!(std::fs::read(&path).unwrap(), b"Claim\n");
    let there = path.metadata().unwrap();
    assert_eq!((there.permissions().mode() & 0o7777, there.mtime()), (0o664, NOW.0 / 1_000));
    let answer = String::from_utf8(tried.response_body.unwrap().to_vec()).unwrap();
    assert!(
        answer.contains(r#""path":"out/_A/NB-1_4e7d1c92-.txt""#) && answer.contains("sha256"),
        "{answer}"
    );
    assert_eq!(bench.unfinished(), 0);

    // A process that was killed has left something behind.
    let unfinished = bench.files().join(".incoming").join(format!("{}.0123", d.id));
    std::fs::write(unfinished, "Cla").unwrap();
    let again = bench.put(spec(), &[], &d).await;
    assert_eq!((again.outcome, bench.unfinished()), (Outcome::Delivered, 0));
    assert!(String::from_utf8_lossy(&again.response_body.unwrap()).contains(r#""already_there":true"#));
    assert_eq!(bench.names().await, ["out/_A/NB-1_4e7d1c92-.txt"]);
    assert_eq!(path.metadata().unwrap().ino(), there.ino());
    let usage = bench.drop.usage(&acme()).await.unwrap();
    assert_eq!(usage, Usage { bytes: 6, files: 1 });
}

#[tokio::test]
async fn a_name_that_is_taken_is_numbered_replaced_or_an_error() {
    let bench = Bench::new();
    for (number, path) in [(1, "a/x.pdf"), (2, "a/x-2.pdf"), (3, "a/x-3.pdf"), (2, "a/x-2.pdf")] {
        assert_eq!(bench.path(Existing::Number, &file(number, "a/x.pdf")).await.unwrap(), path);
    }
    assert!(matches!(bench.path(Existing::Error, &file(4, "a/x.pdf")).await, Err(Outcome::Rejected(_))));
    assert_eq!(bench.path(Existing::Replace, &file(5, "a/x-3.pdf")).await.unwrap(), "a/x-3.pdf");
    assert_eq!(std::fs::read(bench.files().join("a/x-3.pdf")).unwrap(), [5; 10]);
    assert_eq!(bench.names().await, ["a/x-2.pdf", "a/x-3.pdf", "a/x.pdf"]);
    assert_eq!(bench.drop.usage(&acme()).await.unwrap(), Usage { bytes: 30, files: 3 });
    // A folder has the name.
    assert!(matches!(bench.path(Existing::Replace, &file(6, "a")).await, Err(Outcome::Rejected(_))));
    assert_eq!(bench.path(Existing::Number, &file(6, "a")).await.unwrap(), "a-2");
    assert_eq!(bench.unfinished(), 0);

    // Many at once for one name.
    let all = (10..30).map(|number| {
        let drop = bench.drop.clone();
        tokio::spawn(async move {
            let target = target(SftpSpec::default(), &[]);
            let super::super::target::Way::Drop(place) = &target.way else { panic!("{target:?}") };
            let d = file(number, "many.txt");
            drop.attempt(&target, place, &d, &Contents::default(), TIMEOUT, NOW).await.outcome
        })
    });
    for one in all.collect::<Vec<_>>() {
        assert_eq!(one.await.unwrap(), Outcome::Delivered);
    }
    let many = bench.names().await.into_iter().filter(|name| name.starts_with("many")).count();
    assert_eq!((many, bench.unfinished()), (20, 0));
}

#[tokio::test]
async fn nothing_leads_out_of_the_folder() {
    let bench = Bench::new();
    let outside = tempfile::tempdir().unwrap();
    for path in ["../x", "/x", "a/../../x", ".incoming/x", "a/.x", "a//x", "x\0"] {
        let outcome = bench.path(Existing::Number, &file(1, path)).await.unwrap_err();
        assert!(matches!(outcome, Outcome::Unavailable(_)), "{path}: {outcome:?}");
    }
    bench.path(Existing::Number, &file(1, "good/x")).await.unwrap();
    symlink(outside.path(), bench.files().join("evil")).unwrap();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, "mine").unwrap();
    symlink(&secret, bench.files().join("link.txt")).unwrap();
    for existing in [Existing::Number, Existing::Replace, Existing::Error] {
        let outcome = bench.path(existing, &file(2, "evil/x")).await.unwrap_err();
        assert!(
            matches!(&outcome, Outcome::Remote(why) if why.contains("\"evil\" is not a folder")),
            "{outcome:?}"
        );
        let outcome = bench.path(existing, &file(3, "evil/deep/x")).await.unwrap_err();
        assert!(matches!(outcome, Outcome::Remote(_)), "{outcome:?}");
    }
    // A link at the end of the path is neither followed nor replaced.
    assert!(matches!(bench.path(Existing::Replace, &file(4, "link.txt")).await, Err(Outcome::Rejected(_))));
    assert_eq!(bench.path(Existing::Number, &file(4, "link.txt")).await.unwrap(), "link-2.txt");
    assert_eq!(bench.names().await, ["good/x", "link-2.txt"]);
    assert!(!bench.drop.delete(&acme(), "evil/secret").await.unwrap());
    assert!(!bench.drop.delete(&acme(), "link.txt").await.unwrap());
    assert!(matches!(bench.drop.delete(&acme(), "../acme/files/good/x").await, Err(DropError::Path(_))));
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(std::fs::read(&secret).unwrap(), b"mine");

    // The carrier's own top is a link: nothing is written through it.
    let other = Bench::new();
    std::fs::create_dir(other.folder.path().join("drop/acme")).unwrap();
    symlink(outside.path(), other.files()).unwrap();
    assert!(matches!(other.path(Existing::Number, &file(1, "x")).await, Err(Outcome::Remote(_))));
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_share_that_is_full_says_its_limit_and_has_room_again_after_a_deletion() {
    let bench = Bench::with(Share { bytes: 25, files: 3 });
    for number in [1, 2] {
        bench.path(Existing::Number, &file(number, &format!("{number}/x"))).await.unwrap();
    }
    let outcome = bench.path(Existing::Number, &file(3, "3/x")).await.unwrap_err();
    assert!(
        matches!(&outcome, Outcome::Remote(why) if why.contains("`drop.carrier_bytes` is 25")),
        "{outcome:?}"
    );
    assert_eq!(bench.unfinished(), 0, "what did not fit is gone");
    let small = delivery(4, Message::Sftp { path: "4".to_owned() }, b"12345");
    bench.path(Existing::Number, &small).await.unwrap();
    let empty = delivery(5, Message::Sftp { path: "5".to_owned() }, b"");
    let outcome = bench.path(Existing::Number, &empty).await.unwrap_err();
    assert!(
        matches!(&outcome, Outcome::Remote(why) if why.contains("`drop.carrier_files` is 3")),
        "{outcome:?}"
    );
    assert!(bench.drop.delete(&acme(), "1/x").await.unwrap());
    assert!(!bench.drop.delete(&acme(), "1/x").await.unwrap());
    assert!(!bench.files().join("1").exists(), "the folder went with its last file");
    bench.path(Existing::Number, &file(3, "3/x")).await.unwrap();
    // Another host that finds the same folder counts the same.
    let fresh = DropFolder::open(bench.drop.0.settings.clone()).unwrap();
    assert_eq!(fresh.usage(&acme()).await.unwrap(), Usage { bytes: 25, files: 3 });
}

#[tokio::test]
async fn files_go_when_their_days_are_over_and_pages_cover_the_others() {
    let bench = Bench::with(Share { bytes: 1 << 20, files: 2_000 });
    for number in 0..12 {
        bench.path(Existing::Number, &file(number, &format!("{}/{number:02}", number % 3))).await.unwrap();
    }
    let mut seen = Vec::new();
    loop {
        let page = bench.drop.list(&acme(), seen.last().cloned(), 5).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|file| file.path));
    }
    assert_eq!(seen.len(), 12);
    assert!(seen.is_sorted());

    // What a killed attempt leaves, and one that is under way.
    let incoming = bench.files().join(".incoming");
    for (name, at) in [("old", NOW.0 - 25 * 3_600_000), ("new", NOW.0)] {
        let file = std::fs::File::create(incoming.join(name)).unwrap();
        let at = std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(at).unwrap());
        file.set_modified(at).unwrap();
    }
    assert_eq!(bench.drop.clear_up(NOW).await.unwrap(), 0);
    assert_eq!(bench.unfinished(), 1);
    assert_eq!(bench.names().await.len(), 12);
    assert_eq!(bench.drop.clear_up(NOW.plus(Duration::from_secs(86_400))).await.unwrap(), 0, "to the day");
    assert_eq!(bench.drop.clear_up(NOW.plus(Duration::from_secs(86_401))).await.unwrap(), 12);
    assert_eq!((bench.names().await.len(), bench.drop.usage(&acme()).await.unwrap()), (0, Usage::default()));
    assert!(!bench.files().join("0").exists());

    // More than a batch of them.
    for number in 0..walk::BATCH + 10 {
        std::fs::write(bench.files().join(number.to_string()), "").unwrap();
    }
    let far = Millis(i64::MAX / 4);
    assert_eq!(bench.drop.clear_up(far).await.unwrap(), walk::BATCH + 10);
}

#[tokio::test]
async fn what_is_encrypted_says_so_in_its_name_and_opens() {
    let bench = Bench::new();
    let key = secret_key(pgp::types::KeyVersion::V4, true);
    let d = file(1, "claim.json");
    let tried = bench.put(SftpSpec::default(), &[public_text(&key)], &d).await;
    assert_eq!((tried.outcome, tried.error), (Outcome::Delivered, None));
    assert!(tried.request.contains(r#""path":"claim.json.pgp""#), "{}", tried.request);
    let fingerprint = pgp::types::KeyDetails::fingerprint(&key.to_public_key());
    assert!(tried.request.contains(&format!("{fingerprint:X}")), "{}", tried.request);
    let message = std::fs::read(bench.files().join("claim.json.pgp")).unwrap();
    let message = pgp::composed::Message::from_bytes(&message[..]).unwrap();
    let mut plain = message.decrypt(&pgp::types::Password::empty(), &key).unwrap();
    assert_eq!(plain.as_data_vec().unwrap(), [1; 10]);
    // A repeat would encrypt to other bytes; it is known by its delivery.
    let again = bench.put(SftpSpec::default(), &[public_text(&key)], &d).await;
    assert_eq!(again.outcome, Outcome::Delivered);
    assert_eq!(bench.names().await, ["claim.json.pgp"]);
}

#[test]
fn an_attempt_that_nobody_waits_for_names_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let top = Folder::top(folder.path(), "acme").unwrap();
    let order = |content: &'static [u8]| Order {
        delivery: file(1, "x").id,
        path: "x".to_owned(),
        existing: Existing::Number,
        mode: 0o644,
        content: File::Memory(Bytes::from_static(content)),
        encryption: None,
        now: NOW,
        given_up: Arc::new(AtomicBool::new(true)),
    };
    let share = Share { bytes: 100, files: 100 };
    // One that has begun to write, and one with nothing to write.
    for content in [&b"content"[..], b""] {
        assert_eq!(place(&top, &order(content), &Counter::default(), share), Err(DropError::Late));
    }
    assert!(!folder.path().join("acme/files/x").exists());
    assert_eq!(std::fs::read_dir(folder.path().join("acme/files/.incoming")).unwrap().count(), 0);
}

#[test]
fn keys_are_written_as_openssh_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let keys = KeyFolder::open(folder.path().join("keys")).unwrap();
    let key = |name: &str| DropKey {
        carrier: acme(),
        name: name.parse().unwrap(),
        public_key: "ssh-ed25519 AAAA".to_owned(),
        fingerprint: String::new(),
        created: NOW,
        updated: NOW,
    };
    let path: &Path = &folder.path().join("keys/acme");
    assert!(!keys.write(&acme(), &[]).unwrap());
    assert!(keys.write(&acme(), &[key("a"), key("b")]).unwrap());
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        "restrict ssh-ed25519 AAAA a\nrestrict ssh-ed25519 AAAA b\n"
    );
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o022, 0, "for the host alone to write");
    assert!(!keys.write(&acme(), &[key("a"), key("b")]).unwrap(), "nothing has changed");
    assert_eq!(keys.carriers().unwrap(), [acme()]);
    assert!(keys.write(&acme(), &[]).unwrap());
    assert!(!path.exists() && keys.carriers().unwrap().is_empty());
}
