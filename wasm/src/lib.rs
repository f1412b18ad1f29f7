//! One SMMU with a guest in front of it, for JavaScript: a machine that runs scripts, goes back in time, and says what an
//! invalidation would do.
//!
//! This package translates and decides nothing: scripts come in, plain data goes out, and whatever an integrator or a
//! script got wrong becomes one kind of exception, made by `into_error`. A 64-bit value is a `bigint`; addresses to draw
//! are numbers, exact below 2^53.

mod access;
mod command;
mod frame;
mod guest;
mod history;
mod import;
mod json;
mod knobs;
mod ram;
mod registers;
mod script;
mod snapshot;
mod sorted;
mod tables;
mod tape;
mod text;
mod watch;
mod world;

use frame::{Frame, Question};
use history::History;
use knobs::Knobs;
use script::Error;
use serde::Serialize;
use smmuv3::{Command, RegisterError};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = include_str!("snapshot.d.ts");

#[wasm_bindgen]
#[allow(missing_docs, reason = "the macro makes types that it does not document")]
extern "C" {
    /// Data described in the custom section.
    #[wasm_bindgen(typescript_type = "Panels")]
    pub type PanelsValue;
    /// Likewise.
    #[wasm_bindgen(typescript_type = "Preview")]
    pub type PreviewValue;
    /// Likewise.
    #[wasm_bindgen(typescript_type = "Why | null")]
    pub type WhyValue;
    /// Likewise.
    #[wasm_bindgen(typescript_type = "WalkView")]
    pub type WalkValue;
    /// Likewise.
    #[wasm_bindgen(typescript_type = "readonly KindView[]")]
    pub type KindsValue;
    /// Likewise.
    #[wasm_bindgen(typescript_type = "readonly Sample[]")]
    pub type SamplesValue;

    #[wasm_bindgen(js_namespace = JSON, js_name = parse)]
    fn parse(text: &str) -> JsValue;
}

/// Plain data as JavaScript has it.
fn plain<T: JsCast>(data: &impl Serialize) -> T {
    // Nothing that is serialized here has a key that is no string, so there is always text.
    parse(&serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned())).unchecked_into()
}

/// An SMMUv3.2, its memory, its guest, and the time that they have gone through.
#[wasm_bindgen]
pub struct Machine {
    history: History,
    frame: Frame,
    composed: Option<[u64; 2]>,
    /// What was mapped when it was last asked: for this stream, at this version of memory.
    mapped: Option<((u32, u32), Vec<f64>)>,
}

#[wasm_bindgen]
impl Machine {
    /// A booted machine without a script. `knobs` are words such as `sets=16 ways=8 ril=1`.
    #[wasm_bindgen(constructor)]
    pub fn new(knobs: &str) -> Result<Machine, JsError> {
        let history = Knobs::USUAL.parse(knobs).and_then(|knobs| History::new(knobs, Vec::new()));
        Ok(Self {
            history: history.map_err(into_error)?,
            frame: Frame::default(),
            composed: None,
            mapped: None,
        })
    }

    /// Begins anew: does `setup` at once, and leaves `script` to be run. On an error nothing has changed.
    pub fn load(&mut self, knobs: &str, setup: &str, script: &str) -> Result<(), JsError> {
        let knobs = Knobs::USUAL.parse(knobs).map_err(into_error)?;
        let mut actions = script::parse(setup).map_err(into_error)?;
        let before = actions.len();
        actions.extend(script::parse(script).map_err(into_error)?);
        let mut history = History::new(knobs, actions).map_err(into_error)?;
        while (history.world.at < before || history.world.smmu.pending()) && history.run(1) != 0 {}
        if let Some(trouble) = &history.trouble {
            return Err(into_error(Error(trouble.clone())));
        }
        self.take(history);
        Ok(())
    }

    /// Reads a transcript. On an error, which names line and cause, nothing has changed.
    pub fn import(&mut self, text: &str) -> Result<(), JsError> {
        let imported = import::import(text).map_err(into_error)?;
        self.take(History::imported(imported).map_err(into_error)?);
        Ok(())
    }

    /// The conversation up to now as a transcript, for `replay`.
    pub fn export(&self, name: &str) -> Result<String, JsError> {
        self.history.tape(name).map_err(into_error)
    }

    /// The reader does something now: what was to come is given up. On an error nothing has changed.
    pub fn act(&mut self, line: &str) -> Result<(), JsError> {
        let action = script::action(line.trim()).map_err(into_error)?;
        self.history.act(action, line.trim().to_owned()).map_err(into_error)?;
        self.frame.forget();
        self.mapped = None;
        Ok(())
    }

    /// Lines that the reader has added, one each.
    #[wasm_bindgen(getter)]
    pub fn own(&self) -> String {
        self.history.own.join("\n")
    }

    /// Goes on by at most `moments`, and says by how many.
    pub fn run(&mut self, moments: u32) -> u32 {
        self.history.run(moments)
    }

    /// Goes on while the present action and its commands last.
    #[wasm_bindgen(js_name = runAction)]
    pub fn run_action(&mut self) -> u32 {
        let at = self.history.world.at;
        self.history.remember_live();
        let mut done = 0;
        loop {
            let before = core::mem::take(&mut self.history.before);
            let one = self.history.run(1);
            self.history.before = before;
            done += one;
            if one == 0 || (self.history.world.at != at && !self.history.world.smmu.pending()) {
                return done;
            }
        }
    }

    /// Goes to a moment that has been.
    pub fn seek(&mut self, moment: u32) {
        self.history.seek(moment);
    }

    /// The present moment.
    #[wasm_bindgen(getter)]
    pub fn now(&self) -> u32 {
        self.history.world.now
    }

    /// The last moment that has been.
    #[wasm_bindgen(getter)]
    pub fn end(&self) -> u32 {
        self.history.end()
    }

    /// Whether there is nothing left to run.
    #[wasm_bindgen(getter)]
    pub fn over(&self) -> bool {
        self.history.is_over()
    }

    /// Commands that have been consumed.
    #[wasm_bindgen(getter)]
    pub fn commands(&self) -> u32 {
        self.history.world.watch.counters.commands
    }

    /// Entries that are live.
    #[wasm_bindgen(getter)]
    pub fn live(&self) -> u32 {
        self.history.world.smmu.iotlb().len()
    }

    /// Composes a command without sending it, and says what it would do.
    pub fn compose(&mut self, line: &str) -> Result<PreviewValue, JsError> {
        let action = script::action(line.trim()).map_err(into_error)?;
        let script::Action::Commands { words, .. } = action else {
            return Err(into_error(Error(format!("`{line}` is no command"))));
        };
        self.composed = words.first().copied();
        self.fill();
        Ok(plain(&snapshot::preview::preview(
            &self.history.world,
            &self.frame,
            self.composed.unwrap_or_default(),
        )))
    }

    /// Fills the columns. Call it before reading them.
    pub fn fill(&mut self) {
        let question = self.question();
        self.frame.fill(&self.history, question.as_ref());
    }

    /// Where the columns are in memory: start, output, age, asid, vmid, log2, flags, stale, verdict, reason.
    pub fn columns(&self) -> Vec<u32> {
        let frame = &self.frame;
        vec![
            frame.start.as_ptr() as u32,
            frame.output.as_ptr() as u32,
            frame.age.as_ptr() as u32,
            frame.asid.as_ptr() as u32,
            frame.vmid.as_ptr() as u32,
            frame.log2.as_ptr() as u32,
            frame.flags.as_ptr() as u32,
            frame.stale.as_ptr() as u32,
            frame.verdict.as_ptr() as u32,
            frame.reason.as_ptr() as u32,
        ]
    }

    /// How many rows the columns have.
    #[wasm_bindgen(getter)]
    pub fn slots(&self) -> u32 {
        self.frame.flags.len() as u32
    }

    /// What every panel shows.
    pub fn panels(&self) -> PanelsValue {
        plain(&snapshot::panels(&self.history, &self.frame, self.question().as_ref()))
    }

    /// Why the entry in `slot` goes or stays: asked of the composed command, or of the last TLBI if `last`.
    pub fn why(&self, slot: u32, last: bool) -> WhyValue {
        let question = if last { self.last_question() } else { self.question() };
        plain(&snapshot::why::why(&self.history.world, slot, question.as_ref()))
    }

    /// The walk of an address, on a copy that remembers nothing.
    pub fn walk(&self, stream: u32, address: u64) -> WalkValue {
        plain(&snapshot::walk::walk(&self.history.world, stream, address))
    }

    /// What the tables of `stream` map: first and last address and log2 of the leaf, in threes.
    pub fn mapped(&mut self, stream: u32) -> Vec<f64> {
        let world = &self.history.world;
        let key = (stream, world.memory_version);
        if let Some((_, runs)) = self.mapped.as_ref().filter(|(known, _)| *known == key) {
            return runs.clone();
        }
        let Ok(tables) = world.guest.tables(stream, false) else { return Vec::new() };
        let flat = |(first, last, shift): &(u64, u64, u32)| [*first as f64, *last as f64, f64::from(*shift)];
        let runs: Vec<f64> = tables.mapped(&world.ram).iter().flat_map(flat).collect();
        self.mapped = Some((key, runs.clone()));
        runs
    }

    /// The marks of moments `from + 1` to `to`, joined to `count` of them.
    pub fn marks(&self, from: u32, to: u32, count: u32) -> Vec<u8> {
        let marks = self.history.marks.get(from as usize..).unwrap_or_default();
        let length = (to.saturating_sub(from) as usize).max(1);
        let mut joined = vec![0u8; count as usize];
        for (n, mark) in marks.iter().take(length).enumerate() {
            if let Some(cell) = joined.get_mut(n * count as usize / length) {
                *cell |= mark;
            }
        }
        joined
    }

    /// The counters at moments at equal distances.
    pub fn samples(&self) -> SamplesValue {
        #[derive(Serialize)]
        struct Sample {
            at: u32,
            counters: watch::Counters,
        }
        let samples =
            self.history.samples.iter().map(|(at, counters)| Sample { at: *at, counters: *counters });
        plain(&samples.collect::<Vec<_>>())
    }

    /// NUM and SCALE of the smallest range of granules of `2^shift` bytes that has at least `bytes`.
    pub fn fit(bytes: f64, shift: u32) -> Vec<u32> {
        let units = ((bytes / (1u64 << shift) as f64).ceil() as u64).max(1);
        let mut scale = 0;
        while units.div_ceil(1 << scale) > 32 {
            scale += 1;
        }
        // The same length with the largest SCALE is how Linux says it.
        let count = units.div_ceil(1 << scale);
        let more = count.trailing_zeros();
        vec![(count >> more) as u32 - 1, scale + more]
    }

    /// Reads 32 bits of the register window.
    pub fn read(&self, offset: u32) -> Result<u32, JsError> {
        let mut data = [0; 4];
        self.history.world.smmu.read(offset, &mut data).map_err(into_error)?;
        Ok(u32::from_le_bytes(data))
    }
}

/// Every command that can be composed, with its fields.
#[wasm_bindgen]
pub fn kinds() -> KindsValue {
    #[derive(Serialize)]
    struct Field {
        key: &'static str,
        name: &'static str,
        width: u32,
    }
    #[derive(Serialize)]
    struct Kind {
        name: &'static str,
        fields: Vec<Field>,
    }
    let kinds = command::KINDS.iter().map(|(name, _, rows)| Kind {
        name,
        fields: rows
            .iter()
            .map(|row| Field { key: row.key, name: row.name, width: u32::from(row.bits.width()) })
            .collect(),
    });
    plain(&kinds.collect::<Vec<_>>())
}

impl Machine {
    fn take(&mut self, history: History) {
        self.history = history;
        self.frame.forget();
        self.mapped = None;
    }

    /// The composed command as a question about entries.
    fn question(&self) -> Option<Question> {
        let world = &self.history.world;
        let command = Command::decode(self.composed?, world.smmu.features()).ok()?;
        Question::new(world, &command)
    }

    fn last_question(&self) -> Option<Question> {
        let world = &self.history.world;
        Question::new(world, &world.watch.last?.command)
    }
}

/// The one place where a refusal becomes an exception.
fn into_error(refusal: impl Into<Refusal>) -> JsError {
    let message = match refusal.into() {
        Refusal::Script(Error(cause)) => cause,
        Refusal::Register(RegisterError::InvalidRegister) => {
            "the offset is outside of the two register pages".to_owned()
        }
        Refusal::Register(RegisterError::InvalidSize) => "an access has 4 or 8 bytes".to_owned(),
        Refusal::Register(RegisterError::Unaligned) => {
            "the offset is no multiple of the access's size".to_owned()
        }
    };
    JsError::new(&message)
}

/// Everything that can be refused here.
enum Refusal {
    Script(Error),
    Register(RegisterError),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Script(error)
    }
}

impl From<RegisterError> for Refusal {
    fn from(error: RegisterError) -> Self {
        Self::Register(error)
    }
}
