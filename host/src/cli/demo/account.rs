//! The demo's account: what the host says, side by side with what the receiver got and what was to be expected.

use std::collections::BTreeMap;

use serde_json::Value;

use super::events::{PERSONAL, Sample};
use super::setup::{Carriers, settled};
use crate::cli::receiver::Receiver;

/// What was counted, and everything that does not add up.
#[derive(Debug, Default)]
pub(super) struct Account {
    posted: usize,
    accepted: usize,
    dropped: BTreeMap<String, usize>,
    delivered: BTreeMap<&'static str, usize>,
    retried: usize,
    attempts: usize,
    versions: BTreeMap<String, usize>,
    signatures: usize,
    faults: Vec<String>,
}

/// Asks the host about every event and compares.
pub(super) async fn draw_up(
    carriers: &Carriers,
    samples: &[Sample],
    accepted: usize,
    receiver: &Receiver,
) -> anyhow::Result<Account> {
    let mut account = Account { posted: samples.len(), accepted, ..Account::default() };
    account.expect(accepted == samples.len(), || {
        format!("{} events were posted and {accepted} accepted", samples.len())
    });
    let mut known = 0;
    for sample in samples {
        let event = settled(carriers.of(sample.carrier), &sample.id).await?;
        account.routing(sample, &event["routings"][0]);
        known += account.deliveries(sample, &event["routings"][0], receiver);
    }
    let (requests, bad) = receiver.look(|seen| (seen.requests.len(), seen.bad.clone()));
    account.expect(requests == known, || {
        format!("the receiver got {requests} different deliveries, the host knows of {known}")
    });
    account.signatures = receiver.look(|s| s.requests.values().map(|r| (r.taken + r.refused) as usize).sum());
    account.faults.extend(bad.into_iter().map(|why| format!("signature: {why}")));
    Ok(account)
}

impl Account {
    fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.faults.push(otherwise());
        }
    }

    fn routing(&mut self, sample: &Sample, routing: &Value) {
        for version in routing["versions"].as_array().into_iter().flatten() {
            let name = format!(
                "{}'s {} version {}",
                sample.carrier,
                version["plugin"].as_str().unwrap_or("?"),
                version["version"]
            );
            *self.versions.entry(name).or_default() += 1;
        }
        let dropped = routing["verdict"] == "drop";
        if dropped {
            let reason = routing["reason"].as_str().unwrap_or("(no reason)").to_owned();
            *self.dropped.entry(format!("{}: {reason}", sample.carrier)).or_default() += 1;
        }
        self.expect(routing["state"] == "routed" && dropped == sample.goes_to.is_none(), || {
            format!("{}: should go to {:?}, its routing is {routing}", sample.id, sample.goes_to)
        });
    }

    /// Compares the deliveries of one event with what the receiver got; gives how many there are.
    fn deliveries(&mut self, sample: &Sample, routing: &Value, receiver: &Receiver) -> usize {
        let none = Vec::new();
        let deliveries = routing["deliveries"].as_array().unwrap_or(&none);
        let expected = usize::from(sample.goes_to.is_some());
        self.expect(deliveries.len() == expected, || {
            format!("{}: {} deliveries instead of {expected}", sample.id, deliveries.len())
        });
        for delivery in deliveries {
            let id = delivery["id"].as_str().unwrap_or("");
            let got = receiver.look(|seen| seen.requests.get(id).cloned()).unwrap_or_default();
            let attempts = delivery["attempts_made"].as_u64().unwrap_or(0) as usize;
            self.attempts += attempts;
            self.retried += usize::from(attempts > 1);
            self.expect(delivery["state"] == "delivered" && got.taken == 1, || {
                let (state, error) = (&delivery["state"], &delivery["last_error"]);
                format!("{}: {id} is {state} ({error}), the receiver took it {} times", sample.id, got.taken)
            });
            self.expect(attempts == (got.taken + got.refused) as usize, || {
                let seen = got.taken + got.refused;
                format!("{}: {id} has {attempts} attempts in the log, the receiver saw {seen}", sample.id)
            });
            self.expect(Some(got.place.as_str()) == sample.goes_to, || {
                format!("{}: went to {:?} instead of {:?}", sample.id, got.place, sample.goes_to)
            });
            self.body(sample, &got.body);
            if let Some(place) = sample.goes_to {
                *self.delivered.entry(place).or_default() += 1;
            }
        }
        deliveries.len()
    }

    fn body(&mut self, sample: &Sample, body: &[u8]) {
        let Ok(value) = serde_json::from_slice::<Value>(body) else {
            self.faults.push(format!("{}: what arrived is not JSON", sample.id));
            return;
        };
        let case = &sample.payload["caseData"]["id"];
        self.expect(value["caseData"]["id"] == *case, || format!("{}: another case arrived", sample.id));
        if sample.carrier == "acme" {
            let text = String::from_utf8_lossy(body);
            let leaked = PERSONAL.iter().find(|personal| text.contains(**personal));
            self.expect(leaked.is_none(), || format!("{}: {leaked:?} was not redacted", sample.id));
        } else {
            self.expect(value == sample.payload, || format!("{}: the body was changed", sample.id));
        }
    }

    pub(super) fn adds_up(&self) -> bool {
        self.faults.is_empty()
    }

    pub(super) fn print(&self) {
        let delivered: usize = self.delivered.values().sum();
        println!("Account");
        println!("  posted      {:>5}", self.posted);
        println!("  accepted    {:>5}", self.accepted);
        println!("  dropped     {:>5}", self.dropped.values().sum::<usize>());
        for (reason, n) in &self.dropped {
            println!("              {n:>5}  {reason}");
        }
        println!("  delivered   {delivered:>5}");
        for (place, n) in &self.delivered {
            println!("              {n:>5}  to {place}");
        }
        println!("  retried     {:>5}  (of the delivered; {} attempts in all)", self.retried, self.attempts);
        println!("  verified    {:>5}  signatures at the receiver", self.signatures);
        println!("  ran");
        for (version, n) in &self.versions {
            println!("              {n:>5}  {version}");
        }
        if self.adds_up() {
            println!(
                "  Everything agrees with what the receiver got: nothing lost, nothing twice, nothing astray."
            );
        } else {
            println!("  DOES NOT ADD UP: {} fault(s)", self.faults.len());
            for fault in self.faults.iter().take(20) {
                println!("    {fault}");
            }
        }
    }
}
