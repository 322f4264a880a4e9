//! The ratios that the targets are about. What is compared takes turns round by round, so that a machine that slows down
//! slows down both; each round gives a ratio, and their median counts.

use hookyard::clock::Stopwatch;

use super::{BURST, Bed};

/// Odd, so that the median is one of them.
const ROUNDS: usize = 31;

/// Prints them, with the quartiles beside the median.
pub(super) fn report([one, two]: &[Bed; 2]) {
    println!("\nmedians of {ROUNDS} rounds that take turns, {BURST} calls in each (quartiles)");
    let native = |bed: &Bed| bed.burst(|event| bed.native(event));
    let runs = |bed: &Bed| bed.burst(|event| bed.run(event));
    one.wasm.runtime.ticking(|| {
        let fresh = || one.burst(|event| one.fresh_call(event));
        line("a fresh call / native", &ratios(&fresh, &|| native(one)));
        line("a fresh call with its verdict checked / native", &ratios(&|| runs(one), &|| native(one)));
    });
    line("2 threads / 1 thread, calls a second", &ratios(&|| one.queue_burst(), &|| two.queue_burst()));
    // What is lost on the way: to the queue, to what the threads of one engine share, to the machine itself.
    one.wasm.runtime.ticking(|| {
        two.wasm.runtime.ticking(|| {
            line("  without the queue", &ratios(&|| runs(one), &|| runs(two)));
            line("  each with an engine of its own", &ratios(&|| runs(one), &|| apart(one, two)));
        });
    });
    line("  native", &ratios(&|| native(one), &|| native(two)));
}

/// A burst of which each runtime does one half.
fn apart(one: &Bed, two: &Bed) {
    std::thread::scope(|scope| {
        for bed in [one, two] {
            scope.spawn(|| bed.events[..BURST / 2].iter().for_each(|event| bed.run(event)));
        }
    });
}

/// What `a` takes by what `b` takes, for each round, sorted.
fn ratios(a: &dyn Fn(), b: &dyn Fn()) -> Vec<f64> {
    let time = |work: &dyn Fn()| {
        let watch = Stopwatch::start();
        work();
        watch.elapsed().as_secs_f64()
    };
    a();
    b();
    let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| time(a) / time(b)).collect();
    ratios.sort_by(f64::total_cmp);
    ratios
}

fn line(what: &str, ratios: &[f64]) {
    let quarter = ROUNDS / 4;
    let (low, median, high) = (ratios[quarter], ratios[ROUNDS / 2], ratios[ROUNDS - 1 - quarter]);
    println!("{what:<50} {median:>5.2} ({low:.2} to {high:.2})");
}
