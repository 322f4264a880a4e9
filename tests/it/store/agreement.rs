//! What several nodes agree on: the numbers of changes, and how far each node has come.

use std::time::Duration;

use hookyard::carrier::{Owner, SubscriptionState};
use hookyard::store::agreement::{Changes, Trouble};
use hookyard::store::error::StoreError;
use hookyard::store::work::{DestinationEffect, NewAttempt, Next};

use super::bed::*;

/// What was changed of these carriers, of which somebody may wait for the latest.
fn of(last: i64, carriers: &[&str]) -> Changes {
    let carriers: Vec<_> = carriers.iter().map(|c| c.parse().unwrap()).collect();
    let waited_for = if carriers.is_empty() { 0 } else { last };
    Changes { last, waited_for, carriers, ..Changes::default() }
}

pub(super) async fn every_change_of_what_is_set_up_takes_a_number(bed: &Bed) {
    let store = bed.open().await;
    assert_eq!(store.changes(0).await.unwrap(), Changes::default());
    assert_eq!(store.own_change(), 0);
    furnish(&store).await;
    assert_eq!(store.changes(0).await.unwrap(), of(2, &["acme", "zeta"]));
    store.put_destination(destination("crm")).await.unwrap();
    store.put_subscription(subscription("main")).await.unwrap();
    assert_eq!(store.changes(2).await.unwrap(), of(4, &["acme"]), "the latest change of each carrier");
    assert_eq!(store.changes(0).await.unwrap(), of(4, &["zeta", "acme"]));
    assert_eq!(store.changes(4).await.unwrap(), of(4, &[]));
    let (acme, main) = ("acme".parse().unwrap(), "main".parse().unwrap());
    store.set_subscription_state(&acme, &main, SubscriptionState::Paused, T0).await.unwrap();
    let shared = Owner::Shared;
    let (name, bytes) = ("p".parse().unwrap(), bytes::Bytes::from_static(b"p"));
    store.add_version(&shared, &name, bytes, hookyard::carrier::LimitsSpec::default(), T0).await.unwrap();
    let changes = store.changes(4).await.unwrap();
    assert_eq!((changes.last, changes.shared, changes.keys), (6, true, false));
    store.delete_key(None, &"nobody".parse().unwrap()).await.unwrap();
    assert_eq!(
        store.changes(6).await.unwrap(),
        Changes { last: 7, waited_for: 7, keys: true, ..Changes::default() }
    );
    assert_eq!(store.own_change(), 7);

    // Events take none, except for what an attempt says of its destination; nobody waits for that.
    let e = event("e1");
    let d = planned(&store, &e, &["crm"], true).await.remove(0);
    assert_eq!(store.changes(7).await.unwrap(), of(7, &[]));
    let recovered = Some(("crm".parse().unwrap(), DestinationEffect::Recovered));
    let attempt = NewAttempt { destination: recovered, ..attempt(&d, 1, Next::Delivered) };
    record(&store, attempt).await.unwrap();
    let health = Changes { waited_for: 0, ..of(8, &["acme"]) };
    assert_eq!((store.changes(7).await.unwrap(), store.own_change()), (health.clone(), 7));
    assert_eq!(
        store.changes(4).await.unwrap().carriers,
        health.carriers,
        "once, though it was changed twice"
    );

    // The numbers outlive their node.
    store.close().await.unwrap();
    let store = bed.open().await;
    assert_eq!((store.changes(7).await.unwrap(), store.own_change()), (health, 0));
}

pub(super) async fn a_change_that_fails_takes_none(bed: &Bed) {
    let store = bed.furnished().await;
    let acme =
        hookyard::carrier::Carrier { id: "acme".parse().unwrap(), name: String::new(), created_ms: T0 };
    assert!(matches!(store.create_carrier(acme).await, Err(StoreError::Exists { .. })));
    assert_eq!((store.changes(2).await.unwrap(), store.own_change()), (of(2, &[]), 2));
}

pub(super) async fn a_node_is_waited_for_while_it_takes_part(bed: &Bed) {
    let store = bed.furnished().await;
    let (owner, plugin) = (Owner::Carrier("acme".parse().unwrap()), "p".parse().unwrap());
    let trouble = |version| Trouble {
        owner: "acme".to_owned(),
        plugin: "p".parse().unwrap(),
        version,
        why: "too\0big".to_owned(),
    };
    if matches!(bed, Bed::Sqlite(_)) {
        // There is no other node, and nothing to tell it.
        store.publish(Some(1), &[trouble(1)]).await.unwrap();
        assert_eq!(store.behind(i64::MAX, T0).await.unwrap(), []);
        assert_eq!(store.troubles(&owner, &plugin, 1, T0).await.unwrap(), []);
        return;
    }
    let other = bed.open().await;
    let mut heard = store.wakes();
    assert_eq!(store.behind(2, T0).await.unwrap(), [], "it is starting");
    other.publish(Some(1), &[]).await.unwrap();
    while heard.recv().await.unwrap() != hookyard::store::Wake::Applied {}
    let behind = store.behind(2, T0).await.unwrap();
    assert_eq!(behind.iter().map(|b| b.expires).collect::<Vec<_>>(), [T0.plus(LEASE)]);
    assert_eq!(store.behind(1, T0).await.unwrap(), []);
    assert_eq!(store.behind(2, T0.plus(LEASE)).await.unwrap(), behind, "to the last millisecond");
    assert_eq!(store.behind(2, T0.plus(LEASE + Duration::from_millis(1))).await.unwrap(), []);
    assert_eq!(other.behind(2, T0).await.unwrap(), [], "it does not wait for itself");

    other.publish(Some(2), &[trouble(3)]).await.unwrap();
    assert_eq!(store.behind(2, T0).await.unwrap(), []);
    let told = store.troubles(&owner, &plugin, 3, T0).await.unwrap();
    assert_eq!(told, [(behind[0].node.clone(), "too\0big".to_owned())]);
    assert_eq!(store.troubles(&owner, &plugin, 2, T0).await.unwrap(), []);
    assert_eq!(store.troubles(&Owner::Shared, &plugin, 3, T0).await.unwrap(), []);

    other.publish(None, &[]).await.unwrap();
    assert_eq!(store.behind(9, T0).await.unwrap(), [], "it takes part no more");
    assert_eq!(store.troubles(&owner, &plugin, 3, T0).await.unwrap(), []);
    other.close().await.unwrap();
}
