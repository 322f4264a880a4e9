use std::io;

use pgp::composed::{
    ArmorOptions, EncryptionCaps, KeyType, Message, SecretKeyParamsBuilder, SignedSecretKey,
    SubkeyParamsBuilder,
};
use pgp::crypto::ecc_curve::ECCCurve;
use pgp::types::{KeyVersion, Password};

use super::*;

/// A key of this version, with a part for encryption or without one.
pub(crate) fn secret_key(version: KeyVersion, encryption: bool) -> SignedSecretKey {
    let (sign, encrypt) = match version {
        KeyVersion::V6 => (KeyType::Ed25519, KeyType::X25519),
        _ => (KeyType::Ed25519Legacy, KeyType::ECDH(ECCCurve::Curve25519Legacy)),
    };
    let mut key = SecretKeyParamsBuilder::default();
    key.version(version)
        .key_type(sign)
        .can_certify(true)
        .can_sign(true)
        .can_encrypt(EncryptionCaps::None)
        .primary_user_id("Files <files@example.org>".to_owned());
    if encryption {
        let subkey = SubkeyParamsBuilder::default()
            .version(version)
            .key_type(encrypt)
            .can_encrypt(EncryptionCaps::All)
            .build()
            .unwrap();
        key.subkeys(vec![subkey]);
    }
    key.build().unwrap().generate(os_rng()).unwrap()
}

/// The public half as a carrier gives it.
pub(crate) fn public_text(key: &SignedSecretKey) -> String {
    STANDARD.encode(key.to_public_key().to_armored_bytes(ArmorOptions::default()).unwrap())
}

fn why(text: &str) -> KeyFault {
    PgpKeys::read(&[text.to_owned()]).unwrap_err().why
}

fn decrypt(message: &[u8], key: &SignedSecretKey) -> Vec<u8> {
    let mut plain = Message::from_bytes(message).unwrap().decrypt(&Password::empty(), key).unwrap();
    plain.as_data_vec().unwrap()
}

#[test]
fn a_key_is_an_armoured_public_one_for_encryption() {
    let key = secret_key(KeyVersion::V4, true);
    let text = public_text(&key);
    let broken = text.as_bytes().chunks(20).map(|l| String::from_utf8_lossy(l).into_owned());
    let broken = broken.collect::<Vec<_>>().join("\r\n");
    let keys = PgpKeys::read(&[text.clone(), broken]).unwrap();
    assert_eq!(keys.0.len(), 1, "lines may be broken, and one key is one recipient");

    let armoured = String::from_utf8(STANDARD.decode(&text).unwrap()).unwrap();
    let form = |text: &str| why(&STANDARD.encode(text)).to_string();
    assert_eq!(why("no base64!"), KeyFault::Base64);
    assert!(form("BASE64-ARMOURED-KEY").contains("does not begin with `-----BEGIN"));
    assert!(form(&armoured.replace("-----END", "---END")).contains("does not end with"));
    assert!(form(&armoured.replace("PUBLIC", "PRIVATE")).contains("is a private key"));
    assert!(matches!(why(&STANDARD.encode([0x99, 0xff, 0xfe])), KeyFault::Form(_)));
    let garbled = armoured.replacen("\n\n", "\n\nAAAA", 1);
    assert!(matches!(why(&STANDARD.encode(garbled)), KeyFault::Unreadable(_) | KeyFault::Form(_)));
    assert_eq!(why(&"A".repeat(KEY_BYTES + 1)), KeyFault::Size { size: KEY_BYTES + 1 });

    let signs = public_text(&secret_key(KeyVersion::V4, false));
    let error = PgpKeys::read(&[text, signs]).unwrap_err();
    assert!(error.to_string().starts_with("pgp_keys[1]: key "), "{error}");
    assert!(matches!(error.why, KeyFault::NotForEncryption { .. }));

    let many: Vec<String> = (0..=MAX_KEYS).map(|_| public_text(&secret_key(KeyVersion::V4, true))).collect();
    assert!(PgpKeys::read(&many[1..]).is_ok());
    let error = PgpKeys::read(&many).unwrap_err();
    assert_eq!(error, PgpError { index: MAX_KEYS, why: KeyFault::Count });
}

#[test]
fn every_key_opens_the_message_and_version_2_needs_them_all() {
    let (old, new) = (secret_key(KeyVersion::V4, true), secret_key(KeyVersion::V6, true));
    let plain = b"page".repeat(100_000);
    let encrypted = |of: &[&SignedSecretKey]| {
        let texts: Vec<String> = of.iter().map(|key| public_text(key)).collect();
        let mut out = Vec::new();
        let encryption = PgpKeys::read(&texts).unwrap().at(Millis(0)).unwrap();
        assert_eq!(encryption.fingerprints().count(), of.len());
        encryption.encrypt(&plain[..], &mut out).unwrap();
        out
    };
    let both = encrypted(&[&old, &new]);
    assert_eq!(decrypt(&both, &old), plain);
    assert_eq!(decrypt(&both, &new), plain);
    let alone = encrypted(&[&new]);
    assert_eq!(decrypt(&alone, &new), plain);
    assert_ne!(both[..64], encrypted(&[&old, &new])[..64], "each message has a key of its own");
}

#[tokio::test]
async fn a_stream_ends_well_or_says_why_it_does_not() {
    let key = secret_key(KeyVersion::V4, true);
    let keys = PgpKeys::read(&[public_text(&key)]).unwrap();
    let plain = vec![7; 1 << 20];
    let mut stream = keys.at(Millis(0)).unwrap().stream(io::Cursor::new(plain.clone()));
    let mut message = Vec::new();
    while let Some(chunk) = stream.next().await.unwrap() {
        assert!(chunk.len() <= 64 << 10);
        message.extend_from_slice(&chunk);
    }
    assert!(stream.next().await.unwrap().is_none());
    assert_eq!(decrypt(&message, &key), plain);

    // A source that breaks off is not taken for its end.
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or(io::ErrorKind::ConnectionReset)?;
            into.fill(1);
            Ok(into.len())
        }
    }
    let mut stream = keys.at(Millis(0)).unwrap().stream(Broken(3));
    let error = loop {
        match stream.next().await {
            Ok(chunk) => assert!(chunk.is_some(), "it ended as if it were whole"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, EncryptError::Io(ref why) if why.kind() == io::ErrorKind::ConnectionReset),
        "{error:?}"
    );
}
