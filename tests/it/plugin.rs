//! The plugin runtime: chains, determinism, breakers, artifacts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookyard::carrier::{Limits, OnFault};
use hookyard::plugin::{
    BreakerConfig, Chain, CheckError, CompileError, Content, Fault, Full, Outcome, Ran, Run, TrapKind,
};
use hookyard_tests::wasm::{Wasm, chain, event, generous};
use hookyard_tests::{generated, guests};

fn rejected(ran: &Ran) -> &str {
    match &ran.result {
        Err(Fault::Rejected(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_upload_that_is_good_passes_and_says_what_it_imports() {
    let wasm = Wasm::start();
    let checked = wasm.runtime.check(Bytes::from_static(guests::HELLO), generous()).await.unwrap();
    assert_eq!(checked.size, guests::HELLO.len() as u64);
    assert!(checked.imports.iter().any(|import| import == "hookyard:plugin/log@1.0.0"), "{checked:?}");
    assert!(checked.warnings.is_empty(), "{:?}", checked.warnings);
    let ran = wasm.run(&Arc::new(chain("acme", &[&checked.program])), "{}").await;
    assert_eq!(ran.result, Ok(Outcome::Forward(Content::Original)));
    assert_eq!(ran.log[0].message, "hello, 1");
}

#[tokio::test]
async fn what_one_link_forwards_the_next_is_given() {
    let wasm = Wasm::start();
    let program = wasm.load(guests::HOSTILE).await;
    let two = Arc::new(chain("acme", &[&program, &program]));
    let ran = wasm.run(&two, r#"{"do": "append", "with": "reject"}"#).await;
    assert_eq!(
        rejected(&ran),
        "set/Quay",
        "settings and tables are read, and the second is given the command"
    );
    assert_eq!(ran.by.as_ref().unwrap().0.to_string(), "p1");
    let names: Vec<_> = ran.versions.iter().map(|(plugin, version)| format!("{plugin}@{version}")).collect();
    assert_eq!(names, ["p0@1", "p1@1"]);

    // `original` in the second link is what the first made of it, not the event's payload.
    let hello = wasm.load(guests::HELLO).await;
    let mixed = Arc::new(chain("acme", &[&program, &hello]));
    let ran = wasm.run(&mixed, r#"{"do": "append", "with": "x"}"#).await;
    let made = Content::Bytes(Bytes::from_static(br#"{"do":"x","with":"set/Quay"}"#));
    assert_eq!(ran.result, Ok(Outcome::Forward(made)));

    let both = Arc::new(chain("acme", &[&hello, &hello]));
    assert_eq!(wasm.run(&both, "{}").await.result, Ok(Outcome::Forward(Content::Original)));
    let none = Arc::new(chain("acme", &[]));
    assert_eq!(wasm.run(&none, "{}").await.result, Ok(Outcome::Forward(Content::Original)));
}

#[tokio::test]
async fn a_drop_ends_the_chain_and_what_is_no_payload_cannot_go_on() {
    let wasm = Wasm::start();
    let program = wasm.load(guests::HOSTILE).await;
    let two = Arc::new(chain("acme", &[&program, &program]));
    let ran = wasm.run(&two, r#"{"do": "deliver", "with": "claims"}"#).await;
    assert!(matches!(ran.result, Ok(Outcome::Deliver(_))), "{ran:?}");
    assert_eq!(ran.versions.len(), 1);
    let ran = wasm.run(&two, r#"{"do": "forward-text", "with": "plain"}"#).await;
    assert!(rejected(&ran).contains("is not UTF-8 JSON"), "{ran:?}");
    let ran = wasm.run(&two, r#"{"do": "forward-fetch"}"#).await;
    assert!(rejected(&ran).contains("only the last plugin may forward a fetch"), "{ran:?}");
    let one = Arc::new(chain("acme", &[&program]));
    let ran = wasm.run(&one, r#"{"do": "forward-fetch"}"#).await;
    assert_eq!(ran.result, Ok(Outcome::Forward(Content::Fetch("https://files.test/a".to_owned()))));
    let ran = wasm.run(&one, r#"{"do": "later", "with": "no rates yet"}"#).await;
    assert_eq!(ran.result, Err(Fault::Temporary("no rates yet".to_owned())));
}

#[tokio::test]
async fn the_same_event_gives_the_same_bytes() {
    let wasm = Wasm::start();
    let program = wasm.load(guests::HOSTILE).await;
    let one = Arc::new(chain("acme", &[&program]));
    let world = |id: &'static str| {
        let answer = wasm.begin(&one, event(id, r#"{"do": "world"}"#));
        async move {
            match answer.await.unwrap().result {
                Ok(Outcome::Drop(text)) => text,
                other => panic!("{other:?}"),
            }
        }
    };
    let first = world("e1").await;
    assert_eq!(first, world("e1").await);
    assert_ne!(first, world("e2").await, "random bytes hang on the event");
    assert!(first.starts_with("wall 1761300000123 random "), "{first}");
    assert!(first.ends_with("moved true args 0 env 0 file false"), "{first}");
    // A second host, compiled anew, gives the same.
    let other = Wasm::start();
    let program = other.load(guests::HOSTILE).await;
    let one = Arc::new(chain("acme", &[&program]));
    let ran = other.begin(&one, event("e1", r#"{"do": "world"}"#)).await.unwrap();
    assert_eq!(ran.result, Ok(Outcome::Drop(first)));
}

#[tokio::test]
async fn a_version_that_fails_too_often_rests_and_on_fault_decides() {
    let second = Duration::from_secs(1);
    let breaker = BreakerConfig { faults: 2, window: 60 * second, rest: 30 * second };
    let wasm = Wasm::with(|config| config.breaker = breaker);
    let program = wasm.load(guests::HOSTILE).await;
    let hello = wasm.load(guests::HELLO).await;
    let policy = |on_fault: OnFault| {
        let mut chain = chain("acme", &[&program]);
        chain.on_fault = on_fault;
        chain.links[0].version = 2;
        chain.links[0].previous = Some((1, hello.clone()));
        Arc::new(chain)
    };
    let hold = policy(OnFault::Hold);
    for _ in 0..2 {
        let ran = wasm.run(&hold, r#"{"do": "trap"}"#).await;
        assert!(matches!(ran.result, Err(Fault::Trapped { what: TrapKind::Unreachable, .. })));
    }
    let nothing = r#"{"do": "nothing"}"#;
    let ran = wasm.run(&hold, nothing).await;
    let Err(Fault::BreakerOpen { version: 2, reason, .. }) = &ran.result else { panic!("{ran:?}") };
    assert!(reason.contains("unreachable"), "{reason}");
    assert!(ran.versions.is_empty());

    let ran = wasm.run(&policy(OnFault::Previous), nothing).await;
    assert_eq!(ran.versions[0].1, 1);
    assert_eq!(ran.log[0].message, "hello, 1");
    let ran = wasm.run(&policy(OnFault::Forward), nothing).await;
    assert_eq!(ran.result, Ok(Outcome::Forward(Content::Original)));
    assert!(ran.versions.is_empty());
    let ran = wasm.run(&policy(OnFault::Drop), nothing).await;
    assert!(matches!(&ran.result, Ok(Outcome::Drop(why)) if why.contains("rests after too many faults")));

    wasm.clock.advance(30 * second);
    let ran = wasm.run(&hold, nothing).await;
    assert_eq!(ran.result, Ok(Outcome::Forward(Content::Original)), "the probe is good");
    assert!(wasm.run(&hold, nothing).await.result.is_ok());
    let faults = wasm.runtime.metrics().faults;
    assert!(faults.contains(&("trapped", 2)) && faults.contains(&("breaker_open", 1)), "{faults:?}");
}

/// The artifacts of a runtime, by extension.
fn files(wasm: &Wasm, extension: &str) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(wasm.folder.path().join("artifacts")).expect("a folder");
    let mut files: Vec<_> = folder.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == extension));
    files
}

#[tokio::test]
async fn an_artifact_is_made_once_and_a_damaged_one_anew() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let wasm = Wasm::start();
    wasm.load(guests::HELLO).await;
    let [artifact] = &files(&wasm, "cwasm")[..] else { panic!() };
    let first = std::fs::metadata(artifact).unwrap();
    assert_eq!(first.permissions().mode() & 0o777, 0o600);
    let folder = std::fs::metadata(artifact.parent().unwrap()).unwrap();
    assert_eq!(folder.permissions().mode() & 0o777, 0o700);
    wasm.load(guests::HELLO).await;
    assert_eq!(std::fs::metadata(artifact).unwrap().ino(), first.ino(), "it was not compiled again");

    // A single byte in the middle. The file that a program has mapped is not touched: this one takes its place.
    let whole = std::fs::read(artifact).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(artifact).unwrap();
    std::fs::write(artifact, &bytes).unwrap();
    let program = wasm.load(guests::HELLO).await;
    assert!(std::fs::read(artifact).unwrap() != bytes, "it was made anew");
    assert!(wasm.run(&Arc::new(chain("acme", &[&program])), "{}").await.result.is_ok());

    // Cut short, with its digest gone.
    std::fs::remove_file(artifact).unwrap();
    std::fs::write(artifact, &whole[..100]).unwrap();
    std::fs::remove_file(&files(&wasm, "sha256")[0]).unwrap();
    wasm.load(guests::HELLO).await;
    assert!(std::fs::metadata(artifact).unwrap().len() > 100);
    assert!(files(&wasm, "new").is_empty());
}

#[tokio::test]
async fn an_artifact_of_another_build_is_not_looked_at() {
    let wasm = Wasm::start();
    wasm.load(guests::HELLO).await;
    let [artifact] = &files(&wasm, "cwasm")[..] else { panic!() };
    let name = artifact.file_name().unwrap().to_str().unwrap();
    let (sha256, _) = name.split_once('-').unwrap();
    let other = artifact.with_file_name(format!("{sha256}-0123456789abcdef.cwasm"));
    std::fs::rename(artifact, &other).unwrap();
    wasm.load(guests::HELLO).await;
    assert_eq!(files(&wasm, "cwasm").len(), 2);

    // The next start keeps what it can use and removes the rest, with what a killed compiler left.
    std::fs::write(artifact.with_file_name("1-0.new"), "half").unwrap();
    let folder = wasm.folder.path().join("artifacts");
    let again = Wasm::with(|config| config.artifacts = folder);
    assert_eq!(&files(&wasm, "cwasm"), std::slice::from_ref(artifact));
    assert!(files(&wasm, "new").is_empty());
    again.load(guests::HELLO).await;
}

#[tokio::test]
async fn a_full_queue_gives_the_run_back_and_keeps_room_for_others() {
    let wasm = Wasm::with(|config| {
        config.threads = 1;
        config.queued_runs = 8;
    });
    let hello = wasm.load(guests::HELLO).await;
    let [greedy, other] = ["greedy", "other"].map(|carrier| Arc::new(chain(carrier, &[&hello])));
    // The only thread is held in a callback, so what is submitted stays.
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (entered, entry) = tokio::sync::oneshot::channel();
    let run = |chain: &Arc<Chain>, done: Box<dyn FnOnce(Ran) + Send>| Run {
        event: Arc::new(event("e", "{}")),
        chain: chain.clone(),
        done,
    };
    let hold = Box::new(move |_| {
        let _ = entered.send(());
        let _ = released.recv();
    });
    wasm.runtime.submit(run(&greedy, hold)).unwrap();
    entry.await.unwrap();
    let mut taken = 0;
    let Full(back) = loop {
        match wasm.runtime.submit(run(&greedy, Box::new(|_| ()))) {
            Ok(()) => taken += 1,
            Err(full) => break full,
        }
    };
    assert_eq!((taken, back.event.id.as_str()), (4, "e"));
    assert!(wasm.runtime.submit(run(&other, Box::new(|_| ()))).is_ok(), "there is room for another carrier");
    assert_eq!(wasm.runtime.metrics().queued, 5);
    release.send(()).unwrap();
    assert!(wasm.run(&other, "{}").await.result.is_ok());
}

#[tokio::test]
async fn a_callback_that_panics_takes_no_thread_with_it() {
    let wasm = Wasm::with(|config| config.threads = 1);
    let hello = Arc::new(chain("acme", &[&wasm.load(guests::HELLO).await]));
    let done = Box::new(|_| panic!("the caller's own mistake"));
    wasm.runtime.submit(Run { event: Arc::new(event("e", "{}")), chain: hello.clone(), done }).unwrap();
    assert!(wasm.run(&hello, "{}").await.result.is_ok());
}

#[tokio::test]
async fn a_compilation_has_limits_of_its_own() {
    let wasm = Wasm::with(|config| config.compile_memory_bytes = 20 << 20);
    let error = wasm.runtime.load(Bytes::from_static(guests::HOSTILE), generous()).await.unwrap_err();
    assert!(matches!(error, CheckError::Compile(CompileError::Memory(20_971_520))), "{error:?}");
    assert_eq!(error.code(), "plugin_compile_memory");
    assert!(files(&wasm, "cwasm").is_empty() && files(&wasm, "new").is_empty());

    // Half a megabyte that would take the compiler half a minute.
    let slow = Bytes::from(generated::slow_to_compile());
    assert!(slow.len() < 1 << 20, "{}", slow.len());
    let wasm = Wasm::with(|config| config.compile_cpu = Duration::from_secs(1));
    let error = wasm.runtime.load(slow, generous()).await.unwrap_err();
    assert_eq!(error.to_string(), "limit compile_cpu hit: compiling took more than 1 s");
    assert_eq!(error.code(), "plugin_compile_time");
    assert!(files(&wasm, "cwasm").is_empty() && files(&wasm, "new").is_empty());
    // The same host goes on with the next.
    wasm.load(guests::HELLO).await;

    let wasm = Wasm::with(|config| config.compiler = "/nowhere/hookyard".into());
    let error = wasm.runtime.load(Bytes::from_static(guests::HELLO), generous()).await.unwrap_err();
    assert!(error.is_hosts(), "{error:?}");
}

#[tokio::test]
async fn a_stop_finishes_what_is_queued() {
    let wasm = Wasm::start();
    let hello = Arc::new(chain("acme", &[&wasm.load(guests::HELLO).await]));
    let answers: Vec<_> = (0..200).map(|n| wasm.begin(&hello, event(&format!("e{n}"), "{}"))).collect();
    let runtime = wasm.runtime.clone();
    tokio::task::spawn_blocking(move || runtime.stop()).await.unwrap();
    for answer in answers {
        assert!(answer.await.unwrap().result.is_ok());
    }
    assert_eq!(wasm.runtime.metrics().queued, 0);
    assert_eq!(wasm.runtime.metrics().instances, 0);
}

#[tokio::test]
async fn no_version_goes_above_the_ceiling() {
    let wasm = Wasm::with(|config| config.ceiling.memory_bytes = 4 << 20);
    let program = wasm.load_with(guests::HOSTILE, Limits { memory_bytes: 1 << 30, ..generous() }).await;
    assert_eq!(program.limits().memory_bytes, 4 << 20);
    let ran = wasm.run(&Arc::new(chain("acme", &[&program])), r#"{"do": "memory"}"#).await;
    assert!(matches!(ran.result, Err(Fault::LimitHit { limit: "memory_bytes", .. })), "{ran:?}");
}
