//! Files for GnuPG: the keys that it makes are taken or refused for what they are, and it opens what was encrypted to them.

use std::io::{Read, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hookyard::clock::Millis;
use hookyard::pgp::{KeyFault, PgpKeys};
use hookyard_tests::gnupg::Gnupg;
use sha2::{Digest, Sha256};

/// 2026-01-01, when none of the keys that expire has been made yet.
const NOW: Millis = Millis(1_767_225_600_000);
/// Far after their expiry.
const LATER: Millis = Millis(4_000_000_000_000);

fn read(text: &str) -> Result<PgpKeys, KeyFault> {
    PgpKeys::read(&[text.to_owned()]).map_err(|error| error.why)
}

/// Everything that is read, encrypted into a file.
fn encrypt(keys: &PgpKeys, from: impl Read, to: &Path) {
    keys.at(NOW).unwrap().encrypt(from, std::fs::File::create(to).unwrap()).unwrap();
}

#[test]
fn gnupg_opens_what_is_encrypted_to_its_keys() {
    let (gpg, other) = (Gnupg::new(), Gnupg::new());
    let keys = [
        gpg.make_rsa("rsa@example.org", 3072, "0"),
        gpg.make("curve@example.org", "future-default", "default", "never"),
        gpg.make("nist@example.org", "nistp256", "cert,sign", "never"),
    ];
    // Two keys for encryption: the newer one is used, and the older still may.
    gpg.call(&["--quick-add-key", &gpg.fingerprint("nist@example.org"), "nistp384", "encr", "never"], &[]);
    let nist = gpg.public("nist@example.org");
    assert!(matches!(read(&keys[2]), Err(KeyFault::NotForEncryption { .. })));
    let folder = tempfile::tempdir().unwrap();
    for (name, key) in [("rsa", &keys[0]), ("curve", &keys[1]), ("nist", &nist)] {
        let file = folder.path().join(name);
        encrypt(&read(key).unwrap(), &b"Claim NB-48213\n"[..], &file);
        assert_eq!(gpg.decrypt(&file), b"Claim NB-48213\n", "{name}");
    }

    // To several keys: each opens it, whoever else is there.
    let second = other.make_rsa("second@example.org", 2048, "0");
    let both = PgpKeys::read(&[keys[1].clone(), second]).unwrap();
    let file = folder.path().join("both.pgp");
    encrypt(&both, &b"for both"[..], &file);
    assert_eq!((gpg.decrypt(&file), other.decrypt(&file)), (b"for both".to_vec(), b"for both".to_vec()));
    // An integrity-protected packet with AES-256, which is cipher 9.
    let packets = gpg.call(&["--verbose", "--list-packets", file.to_str().unwrap()], &[]);
    let shown =
        String::from_utf8_lossy(&packets.stdout).into_owned() + &String::from_utf8_lossy(&packets.stderr);
    assert!(shown.contains("encrypted data packet") && shown.contains("mdc_method: 2"), "{shown}");
    assert!(shown.contains("AES256"), "{shown}");
    let stranger = Gnupg::new().run(&["--decrypt", file.to_str().unwrap()], &[]);
    assert!(!stranger.status.success());

    // One block may hold several keys.
    let block = gpg.call(&["--armor", "--export", "rsa@example.org", "curve@example.org"], &[]).stdout;
    let block = read(&STANDARD.encode(block)).unwrap();
    assert_eq!(block.at(NOW).unwrap().fingerprints().count(), 2);
}

#[test]
fn keys_that_do_not_hold_are_refused_by_name() {
    let gpg = Gnupg::new();
    let signs = gpg.make("signs@example.org", "ed25519", "sign", "never");
    assert!(matches!(read(&signs), Err(KeyFault::NotForEncryption { .. })));

    let weak = gpg.make_by(
        "weak@example.org",
        "Key-Type: RSA\nKey-Length: 1024\nSubkey-Type: RSA\nSubkey-Length: 1024",
    );
    let error = read(&weak).unwrap_err();
    assert!(error.to_string().contains("RSA of 1024 bits is weak, it takes 2048 or more"), "{error}");
    let part = gpg.make_by(
        "part@example.org",
        "Key-Type: RSA\nKey-Length: 2048\nKey-Usage: sign\nSubkey-Type: RSA\nSubkey-Length: 1024",
    );
    assert!(matches!(read(&part), Err(KeyFault::Weak { .. })));
    let old = gpg.make_by(
        "old@example.org",
        "Key-Type: DSA\nKey-Length: 2048\nSubkey-Type: ELG-E\nSubkey-Length: 2048",
    );
    let error = read(&old).unwrap_err();
    assert!(error.to_string().contains("ElGamal is no longer taken"), "{error}");

    let private = gpg.call(&["--armor", "--export-secret-keys", "signs@example.org"], &[]).stdout;
    let error = read(&STANDARD.encode(private)).unwrap_err();
    assert!(error.to_string().contains("is a private key"), "{error}");

    gpg.make_rsa("gone@example.org", 2048, "0");
    let fingerprint = gpg.fingerprint("gone@example.org");
    gpg.revoke(&fingerprint);
    let error = read(&gpg.public("gone@example.org")).unwrap_err();
    assert_eq!(error, KeyFault::Revoked { fingerprint });
}

#[test]
fn an_expired_key_is_told_with_its_time_and_another_goes_on() {
    let gpg = Gnupg::new();
    let short = gpg.make_rsa("short@example.org", 2048, "2d");
    let lasting = gpg.make("lasting@example.org", "future-default", "default", "never");
    let keys = read(&short).unwrap();
    assert!(keys.check_at(NOW).is_ok() && keys.at(NOW).is_ok());
    let error = keys.check_at(LATER).unwrap_err();
    assert_eq!(error, keys.at(LATER).unwrap_err());
    let text = error.to_string();
    assert!(text.contains(&gpg.fingerprint("short@example.org")) && text.contains("expired at 20"), "{text}");

    let both = PgpKeys::read(&[short, lasting]).unwrap();
    assert!(both.check_at(LATER).is_err(), "a registration says it");
    let left: Vec<String> = both.at(LATER).unwrap().fingerprints().map(str::to_owned).collect();
    assert_eq!(left, [gpg.fingerprint("lasting@example.org")]);

    // Extended and exported again, it is good for longer.
    gpg.call(&["--quick-set-expire", &gpg.fingerprint("short@example.org"), "0"], &[]);
    gpg.call(&["--quick-set-expire", &gpg.fingerprint("short@example.org"), "0", "*"], &[]);
    assert!(read(&gpg.public("short@example.org")).unwrap().check_at(LATER).is_ok());
}

/// So many bytes that follow from their place alone.
struct Pages {
    left: u64,
    state: u64,
}

impl Read for Pages {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(into.len());
        for byte in &mut into[..count] {
            self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (self.state >> 56) as u8;
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// The most memory that this process has had, in bytes (`VmHWM`).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1_024
}

#[tokio::test]
async fn two_hundred_megabytes_are_encrypted_in_bounded_memory() {
    const SIZE: u64 = 200 << 20;
    let gpg = Gnupg::new();
    let keys = read(&gpg.make("large@example.org", "future-default", "default", "never")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.pgp");
    let mut file = std::fs::File::create(&path).unwrap();
    let before = peak();
    let mut stream = keys.at(NOW).unwrap().stream(Pages { left: SIZE, state: 1 });
    while let Some(chunk) = stream.next().await.unwrap() {
        file.write_all(&chunk).unwrap();
    }
    let grown = peak() - before;
    assert!(grown < 16 << 20, "{grown} bytes more than before");

    // GnuPG writes it into a file, so that this process does not hold it either.
    let plain = folder.path().join("large");
    gpg.call(&["--output", plain.to_str().unwrap(), "--decrypt", path.to_str().unwrap()], &[]);
    let digest = |from: &mut dyn Read| {
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
        loop {
            match from.read(&mut buffer).unwrap() {
                0 => return hasher.finalize(),
                count => hasher.update(&buffer[..count]),
            }
        }
    };
    let arrived = digest(&mut std::fs::File::open(&plain).unwrap());
    assert_eq!(arrived, digest(&mut Pages { left: SIZE, state: 1 }));
}
