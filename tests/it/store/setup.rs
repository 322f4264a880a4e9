//! What carriers and the operator set up.

use bytes::Bytes;
use hookyard::carrier::{
    ApiKey, Carrier, DestinationState, LimitsSpec, Owner, Role, Sha256Hex, SubscriptionState,
};
use hookyard::clock::Millis;
use hookyard::store::Remembered;
use hookyard::store::error::{HeldError, StoreError};
use hookyard::store::tokens::StoredToken;
use hookyard::store::work::{DeliveryState, Lane, Next};

use super::bed::*;

const T1: Millis = Millis(T0.0 + 1_000);

pub(super) async fn carriers_and_keys(bed: &Bed) {
    let store = bed.furnished().await;
    let acme = Carrier { id: "acme".parse().unwrap(), name: "other".to_owned(), created_ms: T1 };
    assert!(matches!(store.create_carrier(acme).await, Err(StoreError::Exists { what: "carrier" })));
    let all = store.carriers().await.unwrap();
    assert_eq!(
        all.iter().map(|c| (c.id.as_str(), c.name.as_str())).collect::<Vec<_>>(),
        [("acme", "acme"), ("zeta", "zeta")]
    );
    let key = |id: &str, carrier: Option<&str>| ApiKey {
        id: id.parse().unwrap(),
        role: if carrier.is_some() { Role::Carrier } else { Role::Admin },
        carrier: carrier.map(|c| c.parse().unwrap()),
        name: "a key".to_owned(),
        digest: [7; 32],
        created: T0,
    };
    let keys = [key("k1", None), key("k2", Some("acme"))];
    for k in &keys {
        store.create_key(k.clone()).await.unwrap();
    }
    assert!(matches!(store.create_key(keys[0].clone()).await, Err(StoreError::Exists { what: "key" })));
    assert_eq!(store.keys().await.unwrap(), keys);
    let (acme, zeta) = ("acme".parse().unwrap(), "zeta".parse().unwrap());
    assert!(!store.delete_key(Some(&zeta), &keys[1].id).await.unwrap());
    assert!(!store.delete_key(Some(&acme), &keys[0].id).await.unwrap());
    assert!(store.delete_key(Some(&acme), &keys[1].id).await.unwrap());
    assert!(store.delete_key(None, &keys[0].id).await.unwrap());
    assert_eq!(store.keys().await.unwrap(), []);
}

pub(super) async fn destinations_keep_state_when_replaced(bed: &Bed) {
    let store = bed.furnished().await;
    let d = destination("crm");
    store.put_destination(d.clone()).await.unwrap();
    assert_eq!(store.destinations(&d.carrier).await.unwrap(), std::slice::from_ref(&d));
    let off = DestinationState::Disabled;
    let why = Some("by hand".to_owned());
    assert!(store.set_destination_state(&d.carrier, &d.name, off, why.clone(), T1).await.unwrap());
    let mut other = d.clone();
    (other.sealed, other.created, other.updated) = (vec![9], T1, T1);
    store.put_destination(other).await.unwrap();
    let kept = store.destinations(&d.carrier).await.unwrap().remove(0);
    assert_eq!((kept.state, kept.disabled_reason, kept.created, kept.sealed), (off, why, T0, vec![9]));
    let nobody = "nobody".parse().unwrap();
    assert!(!store.set_destination_state(&d.carrier, &nobody, off, None, T1).await.unwrap());
    assert_eq!(store.destinations(&"zeta".parse().unwrap()).await.unwrap(), []);
}

pub(super) async fn enabling_a_destination_frees_what_it_held(bed: &Bed) {
    let store = bed.furnished().await;
    store.put_destination(destination("crm")).await.unwrap();
    let e = event("e1");
    let d = planned(&store, &e, &["crm"], true).await.remove(0);
    record(&store, attempt(&d, 1, Next::Held)).await.unwrap();
    assert_eq!(store.lanes_waiting().await.unwrap(), []);
    let on = DestinationState::Enabled;
    assert!(store.set_destination_state(&e.carrier, &d.destination, on, None, T1).await.unwrap());
    let (lane, due) = store.lanes_waiting().await.unwrap().remove(0);
    assert_eq!(due, T1);
    assert_eq!(store.claim_deliveries(&lane, T1, 9).await.unwrap()[0].attempts, 1);
}

pub(super) async fn deleting_a_destination_cancels_its_deliveries(bed: &Bed) {
    let store = bed.furnished().await;
    store.put_destination(destination("crm")).await.unwrap();
    let e = event("e1");
    accept(&store, vec![new(&e, true)]).await.unwrap();
    let all: Vec<_> = (0..4).map(|n| delivery(&e, n, if n == 3 { "erp" } else { "crm" }, n != 0)).collect();
    plan(&store, whole(&e, vec![routing(all.clone())])).await.unwrap();
    record(&store, attempt(&all[1], 1, Next::Held)).await.unwrap();
    assert!(store.delete_destination(&e.carrier, &all[0].destination).await.unwrap());
    for d in &all[..3] {
        assert_eq!(store.delivery(&e.carrier, &d.id).await.unwrap().unwrap().state, DeliveryState::Cancelled);
    }
    let lost = record(&store, attempt(&all[2], 1, Next::Delivered)).await;
    assert!(matches!(lost, Err(HeldError::Lost)), "{lost:?}");
    record(&store, attempt(&all[3], 1, Next::Delivered)).await.unwrap();
    assert!(!store.delete_destination(&e.carrier, &all[0].destination).await.unwrap());
}

pub(super) async fn subscriptions(bed: &Bed) {
    let store = bed.furnished().await;
    let s = subscription("main");
    store.put_subscription(s.clone()).await.unwrap();
    let paused = SubscriptionState::Paused;
    assert!(store.set_subscription_state(&s.carrier, &s.id, paused, T1).await.unwrap());
    let mut other = s.clone();
    other.spec.filter = Some("a:b".to_owned());
    (other.created, other.updated) = (T1, T1);
    store.put_subscription(other.clone()).await.unwrap();
    let kept = store.subscriptions(&s.carrier).await.unwrap();
    (other.created, other.state) = (T0, paused);
    assert_eq!(kept, [other]);
    assert!(!store.set_subscription_state(&s.carrier, &"nobody".parse().unwrap(), paused, T1).await.unwrap());
    assert!(store.delete_subscription(&s.carrier, &s.id).await.unwrap());
    assert!(!store.delete_subscription(&s.carrier, &s.id).await.unwrap());
}

pub(super) async fn plugins_and_versions(bed: &Bed) {
    let store = bed.furnished().await;
    let (own, shared) = (Owner::Carrier("acme".parse().unwrap()), Owner::Shared);
    let name = "redact".parse().unwrap();
    let limits = LimitsSpec::default();
    let (a, b) = (Bytes::from_static(b"a"), Bytes::from_static(b"b"));
    let v1 = store.add_version(&own, &name, a.clone(), limits, T0).await.unwrap();
    assert_eq!((v1.version, v1.size, &v1.sha256), (1, 1, &Sha256Hex::of(b"a")));
    let v2 = store.add_version(&own, &name, b.clone(), limits, T0).await.unwrap();
    assert_eq!(v2.version, 2);
    assert_eq!(store.add_version(&own, &name, a.clone(), limits, T1).await.unwrap(), v1, "the same again");
    let other = LimitsSpec { wall_ms: Some(9), ..limits };
    assert_eq!(store.add_version(&own, &name, a.clone(), other, T1).await.unwrap().version, 3);
    assert_eq!(store.versions(&own, &name).await.unwrap().len(), 3);
    assert_eq!(store.component(&own, &v1.sha256).await.unwrap(), Some(a));
    assert_eq!(store.component(&shared, &v1.sha256).await.unwrap(), None);
    assert_eq!(store.plugins(&shared).await.unwrap(), []);

    assert_eq!(store.activate(&own, &name, 9, T0).await.unwrap(), None);
    assert_eq!(store.activate(&shared, &name, 1, T0).await.unwrap(), None);
    let first = store.activate(&own, &name, 1, T0).await.unwrap().unwrap();
    assert_eq!((first.latest, first.active, first.previous, first.activated), (3, Some(1), None, Some(T0)));
    let second = store.activate(&own, &name, 2, T1).await.unwrap().unwrap();
    assert_eq!((second.active, second.previous, second.activated), (Some(2), Some(1), Some(T1)));
    // Once more: the version before it is not forgotten.
    let again = store.activate(&own, &name, 2, T1).await.unwrap().unwrap();
    assert_eq!(again, second);
    assert_eq!(store.plugins(&own).await.unwrap(), [second]);
}

pub(super) async fn tables_are_replaced(bed: &Bed) {
    let store = bed.furnished().await;
    let (acme, name) = ("acme".parse().unwrap(), "brands".parse().unwrap());
    let entries = |v: &str| [("k".to_owned(), v.to_owned())].into();
    assert_eq!(store.put_table(&acme, &name, entries("1"), T0).await.unwrap(), 1);
    assert_eq!(store.put_table(&acme, &name, entries("2"), T1).await.unwrap(), 2);
    let all = store.tables(&acme).await.unwrap();
    assert_eq!((all.len(), all[0].version, &all[0].entries, all[0].updated), (1, 2, &entries("2"), T1));
    assert_eq!(store.tables(&"zeta".parse().unwrap()).await.unwrap(), []);
    assert!(store.delete_table(&acme, &name).await.unwrap());
    assert!(!store.delete_table(&acme, &name).await.unwrap());
}

pub(super) async fn answers_are_remembered_for_a_day(bed: &Bed) {
    let store = bed.furnished().await;
    let (key, other) = ("k1".parse().unwrap(), "k2".parse().unwrap());
    let answer = |n: u8| Remembered { request: [n; 32], status: 201, body: format!("{{\"n\":{n}}}") };
    assert_eq!(store.recall(&key, "a").await.unwrap(), None);
    store.remember(&key, "a", answer(1), T0).await.unwrap();
    store.remember(&key, "a", answer(2), T1).await.unwrap();
    assert_eq!(store.recall(&key, "a").await.unwrap(), Some(answer(1)), "the first stands");
    assert_eq!(store.recall(&other, "a").await.unwrap(), None);
    let day = 24 * 3_600_000;
    store.delete_before(T0, Millis(T0.0 + day), 10).await.unwrap();
    assert_eq!(store.recall(&key, "a").await.unwrap(), Some(answer(1)));
    store.delete_before(T0, Millis(T0.0 + day + 1), 10).await.unwrap();
    assert_eq!(store.recall(&key, "a").await.unwrap(), None);
}

pub(super) async fn tokens_are_replaced_dropped_and_forgotten_when_they_end(bed: &Bed) {
    let store = bed.furnished().await;
    let lane = |carrier: &str, name: &str| Lane {
        carrier: carrier.parse().unwrap(),
        destination: name.parse().unwrap(),
    };
    let (crm, other) = (lane("acme", "crm"), lane("zeta", "crm"));
    let token = |n: u8, expires| StoredToken { sealed: vec![n; 4], expires };
    assert_eq!(store.token(&crm).await.unwrap(), None);
    store.put_token(&crm, token(1, T1)).await.unwrap();
    store.put_token(&crm, token(2, T1)).await.unwrap();
    store.put_token(&other, token(3, T0)).await.unwrap();
    assert_eq!(store.token(&crm).await.unwrap(), Some(token(2, T1)), "the last one");
    let all = store.tokens(&crm.carrier).await.unwrap();
    assert_eq!(all, [(crm.destination.clone(), token(2, T1))], "of one carrier");

    store.drop_token(&crm, &token(1, T1).sealed).await.unwrap();
    assert_eq!(store.token(&crm).await.unwrap(), Some(token(2, T1)), "a later one stays");
    store.drop_token(&crm, &token(2, T1).sealed).await.unwrap();
    assert_eq!(store.token(&crm).await.unwrap(), None);
    assert_eq!(store.token(&other).await.unwrap(), Some(token(3, T0)));

    store.put_token(&crm, token(4, T1)).await.unwrap();
    store.delete_before(T0, T1, 10).await.unwrap();
    assert_eq!(store.token(&other).await.unwrap(), None, "it has ended");
    assert_eq!(store.token(&crm).await.unwrap(), Some(token(4, T1)));
    store.put_destination(destination("crm")).await.unwrap();
    assert!(store.delete_destination(&crm.carrier, &crm.destination).await.unwrap());
    assert_eq!(store.token(&crm).await.unwrap(), None, "it goes with its destination");
}
