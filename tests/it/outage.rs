//! A database that goes away and comes back: it costs time and no event.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hookyard_tests::data::{Data, Kind};
use hookyard_tests::host::TestHost;
use hookyard_tests::sink::Sink;
use serde_json::json;

use crate::way::simple;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_are_cut_lose_nothing() {
    let data = Data::make(Kind::Postgres).await;
    let host = TestHost::start(&data).await;
    let sink = Sink::start().await;
    let acme = simple(&host, &sink, json!({})).await;
    let cutting = Arc::new(AtomicBool::new(true));
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..4 {
        let (acme, cutting) = (acme.clone(), cutting.clone());
        publishers.spawn(async move {
            let (mut accepted, mut refused) = (Vec::new(), 0);
            while cutting.load(Ordering::Relaxed) {
                let id = format!("evt-{publisher}-{}", accepted.len());
                // A publisher that was not told of a commit posts again, and gets the acceptance that there is.
                loop {
                    let answer = acme.try_post(&id, &json!({ "id": id })).await;
                    if answer.status == 202 {
                        break;
                    }
                    answer.problem(503, "unavailable");
                    refused += 1;
                    tokio::task::yield_now().await;
                }
                accepted.push(id);
            }
            (accepted, refused)
        });
    }
    for round in 1..=5 {
        sink.distinct(round * 30).await;
        data.cut_connections().await;
    }
    sink.distinct(180).await;
    cutting.store(false, Ordering::Relaxed);
    let (accepted, refused): (Vec<_>, Vec<i32>) = publishers.join_all().await.into_iter().unzip();
    let accepted: HashSet<String> = accepted.into_iter().flatten().collect();
    println!("{} events, {refused:?} refused", accepted.len());
    sink.distinct(accepted.len()).await;
    acme.settled_events().await;

    let arrived: HashSet<String> =
        sink.requests().iter().map(|r| r.json()["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(arrived, accepted);
    // The receiver saw an id twice only where the record of its answer was cut off.
    let repeated = sink.times().values().filter(|n| **n > 1).count();
    assert!(repeated <= 5 * 20, "{repeated}");
    assert_eq!(host.admin.get("/readyz").await.status, 200);
    host.end().await;
    data.end().await;
}
