//! The demo's other two kinds of destination: a case closes, and its transcript is mailed and put on an SFTP site; media that
//! its customer sends are fetched and put there, too. Checked against what the servers got.

use anyhow::Context;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::events;
use super::media::LIFE_S;
use super::picture::png;
use super::servers::Servers;
use super::{mail, setup};
use crate::cli::client::Client;

/// How many cases close, and how many pictures each of their customers sends.
const CASES: usize = 3;
const PICTURES: usize = 2;

const BRAND: &str = "Harbour Casualty";
const CLAIMS: &str = "claims@harbour.example";

/// What became of it, and everything that is not as it should be.
#[derive(Debug, Default)]
pub(super) struct Closing {
    files: Vec<(String, Vec<u8>)>,
    mails: Vec<(String, String, Vec<u8>)>,
    put_off: usize,
    expired: String,
    faults: Vec<String>,
}

/// A case with its events.
struct Case {
    claim: String,
    /// What file names begin with: the case's id.
    partial_id: String,
    closed: String,
    /// The events of its media with the file's name on the site, and the picture.
    media: Vec<(String, String, Vec<u8>)>,
}

/// Sets up the third carrier, posts what happens to its cases, and looks at what came of it.
///
/// # Errors
/// When the host refuses something or cannot be reached.
pub(super) async fn run(admin: &Client, url: &str, servers: &Servers) -> anyhow::Result<Closing> {
    let harbour = set_up(admin, url, servers).await?;
    let mut cases = Vec::new();
    for number in 0..CASES {
        cases.push(happen(admin, servers, number).await?);
    }
    let late = servers.media.keep("late", png(8, 8, 0), -1);
    post(admin, "harbour-late", "media.received", with_message(&case(CASES), "late", &late)).await?;

    let mut closing = Closing::default();
    for case in &cases {
        closing.delivered(&harbour, &case.closed, 2).await?;
        for (event, _, _) in &case.media {
            closing.delivered(&harbour, event, 1).await?;
        }
    }
    let late = setup::settled(&harbour, "harbour-late").await?;
    let delivery = &late["routings"][0]["deliveries"][0];
    closing.expired = delivery["last_error"].as_str().unwrap_or_default().to_owned();
    closing.expect(delivery["state"] == "dead" && closing.expired.contains("expired"), || {
        format!("harbour-late: its link had expired, and the delivery is {delivery}")
    });
    closing.compare(&cases, servers)?;
    Ok(closing)
}

async fn set_up(admin: &Client, url: &str, servers: &Servers) -> anyhow::Result<Client> {
    let harbour = setup::carrier(admin, url, "harbour", BRAND).await?;
    for plugin in ["transcript", "media"] {
        setup::upload(&harbour, plugin, setup::component(plugin)?).await?;
    }
    let host = servers.media.address.ip().to_string();
    harbour.put("/v1/carriers/me/media", &json!({ "allowed_hosts": [host] })).await?;
    let mail = json!({ "kind": "email", "email": { "to": [CLAIMS] } });
    harbour.put("/v1/carriers/me/destinations/claims-desk", &mail).await?;
    println!("  mails to claims-desk {CLAIMS}, by the operator's relay");
    let site = json!({
        "kind": "sftp", "login": { "private_key": servers.login },
        "sftp": {
            "host": servers.site.address.ip().to_string(), "port": servers.site.address.port(),
            "username": "harbour", "host_keys": [servers.site.host_key], "folder": "from-hookyard",
            "file_name": "media/${caseData.claimNumber}_${message.id}",
        },
    });
    harbour.put("/v1/carriers/me/destinations/site", &site).await?;
    println!("  puts files on site   sftp://{}, host key {}", servers.site.address, servers.site.host_key);
    for (id, event_type, plugin, destination, settings) in [
        (
            "mailed",
            "case.closed",
            "transcript",
            "claims-desk",
            json!({ "via": "email", "to": "claims-desk", "file-name": "${caseData.claimNumber}",
                "subject": "Case ${caseData.claimNumber} of ${caseData.brand} was closed" }),
        ),
        (
            "filed",
            "case.closed",
            "transcript",
            "site",
            json!({ "via": "sftp", "to": "site", "file-name": "${caseData.brand}/${caseData.claimNumber}_${partialId}" }),
        ),
        ("pictures", "media.received", "media", "site", json!({})),
    ] {
        let body = json!({ "event_types": [event_type], "plugins": [plugin], "settings": settings,
            "destinations": [destination], "policy": setup::policy() });
        setup::subscription(&harbour, id, &body).await?;
    }
    Ok(harbour)
}

/// A customer sends pictures, and the case is closed.
async fn happen(admin: &Client, servers: &Servers, number: usize) -> anyhow::Result<Case> {
    let payload = case(number);
    let claim = payload["caseData"]["claimNumber"].as_str().context("a case has a number")?.to_owned();
    let id = payload["caseData"]["id"].as_str().context("a case has an id")?;
    let mut messages = vec![
        json!({ "id": "t-1", "type": "text", "channelSource": "marley", "createdAt": "2026-05-06T10:00:00.000Z",
            "data": "Could you send us pictures of the damage?" }),
        json!({ "id": "t-2", "type": "text", "channelSource": "mobile", "createdAt": "2026-05-06T10:04:00.000Z",
            "data": "Here they are. It happened in Łódź, near the café – never mind 🙂" }),
    ];
    let mut media = Vec::new();
    for picture in 0..PICTURES {
        let name = format!("p-{number}-{picture}");
        let shift = (number * PICTURES + picture) as u32;
        let pixels = png(160 + 16 * shift, 120, shift);
        let link = servers.media.keep(&name, pixels.clone(), LIFE_S);
        let event = format!("harbour-{name}");
        let body = with_message(&payload, &name, &link);
        messages.push(body["message"].clone());
        post(admin, &event, "media.received", body).await?;
        media.push((event, format!("from-hookyard/media/{claim}_{name}.png"), pixels));
    }
    let closed = format!("harbour-closed-{number}");
    let mut body = payload.clone();
    body["state"] = json!("closed");
    body["closedAt"] = json!("2026-06-01T17:30:00.000Z");
    body["messages"] = messages.into();
    post(admin, &closed, "case.closed", body).await?;
    Ok(Case { claim, partial_id: id.chars().take(9).collect(), closed, media })
}

fn case(number: usize) -> Value {
    events::case(9_000 + number, BRAND, "open")
}

fn with_message(case: &Value, id: &str, link: &str) -> Value {
    let mut body = case.clone();
    body["message"] = json!({ "id": id, "type": "image", "channel": "text", "channelSource": "mobile", "data": link,
        "createdAt": "2026-05-06T10:05:00.000Z" });
    body
}

async fn post(admin: &Client, id: &str, event_type: &str, payload: Value) -> anyhow::Result<()> {
    let event =
        json!({ "carrier": "harbour", "id": id, "type": event_type, "source": "/demo", "payload": payload });
    admin.post("/v1/events", &event).await.map(drop)
}

impl Closing {
    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(otherwise());
        }
    }

    /// Waits for an event, and notes when not this many deliveries of it were delivered.
    async fn delivered(&mut self, harbour: &Client, event: &str, count: usize) -> anyhow::Result<()> {
        let found = setup::settled(harbour, event).await?;
        let routings = found["routings"].as_array().into_iter().flatten();
        let deliveries: Vec<&Value> =
            routings.flat_map(|routing| routing["deliveries"].as_array().into_iter().flatten()).collect();
        let good = deliveries.iter().filter(|delivery| delivery["state"] == "delivered").count();
        self.expect(good == count && deliveries.len() == count, || {
            format!("{event}: {count} deliveries should have arrived, and this is what there is: {found}")
        });
        Ok(())
    }

    /// What the servers have, against what was to be expected.
    fn compare(&mut self, cases: &[Case], servers: &Servers) -> anyhow::Result<()> {
        self.files = servers.files()?;
        let (mails, put_off) = servers.mails();
        self.put_off = put_off;
        self.expect(put_off == 1, || format!("{put_off} mails were put off instead of 1"));
        self.expect(mails.len() == CASES, || format!("{} mails came instead of {CASES}", mails.len()));
        for mail in &mails {
            let rest = format!("from <{}> to <{}>", mail.from, mail.to.join(">, <"));
            self.expect(mail.to == [CLAIMS], || format!("a mail went {rest}"));
            let found = mail::attachments(&mail.message).into_iter();
            self.mails.extend(found.map(|(name, pdf)| (mail.to.join(", "), name, pdf)));
        }
        let mut expected = Vec::new();
        for case in cases {
            let path = format!("from-hookyard/{BRAND}/{}_{}.pdf", case.claim, case.partial_id);
            let filed = self.file(&path);
            let mailed: Vec<&Vec<u8>> = self
                .mails
                .iter()
                .filter(|(_, name, _)| *name == format!("{}.pdf", case.claim))
                .map(|(_, _, pdf)| pdf)
                .collect();
            let same = mailed.len() == 1 && filed.as_ref() == Some(mailed[0]);
            let is_pdf = filed.is_some_and(|pdf| pdf.starts_with(b"%PDF-"));
            self.expect(same && is_pdf, || format!("{path}: it is not the one PDF that was mailed"));
            expected.push(path);
            for (event, path, picture) in &case.media {
                let same = self.file(path).as_ref() == Some(picture);
                self.expect(same, || format!("{event}: {path} is not the picture that was sent"));
                let name = event.trim_start_matches("harbour-");
                let given = servers.media.given(name);
                self.expect(given == 1, || format!("{event}: its picture was fetched {given} times"));
                expected.push(path.clone());
            }
        }
        let others: Vec<String> =
            self.files.iter().map(|(path, _)| path.clone()).filter(|path| !expected.contains(path)).collect();
        self.expect(others.is_empty(), || format!("on the site there is also {}", others.join(", ")));
        Ok(())
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        self.files.iter().find(|(there, _)| there == path).map(|(_, bytes)| bytes.clone())
    }

    pub(super) fn adds_up(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn print(&self) {
        println!("\nFiles");
        for (to, name, bytes) in &self.mails {
            println!("  mailed  {}  to {to}: {name}", of_file(bytes));
        }
        for (path, bytes) in &self.files {
            println!("  put     {}  {path}", of_file(bytes));
        }
        println!(
            "  put off {:>5}  mail, as by a server that does not know its sender yet; then taken",
            self.put_off
        );
        println!("  dead        1  media: {}", self.expired);
        if self.adds_up() {
            println!(
                "  Mailed and put transcripts are the same, and every picture is the one that was sent."
            );
        } else {
            println!("  DOES NOT ADD UP: {} fault(s)", self.faults.len());
            for fault in self.faults.iter().take(20) {
                println!("    {fault}");
            }
        }
    }
}

/// A file's size and the beginning of its hash.
fn of_file(bytes: &[u8]) -> String {
    let hash: String = Sha256::digest(bytes).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    format!("{:>7} bytes  sha256 {hash}…", bytes.len())
}
