//! Time: every moment of a script can be seen again. Copies of the world are kept at growing distances; a moment is the
//! nearest copy before it and ticks from there.

use crate::guest::{RAM_BASE, RAM_BYTES};
use crate::import::Imported;
use crate::knobs::Knobs;
use crate::script::{Action, Error};
use crate::tape::Tape;
use crate::watch::{Counters, Line};
use crate::world::World;

/// Copies that are kept at most; then every second one is given up, and the distance doubles.
const COPIES: usize = 24;
/// Moments between the copy for the next steps back and the present.
const NEAR: u32 = 8;
/// Samples of the counters that are kept at most, likewise.
const SAMPLES: usize = 128;

pub(crate) struct History {
    pub(crate) knobs: Knobs,
    /// Where memory is, and the streams that an imported transcript is about.
    pub(crate) ram: Vec<(u64, u64)>,
    pub(crate) streams: Vec<u32>,
    pub(crate) script: Vec<Action>,
    /// The script's lines, for links.
    pub(crate) own: Vec<String>,
    pub(crate) world: Box<World>,
    copies: Vec<Box<World>>,
    /// A copy shortly before the moment that was gone back to last: the next step back begins there.
    near: Option<Box<World>>,
    distance: u32,
    /// One byte of marks a moment, from moment 1 on.
    pub(crate) marks: Vec<u8>,
    pub(crate) lines: Vec<Line>,
    pub(crate) samples: Vec<(u32, Counters)>,
    sample_distance: u32,
    /// Which slots were live before the last moments.
    pub(crate) before: Vec<usize>,
    /// What went wrong while the script ran, if anything did.
    pub(crate) trouble: Option<String>,
}

impl History {
    /// A booted device at moment 0; a raw script boots it by itself.
    pub(crate) fn new(knobs: Knobs, script: Vec<Action>) -> Result<Self, Error> {
        let mut world = Box::new(World::new(knobs).map_err(|error| Error(error.to_string()))?);
        if !knobs.raw {
            world.boot()?;
        }
        Ok(Self {
            knobs,
            ram: vec![(RAM_BASE, RAM_BYTES)],
            streams: Vec::new(),
            script,
            own: Vec::new(),
            copies: vec![world.clone()],
            near: None,
            world,
            distance: 32,
            marks: Vec::new(),
            lines: Vec::new(),
            samples: vec![(0, Counters::default())],
            sample_distance: 1,
            before: Vec::new(),
            trouble: None,
        })
    }

    /// A device as a transcript has it, at moment 0.
    pub(crate) fn imported(from: Imported) -> Result<Self, Error> {
        let Imported { knobs, streams, ram, actions } = from;
        let mut history = Self::new(knobs, actions)?;
        history.world.ram.limit(&ram);
        history.copies = vec![history.world.clone()];
        (history.ram, history.streams) = (ram, streams);
        Ok(history)
    }

    /// The last moment that has been.
    pub(crate) fn end(&self) -> u32 {
        self.marks.len() as u32
    }

    pub(crate) fn is_over(&self) -> bool {
        self.trouble.is_some() || self.world.is_over(&self.script)
    }

    /// Goes on by at most `moments`, and says by how many. The last one is seen apart, so that its effect can be told.
    pub(crate) fn run(&mut self, moments: u32) -> u32 {
        let mut done = 0;
        while done < moments {
            if done + 1 == moments || moments - done <= 2 {
                self.remember_live();
            }
            if !self.tick() {
                break;
            }
            done += 1;
        }
        done
    }

    pub(crate) fn remember_live(&mut self) {
        self.before.clear();
        self.before.extend(self.world.smmu.iotlb().entries().filter_map(|(slot, _)| slot));
    }

    fn tick(&mut self) -> bool {
        if self.trouble.is_some() && self.world.now == self.end() {
            return false;
        }
        let new = self.world.now == self.end();
        self.world.watch.silent = !new;
        match self.world.tick(&self.script) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(Error(cause)) => {
                self.trouble = Some(cause);
                return false;
            }
        }
        if new {
            self.record();
        }
        true
    }

    fn record(&mut self) {
        let world = &mut self.world;
        self.marks.push(world.watch.marks);
        for line in world.watch.lines.drain(..) {
            match self.lines.last_mut() {
                Some(last) if line.opcode != 0 && last.opcode == line.opcode && last.kind == line.kind => {
                    last.last = line.last;
                }
                _ => self.lines.push(line),
            }
        }
        if world.now.is_multiple_of(self.distance) {
            self.copies.push(world.clone());
            if self.copies.len() > COPIES {
                let mut n = 0;
                self.copies.retain(|_| {
                    n += 1;
                    n % 2 == 1
                });
                self.distance *= 2;
            }
        }
        if world.now.is_multiple_of(self.sample_distance) {
            self.samples.push((world.now, world.watch.counters));
            if self.samples.len() > SAMPLES {
                let mut n = 0;
                self.samples.retain(|_| {
                    n += 1;
                    n % 2 == 1
                });
                self.sample_distance *= 2;
            }
        }
    }

    /// Goes to a moment that has been.
    pub(crate) fn seek(&mut self, moment: u32) {
        let moment = moment.min(self.end());
        let ahead = self.world.now <= moment;
        let copies = self.copies.iter().chain(&self.near);
        let copy = copies.filter(|copy| copy.now < moment.max(1)).max_by_key(|copy| copy.now);
        if let Some(copy) =
            copy.filter(|copy| !ahead || copy.now > self.world.now || self.world.now == moment)
        {
            self.world.clone_from(copy);
        }
        let left = moment - self.world.now.min(moment);
        if left > 2 * NEAR {
            self.run(left - NEAR);
            self.near = Some(self.world.clone());
        }
        self.run(moment - self.world.now.min(moment));
        if moment == 0 {
            self.before.clear();
        }
    }

    /// What comes after the present is given up.
    fn forget_future(&mut self) {
        let now = self.world.now;
        self.marks.truncate(now as usize);
        self.lines.retain(|line| line.first <= now);
        for line in &mut self.lines {
            line.last = line.last.min(now);
        }
        self.samples.retain(|sample| sample.0 <= now);
        self.copies.retain(|copy| copy.now <= now);
        self.near = None;
        self.trouble = None;
    }

    /// The reader acts now: the script's remaining lines go, and this one comes. Commands that are announced are still
    /// consumed. On an error nothing has changed.
    pub(crate) fn act(&mut self, action: Action, line: String) -> Result<(), Error> {
        let mut trial = self.world.clone();
        trial.watch.silent = true;
        while trial.smmu.pending() {
            trial.consume(4096);
        }
        trial.at = 0;
        trial.tick(core::slice::from_ref(&action))?;
        while self.world.smmu.pending() && self.run(4096) != 0 {}
        self.forget_future();
        self.script.truncate(self.world.at);
        self.script.push(action);
        self.own.push(line);
        Ok(())
    }

    /// The conversation up to now.
    pub(crate) fn tape(&self, name: &str) -> Result<String, Error> {
        let mut world = Box::new(World::new(self.knobs).map_err(|error| Error(error.to_string()))?);
        world.ram.limit(if self.knobs.raw { &self.ram } else { &[] });
        let mut streams = self.streams.clone();
        let known = self.world.guest.streams.iter().map(|stream| stream.id);
        for stream in known.chain(self.world.access.as_ref().map(|access| access.stream)) {
            if !streams.contains(&stream) {
                streams.push(stream);
            }
        }
        let mut tape =
            Tape::new(name, &self.knobs, &streams, &self.ram).map_err(|error| Error(error.to_string()))?;
        tape.note(&format!("{}{}", crate::import::KNOBS, self.knobs.words()));
        world.tape = Some(Box::new(tape));
        if !self.knobs.raw {
            world.boot()?;
        }
        world.watch.silent = true;
        while world.now < self.world.now {
            let note = self.script.get(world.at).filter(|_| !world.smmu.pending());
            if let (Some(Action::Note(text)), Some(tape)) = (note, &mut world.tape) {
                tape.note(text);
            }
            if !world.tick(&self.script)? {
                break;
            }
        }
        Ok(world.tape.map(|tape| tape.lines).unwrap_or_default())
    }
}
