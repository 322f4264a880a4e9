use std::sync::Mutex;

use russh::client::{self, AuthResult};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh_sftp::client::SftpSession;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

struct Trusting(String);

impl client::Handler for Trusting {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        let PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        Ok(key.fingerprint(HashAlg::Sha256).to_string() == self.0)
    }
}

fn key(seed: u8) -> PrivateKey {
    Ed25519Keypair::from_seed(&[seed; 32]).into()
}

async fn connect(site: &SftpSite) -> client::Handle<Trusting> {
    client::connect(Arc::default(), site.address, Trusting(site.host_key.clone())).await.unwrap()
}

async fn by_key(site: &SftpSite, key: PrivateKey) -> (client::Handle<Trusting>, AuthResult) {
    let mut handle = connect(site).await;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key), None);
    let said = handle.authenticate_publickey("anyone", key).await.unwrap();
    (handle, said)
}

async fn session(handle: &client::Handle<Trusting>) -> SftpSession {
    let channel = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, "sftp").await.unwrap();
    SftpSession::new(channel.into_stream()).await.unwrap()
}

#[tokio::test]
async fn files_are_put_and_renamed_below_the_root() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let came = Arc::new(Mutex::new(Vec::new()));
    let kept = came.clone();
    let told: Arc<Told> = Arc::new(move |one| kept.lock().unwrap().push(one.clone()));
    let keys = vec![key(1).public_key().clone()];
    let site = SftpSite::start(([127, 0, 0, 1], 0).into(), &root, Some(keys), told).await.unwrap();
    let (handle, said) = by_key(&site, key(1)).await;
    assert!(said.success());
    let sftp = session(&handle).await;

    sftp.create_dir("in").await.unwrap();
    let body: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    for name in ["in/.a.part", "in/../../.b.part"] {
        let mut file = sftp.create(name).await.unwrap();
        file.write_all(&body).await.unwrap();
        file.shutdown().await.unwrap();
    }
    assert_eq!(std::fs::read(root.join(".b.part")).unwrap(), body, "`..` does not leave the root");
    sftp.rename("in/.a.part", "in/a.bin").await.unwrap();
    assert!(sftp.rename(".b.part", "in/a.bin").await.is_err(), "what is there is not replaced");
    assert_eq!(std::fs::read(root.join("in/a.bin")).unwrap(), body);
    let mut back = Vec::new();
    sftp.open("in/a.bin").await.unwrap().read_to_end(&mut back).await.unwrap();
    assert_eq!(back, body);
    let mut found = sftp.metadata("in/a.bin").await.unwrap();
    assert_eq!(found.size, Some(300_000));
    (found.size, found.atime, found.mtime) = (None, Some(1_000), Some(1_761_300_000));
    found.permissions = Some(0o640);
    sftp.set_metadata("in/a.bin", found).await.unwrap();
    let found = sftp.metadata("in/a.bin").await.unwrap();
    let mode = found.permissions.map(|mode| mode & 0o777);
    assert_eq!((found.size, found.mtime, mode), (Some(300_000), Some(1_761_300_000), Some(0o640)));
    let names: Vec<_> = sftp.read_dir("/").await.unwrap().map(|entry| entry.file_name()).collect();
    assert_eq!(names, [".b.part", "in"]);
    sftp.remove_file("/.b.part").await.unwrap();
    assert!(sftp.metadata("/.b.part").await.is_err());
    let expected =
        Came { path: "/in/a.bin".into(), renamed_from: Some("/in/.a.part".into()), bytes: 300_000 };
    let came = came.lock().unwrap();
    assert_eq!((came.len(), came.last()), (3, Some(&expected)), "two were written, one renamed");
}

#[tokio::test]
async fn only_who_is_admitted_logs_in() {
    let folder = tempfile::tempdir().unwrap();
    let start = |keys| SftpSite::start(([127, 0, 0, 1], 0).into(), folder.path(), keys, Arc::new(|_| {}));
    let closed = start(Some(vec![key(1).public_key().clone()])).await.unwrap();
    let open = start(None).await.unwrap();
    assert!(!by_key(&closed, key(2)).await.1.success());
    assert!(!connect(&closed).await.authenticate_password("a", "b").await.unwrap().success());
    assert!(by_key(&open, key(2)).await.1.success());
    let mut handle = connect(&open).await;
    assert!(handle.authenticate_password("a", "b").await.unwrap().success());
    session(&handle).await.read_dir("/").await.unwrap();
}
