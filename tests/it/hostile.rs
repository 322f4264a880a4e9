//! Plugins that misbehave: each gets an error of its own, and nobody else notices.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookyard::carrier::Limits;
use hookyard::clock::Stopwatch;
use hookyard::plugin::{CheckError, Fault, LogLevel, Outcome, Ran, TrapKind};
use hookyard_tests::wasm::{Wasm, chain, event, generous, memory, no_breaker};
use hookyard_tests::{generated, guests};

/// What the hostile guest does with this payload under these limits.
async fn harm_under(limits: Limits, payload: &str) -> Ran {
    let wasm = Wasm::start();
    let program = wasm.load_with(guests::HOSTILE, limits).await;
    wasm.run(&Arc::new(chain("acme", &[&program])), payload).await
}

async fn harm(payload: &str) -> Ran {
    harm_under(generous(), payload).await
}

async fn refusal(bytes: impl Into<Bytes>) -> CheckError {
    let limits = Limits { wall: Duration::from_millis(500), ..Limits::default() };
    match Wasm::start().runtime.check(bytes.into(), limits).await {
        Err(error) => error,
        Ok(checked) => panic!("accepted: {checked:?}"),
    }
}

#[tokio::test]
async fn an_infinite_loop_ends_at_its_deadline() {
    let limits = Limits { wall: Duration::from_millis(50), ..Limits::default() };
    let ran = harm_under(limits, r#"{"do": "loop"}"#).await;
    assert_eq!(ran.result, Err(Fault::Deadline { wall: Duration::from_millis(50) }));
    assert!(ran.cost >= Duration::from_millis(50), "{:?}", ran.cost);
    assert_eq!(ran.by.unwrap().0.to_string(), "p0");
}

#[tokio::test]
async fn a_loop_in_start_code_ends_at_the_deadline_and_is_refused_at_upload() {
    let wasm = Wasm::start();
    let limits = Limits { wall: Duration::from_millis(50), ..Limits::default() };
    let program = wasm.load_with(guests::START_LOOP, limits).await;
    let ran = wasm.run(&Arc::new(chain("acme", &[&program])), "{}").await;
    assert_eq!(ran.result, Err(Fault::Deadline { wall: Duration::from_millis(50) }));
    let error = wasm.runtime.check(Bytes::from_static(guests::START_LOOP), limits).await.unwrap_err();
    assert!(matches!(error, CheckError::Start(Fault::Deadline { .. })), "{error:?}");
    assert_eq!(
        error.to_string(),
        "its start code failed: limit wall_ms hit: the plugin did not answer within 50 ms"
    );
}

#[tokio::test]
async fn a_memory_bomb_hits_its_limit_by_name() {
    let ran = harm(r#"{"do": "memory"}"#).await;
    let Err(Fault::LimitHit { limit, message }) = ran.result else { panic!("{ran:?}") };
    assert_eq!(limit, "memory_bytes");
    assert!(message.ends_with("33554432 allowed"), "{message}");
}

#[tokio::test]
async fn recursion_without_end_is_a_stack_overflow() {
    for payload in [r#"{"do": "recurse"}"#, r#"{"do": "recurse-in-memory"}"#] {
        let ran = harm(payload).await;
        let Err(Fault::Trapped { what, .. }) = ran.result else { panic!("{ran:?}") };
        assert_eq!(what, TrapKind::StackOverflow, "{payload}");
    }
}

#[tokio::test]
async fn an_output_bomb_hits_its_limit_by_name() {
    // Just above the limit the host has the verdict in its hands; far above it never takes it.
    let counted = [
        (r#"{"do": "output", "with": 1048576}"#, "the verdict holds 1048606 bytes, 1048576 allowed"),
        (
            r#"{"do": "output", "with": 8000000}"#,
            "more was handed to the host in one call than twice the limit for output of 1048576 bytes",
        ),
        (
            r#"{"do": "one-huge-message", "with": 8000000}"#,
            "more was handed to the host in one call than twice the limit for output of 1048576 bytes",
        ),
    ];
    for (payload, why) in counted {
        let ran = harm(payload).await;
        let Err(Fault::LimitHit { limit, message }) = ran.result else { panic!("{ran:?}") };
        assert_eq!((limit, message.as_str()), ("output_bytes", why));
    }
    let ran = harm(r#"{"do": "many", "with": 65}"#).await;
    let Err(Fault::LimitHit { limit, .. }) = ran.result else { panic!("{ran:?}") };
    assert_eq!(limit, "deliveries");
}

#[tokio::test]
async fn a_log_flood_is_cut_and_counted() {
    let ran = harm(r#"{"do": "log", "with": 1000}"#).await;
    assert_eq!((ran.log.len(), ran.log_dropped), (256, 744));
    assert_eq!(ran.log[255].message, "line 255");
    assert!(ran.result.is_ok(), "a flood harms nobody, so it is no fault");

    let ran = harm(r#"{"do": "stdout", "with": 3}"#).await;
    let lines: Vec<_> = ran.log.iter().map(|line| (line.level, line.message.as_str())).collect();
    let expected = [
        (LogLevel::Info, "out 0"),
        (LogLevel::Info, "out 1"),
        (LogLevel::Info, "out 2"),
        (LogLevel::Warn, "err 0 err 1 err 2 "),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn traps_and_panics_say_what_happened() {
    let ran = harm(r#"{"do": "trap"}"#).await;
    assert!(matches!(ran.result, Err(Fault::Trapped { what: TrapKind::Unreachable, .. })), "{ran:?}");

    let ran = harm(r#"{"do": "panic", "with": "no state \"QC\" in the table"}"#).await;
    let Err(Fault::Trapped { what: TrapKind::Panic, message }) = &ran.result else { panic!("{ran:?}") };
    assert!(message.contains("no state \"QC\" in the table"), "{message}");
    assert!(message.contains("src/lib.rs:"), "{message}");
    assert!(ran.log.iter().any(|line| line.message.contains("no state")), "{:?}", ran.log);

    let ran = harm(r#"{"do": "exit"}"#).await;
    let Err(Fault::Trapped { what: TrapKind::Exit, message }) = &ran.result else { panic!("{ran:?}") };
    assert_eq!(message, "the plugin called exit with status 1");
}

#[tokio::test]
async fn a_table_of_ten_million_does_not_fit() {
    let error = refusal(guests::BIG_TABLE).await;
    assert!(matches!(error, CheckError::TooLarge(_)), "{error:?}");
    assert!(error.to_string().contains("10000"), "{error}");
}

#[tokio::test]
async fn a_table_that_grows_without_end_hits_its_limit_by_name() {
    let wasm = Wasm::start();
    let bytes = Bytes::from(generated::grows_its_table(1_000));
    // On the sample event it fails as on any other, and its author is told.
    let checked = wasm.runtime.check(bytes.clone(), generous()).await.unwrap();
    let why = "limit table_elements hit: 10001 asked for, 10000 allowed";
    assert_eq!(checked.warnings, [format!("on a sample event with the payload {{}} it fails: {why}")]);
    let ran = wasm.run(&Arc::new(chain("acme", &[&checked.program])), "{}").await;
    assert_eq!(ran.result.unwrap_err().to_string(), why);
    let program = wasm.load_with(bytes, Limits { table_elements: 1_500, ..generous() }).await;
    let ran = wasm.run(&Arc::new(chain("acme", &[&program])), "{}").await;
    let Err(Fault::LimitHit { limit: "table_elements", message }) = ran.result else { panic!("{ran:?}") };
    assert_eq!(message, "2001 asked for, 1500 allowed");
}

#[tokio::test]
async fn a_destination_that_was_not_granted_is_rejected() {
    let ran = harm(r#"{"do": "deliver", "with": "elsewhere"}"#).await;
    assert_eq!(
        ran.result,
        Err(Fault::Rejected(
            "delivery 0: destination \"elsewhere\" is not granted: add it to the subscription's destinations"
                .to_owned()
        ))
    );
    let ran = harm(r#"{"do": "deliver", "with": "claims"}"#).await;
    assert!(matches!(ran.result, Ok(Outcome::Deliver(list)) if list.len() == 1));
}

#[tokio::test]
async fn what_is_no_plugin_is_refused_with_its_own_reason() {
    let error = refusal(guests::SOCKETS).await;
    assert!(
        matches!(&error, CheckError::Network { import } if import.starts_with("wasi:sockets/")),
        "{error:?}"
    );

    let error = refusal(guests::UNKNOWN_IMPORT).await;
    assert!(
        error.to_string().starts_with("it imports acme:vault/keys, which plugins do not get."),
        "{error}"
    );
    assert!(error.to_string().contains("hookyard:plugin/settings@1.0.0"), "{error}");

    let error = refusal(guests::OTHER_WORLD).await;
    assert!(matches!(&error, CheckError::OtherWorld { exports } if exports == &["acme:greeter/greeting"]));

    let error = refusal(guests::OTHER_TYPES).await;
    assert!(matches!(error, CheckError::Types(_)), "{error:?}");
    assert!(error.to_string().starts_with("it does not fit the contract hookyard:plugin@1.0.0: "), "{error}");

    let error = refusal(&b"\0asm\x01\0\0\0"[..]).await;
    assert!(matches!(error, CheckError::CoreModule), "{error:?}");

    for length in [4, 100, guests::HOSTILE.len() / 2, guests::HOSTILE.len() - 1] {
        let error = refusal(&guests::HOSTILE[..length]).await;
        assert!(matches!(error, CheckError::Truncated { at } if at == length as u64), "{length}: {error:?}");
    }

    let error = refusal(vec![0; 40 << 20]).await;
    assert!(matches!(error, CheckError::TooBig { size: 41_943_040, allowed: 33_554_432 }), "{error:?}");
    for bytes in [&b""[..], b"#!/bin/sh\n", b"{}"] {
        let error = refusal(bytes).await;
        assert!(matches!(error, CheckError::NotWasm), "{error:?}");
    }
}

#[tokio::test]
async fn what_the_allow_list_refuses_is_not_linked_either() {
    let wasm = Wasm::start();
    for guest in [guests::SOCKETS, guests::UNKNOWN_IMPORT] {
        let error = wasm.runtime.load(Bytes::from_static(guest), generous()).await.unwrap_err();
        assert!(matches!(error, CheckError::Types(_)), "{error:?}");
    }
}

#[tokio::test]
async fn the_hosts_memory_stays_in_bounds_while_guests_misbehave() {
    const MIB: u64 = 1 << 20;
    let wasm = Wasm::with(|config| config.breaker = no_breaker());
    let bad = Arc::new(chain("bad", &[&wasm.load(guests::HOSTILE).await]));
    let good = Arc::new(chain("good", &[&wasm.load(guests::HELLO).await]));
    assert!(wasm.run(&good, "{}").await.result.is_ok());
    let before = memory("VmRSS");
    // What the host let go only in part, or kept for each of these, would show over so many.
    let harms = [
        r#"{"do": "memory"}"#,
        r#"{"do": "output", "with": 8000000}"#,
        r#"{"do": "one-huge-message", "with": 8000000}"#,
        r#"{"do": "log", "with": 10000}"#,
        r#"{"do": "stdout", "with": 1000}"#,
        r#"{"do": "write-secret", "with": 90}"#,
        r#"{"do": "recurse"}"#,
    ];
    for _ in 0..8 {
        let running = harms.map(|harm| wasm.begin(&bad, event("x", harm)));
        for ran in running {
            ran.await.unwrap();
        }
        assert!(wasm.run(&good, "{}").await.result.is_ok(), "the others run on");
    }
    // Two threads with a memory of 32 MiB each, and as much again for all that the host holds meanwhile.
    let (most, after) = (memory("VmHWM"), memory("VmRSS"));
    assert!(most < before + 128 * MIB, "{before} bytes before, {most} at most");
    assert!(after < before + 32 * MIB, "{before} bytes before, {after} after");
}

#[tokio::test]
async fn a_precompiled_artifact_is_refused_even_the_hosts_own() {
    let wasm = Wasm::start();
    wasm.load(guests::HELLO).await;
    let folder = std::fs::read_dir(wasm.folder.path().join("artifacts")).unwrap();
    let artifact = folder
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "cwasm"))
        .unwrap();
    let bytes = std::fs::read(artifact).unwrap();
    let error = wasm.runtime.check(bytes.into(), generous()).await.unwrap_err();
    assert!(matches!(error, CheckError::Precompiled), "{error:?}");
}

#[tokio::test]
async fn a_sleep_moves_the_guests_own_time_and_not_the_hosts() {
    let watch = Stopwatch::start();
    let ran = harm(r#"{"do": "sleep", "with": 3600}"#).await;
    assert_eq!(ran.result, Ok(Outcome::Drop("slept 3600 s".to_owned())));
    assert!(ran.cost < Duration::from_secs(20) && watch.elapsed() < Duration::from_secs(600));
}

#[tokio::test]
async fn a_secret_is_not_found_by_the_next_instance() {
    // One thread: every instance comes onto the slot that the last one left.
    let wasm = Wasm::with(|config| {
        config.threads = 1;
        config.breaker = no_breaker();
    });
    let program = wasm.load(guests::HOSTILE).await;
    let [victim, thief] = ["victim", "thief"].map(|carrier| Arc::new(chain(carrier, &[&program])));
    for _ in 0..4 {
        let ran = wasm.run(&victim, r#"{"do": "write-secret", "with": 90}"#).await;
        assert_eq!(ran.result, Ok(Outcome::Drop("wrote 12582912 bytes".to_owned())));
        let ran = wasm.run(&thief, r#"{"do": "find-secret", "with": 90}"#).await;
        assert_eq!(ran.result, Ok(Outcome::Drop("found 0".to_owned())));
    }
    // The search does find what is there: unmasked, the text is part of the component.
    let ran = wasm.run(&thief, r#"{"do": "find-secret", "with": 0}"#).await;
    let Ok(Outcome::Drop(found)) = &ran.result else { panic!("{ran:?}") };
    assert_ne!(found, "found 0");
    assert!(wasm.runtime.metrics().warm_memories <= 1, "one slot served them all");
}

#[tokio::test]
async fn other_carriers_run_on_beside_a_carrier_that_loops() {
    let wasm = Wasm::with(|config| config.breaker = no_breaker());
    let limits = Limits { wall: Duration::from_millis(50), ..Limits::default() };
    let loops = Arc::new(chain("loops", &[&wasm.load_with(guests::HOSTILE, limits).await]));
    let good = Arc::new(chain("good", &[&wasm.load(guests::HELLO).await]));
    let bad: Vec<_> = (0..60).map(|_| wasm.begin(&loops, event("x", r#"{"do": "loop"}"#))).collect();
    // The loops alone take 60 × 50 ms on at most one of the two threads.
    let watch = Stopwatch::start();
    for n in 0..100 {
        let ran = wasm.begin(&good, event(&format!("e{n}"), "{}")).await.unwrap();
        assert!(ran.result.is_ok());
    }
    let took = watch.elapsed();
    let mut left = 0;
    for mut answer in bad {
        left += u32::from(answer.try_recv().is_err());
    }
    assert!(left > 0, "all loops were through before the others, after {took:?}");
}
