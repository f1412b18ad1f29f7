//! The benchmark's operations for JavaScript, which has the clock: see `run.mjs`.

#![allow(missing_docs, reason = "a program's border, not a library's")]

use core::hint::black_box;

use smmuv3_tests::bench::segment::Segment;
use smmuv3_tests::bench::{OPERATIONS, Operation, by_name, ours, reference};
use wasm_bindgen::prelude::wasm_bindgen;

/// The operations whose laps are long enough for a browser's clock, and which fit a browser's stack.
fn measurable() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().filter(|operation| operation.each_lap() != 1.0 && !operation.name.starts_with("s_"))
}

/// Their names.
#[wasm_bindgen]
pub fn names() -> Vec<String> {
    measurable().map(|operation| operation.name.to_owned()).collect()
}

/// One operation of the model or of the reference.
#[wasm_bindgen]
pub struct Contender {
    segment: Box<dyn Segment>,
    /// Operations a lap.
    #[wasm_bindgen(readonly)]
    pub each_lap: f64,
}

#[wasm_bindgen]
impl Contender {
    /// The operation of that name.
    #[wasm_bindgen(constructor)]
    pub fn new(name: &str, model: bool) -> Result<Contender, String> {
        let operation = by_name(name)?;
        let segment = if model { ours(operation.timed()) } else { reference(operation.timed()) };
        Ok(Contender { segment, each_lap: operation.each_lap() })
    }

    /// What comes before a lap and is not timed.
    pub fn ready(&mut self) {
        self.segment.ready();
    }

    /// A lap.
    pub fn run(&mut self) -> u32 {
        black_box(self.segment.run()) as u32
    }
}
