//! `cargo bench -p smmuv3-tests`: times of laps for people, with divan's statistics and its choice of rows by name.
//!
//! A lap is what the name says as often as the item count says; the second argument is whose it is.

use divan::Bencher;
use divan::counter::ItemsCount;
use smmuv3_tests::bench::{OPERATIONS, by_name, ours, reference, with_room};

fn main() {
    with_room(divan::main);
}

/// Rows and whose they are.
fn rows() -> impl Iterator<Item = String> {
    OPERATIONS
        .iter()
        .flat_map(|operation| ["model", "reference"].map(|who| format!("{} {who}", operation.name)))
}

#[divan::bench(args = rows(), max_time = 0.2)]
fn lap(bencher: Bencher<'_, '_>, row: &str) {
    let (name, who) = row.split_once(' ').unwrap_or((row, "model"));
    let Ok(operation) = by_name(name) else { return };
    let prepare = if who == "model" { ours } else { reference };
    let segment = core::cell::RefCell::new(prepare(operation.timed()));
    bencher
        .counter(ItemsCount::new(operation.each_lap().ceil() as u64))
        .with_inputs(|| segment.borrow_mut().ready())
        .bench_local_values(|()| segment.borrow_mut().run());
}
