//! Logins and host keys of every kind, and what is refused.

use hookyard::carrier::Login;
use hookyard::retry::Outcome;
use hookyard_tests::sshd::{KeyPair, Setup, Sshd, run};
use tokio::process::Command;

use super::{Bed, SftpLimits, file, said};

#[tokio::test]
async fn keys_of_every_kind_log_in() {
    let mut bed = Bed::make().await;
    for (kind, passphrase) in [
        ("ed25519", "a passphrase"),
        ("ecdsa -b 256", ""),
        ("ecdsa -b 521", "x"),
        ("rsa -b 2048", ""),
        ("rsa -b 3072", "y"),
    ] {
        let key = KeyPair::make(kind, passphrase).await;
        bed.sshd.authorize(&key.public);
        let passphrase = Some(passphrase.to_owned()).filter(|text| !text.is_empty());
        bed.login = Login { private_key: Some(key.private), passphrase, password: None };
        let report = bed.delivered(&file(&kind.replace(' ', "-"), "key", kind.to_owned())).await;
        let step = format!("logged in as {} with the key {}", bed.sshd.user(), key.fingerprint);
        assert!(said(&report).contains(&step), "{}", said(&report));
    }
    assert!(bed.sshd.log().contains("Accepted publickey for"));
    assert!(!bed.sshd.log().contains("ssh-rsa "), "never with SHA-1");
    bed.sender.close().await;
}

#[tokio::test]
async fn keys_as_other_programs_write_them_log_in() {
    let mut bed = Bed::make().await;
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [
        ("rsa-pkcs8", &["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..]),
        ("rsa-pkcs1", &["genrsa", "-traditional"]),
        ("ec-pkcs8", &["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
        ("ed25519-pkcs8", &["genpkey", "-algorithm", "ED25519"]),
    ] {
        let file_name = folder.path().join(name);
        let mut openssl = Command::new("openssl");
        openssl.args(arguments).arg("-out").arg(&file_name);
        run(if name == "rsa-pkcs1" { openssl.arg("2048") } else { &mut openssl }).await;
        let private = std::fs::read_to_string(&file_name).unwrap();
        bed.login = Login { private_key: Some(private), ..Login::default() };
        let half = hookyard::deliver::sftp::keys::public_half(&bed.login).expect(name);
        bed.sshd.authorize(&half.key);
        bed.delivered(&file(name, "key", name.to_owned())).await;
    }
    bed.sender.close().await;
}

#[tokio::test]
async fn passwords_log_in_alone_and_after_a_key() {
    let setup = Setup { user: true, ..Setup::default() };
    let mut bed = Bed::with(setup, SftpLimits::default()).await;
    bed.login = Login { password: Some(Sshd::PASSWORD.to_owned()), ..Login::default() };
    let report = bed.delivered(&file("a", "password", "x")).await;
    assert!(said(&report).contains("with the password"), "{}", said(&report));
    assert!(!said(&report).contains(Sshd::PASSWORD));

    bed.login.password = Some("another-password-00af".to_owned());
    let report = bed.send(&file("b", "refused", "x")).await;
    assert_eq!(report.outcome, Outcome::Login);
    let error = report.error.unwrap();
    assert!(error.contains("the password was not taken; the server takes publickey, password"), "{error}");
    assert!(!error.contains("another-password"), "{error}");
    assert_eq!(bed.sshd.names(), ["password"]);
    bed.sender.close().await;

    let lines = vec!["AuthenticationMethods publickey,password".to_owned()];
    let setup = Setup { user: true, lines, ..Setup::default() };
    let mut bed = Bed::with(setup, SftpLimits::default()).await;
    let report = bed.send(&file("c", "half", "x")).await;
    assert_eq!(report.outcome, Outcome::Login);
    let error = report.error.unwrap();
    assert!(error.contains("was taken, and more is wanted; the server takes password"), "{error}");
    bed.login.password = Some(Sshd::PASSWORD.to_owned());
    bed.delivered(&file("d", "both", "x")).await;
    bed.sender.close().await;
}

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_told() {
    let mut bed = Bed::make().await;
    let other = KeyPair::make("ed25519", "").await;
    bed.login.private_key = Some(other.private);
    let report = bed.send(&file("a", "x", "x")).await;
    assert_eq!(report.outcome, Outcome::Login);
    let error = report.error.unwrap();
    assert!(error.contains(&format!("the key {} was not taken", other.fingerprint)), "{error}");
    assert!(bed.sshd.files().is_empty());
}

#[tokio::test]
async fn another_host_key_is_told_with_both_fingerprints_and_nobody_logs_in() {
    let mut bed = Bed::make().await;
    let (own, other) = (bed.sshd.host_key(0).await, KeyPair::make("ed25519", "").await);
    for pinned in [&other.fingerprint, &other.public] {
        bed.spec.host_keys = vec![pinned.clone()];
        let report = bed.send(&file("a", "x", "x")).await;
        assert_eq!(report.outcome, Outcome::HostKey);
        let error = report.error.clone().unwrap();
        assert!(error.contains(&own.fingerprint) && error.contains(&other.fingerprint), "{error}");
        assert!(
            said(&report).contains(&format!("host key {} (ssh-ed25519)", own.fingerprint)),
            "{}",
            said(&report)
        );
    }
    // Nobody has given a name, let alone a key.
    let log = bed.sshd.log();
    assert!(!log.contains("Accepted") && !log.contains("Failed") && !log.contains(" user "), "{log}");
    assert!(bed.sshd.files().is_empty());

    bed.spec.host_keys = vec![other.fingerprint, own.public];
    bed.delivered(&file("b", "x", "x")).await;
    bed.sender.close().await;
}

#[tokio::test]
async fn any_of_a_servers_keys_may_be_the_pinned_one() {
    let setup = Setup { host_keys: vec!["ed25519", "ecdsa", "rsa"], ..Setup::default() };
    let mut bed = Bed::with(setup, SftpLimits::default()).await;
    for (number, kind) in ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"].into_iter().enumerate() {
        let key = bed.sshd.host_key(number).await;
        for pinned in [&key.fingerprint, &key.public] {
            bed.spec.host_keys = vec![pinned.clone()];
            let event = format!("{kind}-{}", pinned.starts_with("SHA256:"));
            let report = bed.delivered(&file(&event, kind, kind)).await;
            let step = format!("host key {} ({kind})", key.fingerprint);
            assert!(said(&report).contains(&step), "{}", said(&report));
        }
    }
    let other = KeyPair::make("rsa", "").await;
    bed.spec.host_keys = vec![other.fingerprint];
    let report = bed.send(&file("a", "x", "x")).await;
    let error = report.error.unwrap();
    for number in 0..3 {
        assert!(error.contains(&bed.sshd.host_key(number).await.fingerprint), "{error}");
    }
    assert_eq!(report.outcome, Outcome::HostKey);
    bed.sender.close().await;
}

#[tokio::test]
async fn what_cannot_work_is_refused_when_it_is_written() {
    let mut bed = Bed::make().await;
    let weak = KeyPair::make("rsa -b 1024", "").await;
    let locked = KeyPair::make("ed25519 -a 4", "open sesame").await;
    let slow = KeyPair::make("ed25519 -a 200", "open sesame").await;
    let key = |private: &str, passphrase: Option<&str>| Login {
        private_key: Some(private.to_owned()),
        passphrase: passphrase.map(str::to_owned),
        password: None,
    };
    let own = bed.key.private.clone();
    for (login, refusal) in [
        (Login::default(), "login: it needs a `password`, a `private_key` or both"),
        (
            key(&weak.private, None),
            "login.private_key: an RSA key of 1024 bits is refused: it takes 2048 to 8192",
        ),
        (key(&locked.private, None), "login.private_key: it is encrypted: give its `passphrase`"),
        (key(&locked.private, Some("wrong")), "login.passphrase: it does not open the private key"),
        (
            key(&slow.private, Some("open sesame")),
            "login.private_key: it is encrypted with 200 rounds, the limit is 128",
        ),
        (
            key(&own, Some("needless")),
            "login.passphrase: there is no encrypted private key that it would open",
        ),
        (key("-----BEGIN", None), "login.private_key: it is not a private key"),
        (key("PuTTY-User-Key-File-3: x", None), "login.private_key: it is encrypted in another form"),
        (key(&"x".repeat(17_000), None), "login.private_key: it has 17000 bytes, the limit is 16384"),
    ] {
        bed.login = login;
        let error = bed.compile().unwrap_err();
        assert!(error.to_string().starts_with(refusal), "{error}");
        assert_eq!(error.field(), "login");
    }
    bed.login = key(&locked.private, Some("open sesame"));
    bed.compile().unwrap();

    let good = bed.spec.clone();
    type Change = fn(&mut hookyard::carrier::SftpSpec);
    let cases: [(Change, &str); 17] = [
        (|s| s.host = None, "sftp.host: it is needed: the server's name or address"),
        (
            |s| s.host = Some("10.0.0.1".to_owned()),
            "sftp.host: the address 10.0.0.1 is refused: private network",
        ),
        (|s| s.host = Some("sftp://a.example".to_owned()), "sftp.host: it takes a name or an address"),
        (|s| s.host = Some("::1".to_owned()), "sftp.host: the address ::1 is refused: loopback"),
        (|s| s.port = Some(0), "sftp.port: it takes 1 to 65535"),
        (|s| s.username = None, "sftp.username: it is needed"),
        (|s| s.username = Some("a\nb".to_owned()), "sftp.username: it takes 1 to 255 bytes"),
        (|s| s.host_keys.clear(), "sftp.host_keys: it is needed"),
        (|s| s.host_keys = vec!["SHA256:short".to_owned()], "sftp.host_keys: \"SHA256:short\" is neither"),
        (|s| s.host_keys = vec![s.host_keys[0].clone(); 9], "sftp.host_keys: 9 keys, the limit is 8"),
        (|s| s.host_keys = vec!["ssh-dss AAAA".to_owned()], "sftp.host_keys: \"ssh-dss AAAA\" is neither"),
        (|s| s.folder = Some("a/../b".to_owned()), "sftp.folder: `.` and `..` are not names: \"..\""),
        (|s| s.folder = Some("a//b".to_owned()), "sftp.folder: a part is empty: \"\""),
        (|s| s.file_name = Some("${a".to_owned()), "sftp.file_name: "),
        (|s| s.mode = Some("0888".to_owned()), "sftp.mode: it takes three or four octal digits"),
        (|s| s.mode = Some("0440".to_owned()), "sftp.mode: it takes three or four octal digits"),
        (|s| s.mode = Some("4755".to_owned()), "sftp.mode: it takes three or four octal digits"),
    ];
    for (change, refusal) in cases {
        bed.spec = good.clone();
        change(&mut bed.spec);
        let error = bed.compile().unwrap_err();
        assert!(error.to_string().starts_with(refusal), "{error}");
        assert_eq!(error.field(), "sftp");
    }
    for (folder, mode) in [("/", "640"), ("/in/", "0777"), ("in/Fälle", "0600"), (".", "0644")] {
        bed.spec = good.clone();
        (bed.spec.folder, bed.spec.mode) = (Some(folder.to_owned()), Some(mode.to_owned()));
        bed.compile().unwrap();
    }
}
