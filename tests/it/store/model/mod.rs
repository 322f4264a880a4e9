//! The store against a model of it: seeded random walks over its business steps, through the lives and deaths of nodes,
//! in which every answer of the store is that of the model, and so is everything that can be read of it.

mod check;
mod state;
mod steps;
mod walk;

use std::collections::BTreeMap;

use hookyard::store::{Store, StoreConfig};

use super::bed::{Bed, Kind, LEASE, ROOMY, T0, furnish, open};
use state::Node;
use tokio::task::JoinSet;
use walk::Walk;

/// Each is a walk of its own.
const SEEDS: std::ops::Range<u64> = 0..6;
/// Runs of the process in a walk.
const LIVES: u32 = 4;
/// Steps in a life.
const STEPS: u32 = 80;

/// What the walks must have met, or they show nothing.
const WANTED: &[&str] = &[
    "accept: \"new\"",
    "accept: \"repeat\"",
    "refuse: [Conflict { index: 0 }]",
    "refuse: [Conflict { index: 1 }]",
    "refuse: [UnknownCarrier { index: 0 }]",
    "plan: Ok(())",
    "plan: Err(Lost)",
    "plan again: Ok(())",
    "plan again: Err(Lost)",
    "record: Ok(())",
    "record: Err(Lost)",
    "record a retry: Ok(())",
    "claim events: true",
    "claim deliveries: true",
    "claim routings: true",
    "hold: true",
    "put back: true",
    "retry: Some(true)",
    "retry: Some(false)",
    "retry: None",
    "cancel: Some(true)",
    "cancel: Some(false)",
    "resend: Some(true)",
    "retry many: true",
    "cancel many: true",
    "run again: Some(true)",
    "run again: Some(false)",
    "release: true",
    "set destination: (Enabled, true)",
    "delete destination: true",
    "take over: (1, true)",
    "delete: true",
];

#[tokio::test]
async fn sqlite_keeps_to_the_model() {
    walks(Kind::Sqlite).await;
}

#[tokio::test]
async fn postgres_keeps_to_the_model() {
    walks(Kind::Postgres).await;
}

async fn walks(kind: Kind) {
    // Side by side, since they mostly wait for the disk.
    let mut walks: JoinSet<_> = SEEDS.map(|seed| walk(kind, seed)).collect();
    let mut met = BTreeMap::new();
    while let Some(walked) = walks.join_next().await {
        for (what, times) in walked.unwrap() {
            *met.entry(what).or_insert(0) += times;
        }
    }
    for what in WANTED {
        assert!(met.contains_key(*what), "no walk met `{what}`; they met {met:#?}");
    }
}

/// Gives what it met, and how often.
async fn walk(kind: Kind, seed: u64) -> BTreeMap<String, u32> {
    let bed = Bed::make(kind).await;
    let mut walk = Walk::new(kind, seed);
    for _ in 0..LIVES {
        walk = if walk.half() { life(&bed, walk).await } else { life_that_is_killed(&bed, walk).await };
    }
    last_life(&bed, &mut walk).await;
    bed.end().await;
    std::mem::take(&mut walk.met)
}

/// The nodes of a life: one on SQLite, two on PostgreSQL.
type Nodes = Vec<(Node, Store)>;

async fn life(bed: &Bed, mut walk: Walk) -> Walk {
    let mut nodes = vec![enter(&mut walk, bed.open().await).await];
    join(&mut walk, &mut nodes, bed.config()).await;
    steps(&mut walk, &nodes).await;
    leave(&mut walk, nodes).await;
    walk
}

async fn life_that_is_killed(bed: &Bed, walk: Walk) -> Walk {
    let config = bed.config();
    bed.killed(move |store| async move {
        let mut walk = walk;
        let mut nodes = vec![enter(&mut walk, store).await];
        join(&mut walk, &mut nodes, config).await;
        steps(&mut walk, &nodes).await;
        if walk.half() {
            // The second alone ends in good order.
            leave(&mut walk, nodes.split_off(1)).await;
        }
        // Without their last clones the writers are not told to end.
        std::mem::forget(nodes);
        walk
    })
    .await
}

async fn enter(walk: &mut Walk, store: Store) -> (Node, Store) {
    let me = walk.opened();
    if me == 0 {
        furnish(&store).await;
    }
    walk.model.nodes.insert(me, T0.plus(LEASE));
    walk.renew(me, &store).await;
    (me, store)
}

async fn join(walk: &mut Walk, nodes: &mut Nodes, config: StoreConfig) {
    if let StoreConfig::Postgres { .. } = config {
        nodes.push(enter(walk, open(config, ROOMY).await).await);
    }
}

async fn leave(walk: &mut Walk, nodes: Nodes) {
    for (me, store) in nodes {
        store.close().await.unwrap();
        let held = walk.model.leave(me);
        walk.tell(me, "leave", &held);
    }
}

async fn steps(walk: &mut Walk, nodes: &Nodes) {
    for _ in 0..STEPS {
        let ms = walk.below(500);
        walk.now.0 += i64::from(ms);
        let at = walk.below(u32::try_from(nodes.len()).unwrap());
        let (me, store) = &nodes[at as usize];
        let limit = 1 + walk.below(6);
        match walk.below(100) {
            0..18 => walk.accept(*me, store).await,
            18..38 => walk.plan(*me, store).await,
            38..56 => walk.record(*me, store).await,
            56..61 => walk.claim_events(*me, store, limit).await,
            61..71 => walk.claim_deliveries(*me, store, limit).await,
            71..74 => walk.claim_routings(*me, store, limit).await,
            74..77 => walk.let_go(*me, store).await,
            77..83 => walk.change_one(*me, store).await,
            83..87 => walk.change_many(*me, store).await,
            87..90 => walk.run_again(*me, store).await,
            90..93 => walk.change_destination(*me, store).await,
            93..96 => {
                // Those that live say so, as a node does long before its lease lapses.
                for (alive, store) in nodes {
                    walk.renew(*alive, store).await;
                }
                walk.take_over(*me, store).await;
            }
            96..99 => walk.forget(*me, store).await,
            _ => check::everything(store, &walk.model, limit).await,
        }
    }
    let (_, store) = &nodes[0];
    check::everything(store, &walk.model, 7).await;
}

/// Whatever went before, one node can take all that is open into its hands.
async fn last_life(bed: &Bed, walk: &mut Walk) {
    let (me, store) = enter(walk, bed.open().await).await;
    walk.now = walk.now.plus(LEASE * 2);
    walk.renew(me, &store).await;
    walk.take_over(me, &store).await;
    for carrier in store.carriers_waiting().await.unwrap() {
        walk.claim_events_of(me, &store, carrier, u32::MAX).await;
    }
    for (lane, _) in store.lanes_waiting().await.unwrap() {
        walk.claim_deliveries_of(me, &store, lane, u32::MAX).await;
    }
    walk.claim_routings(me, &store, u32::MAX).await;
    check::everything(&store, &walk.model, 500).await;
    let model = &walk.model;
    assert!(!model.events.values().any(|e| e.waits()), "events are left");
    assert!(!model.deliveries.values().any(|d| d.waits()), "deliveries are left");
    assert!(!model.routings.values().any(|r| r.waits()), "routings are left");
    store.close().await.unwrap();
}
