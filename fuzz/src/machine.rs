//! A device in a world that is ready, and what has to hold for every call of it.
//!
//! * A call makes a bounded number of memory accesses and takes a bounded number of steps: counted, not timed.
//! * The device writes only what it was lent ([`crate::memory`]).
//! * A translation is what [`Smmu::walk`] says, whose caches are empty, and its span is honest.
//! * A failed transaction leaves a record, or the event queue says that one was lost.
//! * After a command nothing is left that it names ([`crate::kept`]).

use smmuv3::format::regs::Reg;
use smmuv3::{
    Env, Interrupt, Interrupts, Iova, RegisterError, Response, Resumed, Settings, Smmu, Terminated,
    Transaction, Translation,
};
use smmuv3_tests::bits::Words;
use smmuv3_tests::commands::{self, Command};

use crate::event;
use crate::kept::Kept;
use crate::memory::Ram;
use crate::watch::Watch;
use crate::world::{COMMAND_QUEUE, LOG2_COMMANDS, reg};

/// Entries that the IOTLB has room for.
pub const ENTRIES: usize = 64;
/// The device under test.
pub type Device = Smmu<ENTRIES>;

/// Memory accesses of one translation: 2 + 2 structures, 4 + 4 stage 2 descriptors for the latter, 4 + 4 × 4 + 4 descriptors,
/// a record and its interrupt. Updates of descriptors add to it, see [`crate::memory`].
const TRANSLATION_ACCESSES: u32 = 44;
/// Steps of one translation: each access, and what is filled, found and evicted on the way.
const TRANSLATION_STEPS: u32 = 200;
/// Memory accesses of one command: a read, a second one where the bulk of several aborts, a message.
const COMMAND_ACCESSES: u32 = 3;
/// Steps of one command: whatever is remembered may go, one by one.
const COMMAND_STEPS: u32 = 8 + ENTRIES as u32 + 64 + 32 + 32;
/// What a register write may do beside commands: a translation by register, records that waited, interrupts.
const WRITE_ACCESSES: u32 = TRANSLATION_ACCESSES + 2 * 32 + 8;
const WRITE_STEPS: u32 = TRANSLATION_STEPS + 4 * 32 + 8;

/// A device, its memory and the driver's part of the conversation.
#[derive(Clone)]
pub struct Machine {
    /// The device.
    pub smmu: Device,
    /// Physical memory.
    pub ram: Ram,
    /// Who watches.
    pub watch: Watch,
    /// Whether it is asked after each command what is left.
    pub asks_what_is_kept: bool,
    /// Whether a third walk looks where a span ends.
    pub asks_how_far: bool,
    kept: Kept,
    /// The record that the last transaction made, as it lies in memory.
    pub recorded: Option<[u64; 4]>,
    executed: Vec<Command>,
    lines: Lines,
    produced: u32,
}

/// Interrupts, counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lines(pub u64);

impl Interrupts for Lines {
    fn pulse(&mut self, _: Interrupt) {
        self.0 += 1;
    }

    fn send_event(&mut self) {
        self.0 += 1;
    }
}

/// The command queue, likewise.
#[derive(Clone, Copy, Debug)]
struct CommandQueue {
    base: u64,
    cons: u32,
    log2_entries: u32,
}

/// The event queue as its registers show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventQueue {
    prod: u32,
    cons: u32,
    log2_entries: u32,
    base: u64,
    /// It takes records now.
    is_open: bool,
}

impl Machine {
    /// A device and its memory.
    pub fn new(smmu: Device, ram: Ram) -> Self {
        let (watch, kept) = (Watch::default(), Kept::of(&smmu));
        Self {
            smmu,
            ram,
            watch,
            asks_what_is_kept: true,
            asks_how_far: true,
            kept,
            recorded: None,
            executed: Vec::new(),
            lines: Lines::default(),
            produced: 0,
        }
    }

    /// Back to how `start`, which this is a copy of, was, whatever has happened.
    pub fn reset(&mut self, start: &Machine) {
        self.smmu.clone_from(&start.smmu);
        self.ram.restore(&start.ram);
        self.watch.is_watching = false;
        self.asks_what_is_kept = true;
        self.asks_how_far = true;
        self.produced = start.produced;
    }

    /// Goes on with a device made of the state of this one: other settings, nothing remembered.
    pub fn restore_into(&mut self, settings: Settings) {
        let state = self.smmu.state();
        let smmu = Device::from_state(&state, settings).expect("a state that was taken");
        assert_eq!(smmu.state(), state, "a restored device holds something else");
        self.smmu = smmu;
    }

    /// Calls the device, which may make so many accesses and take so many steps.
    pub fn call<R>(
        &mut self,
        accesses: u32,
        steps: u32,
        what: impl FnOnce(&mut Device, &mut Env<'_, Ram, Lines, Watch>) -> R,
    ) -> R {
        self.ram.allow(accesses);
        self.ram.take_updates();
        self.watch.begin(steps);
        let mut env = Env { memory: &mut self.ram, interrupts: &mut self.lines, trace: &mut self.watch };
        what(&mut self.smmu, &mut env)
    }

    /// Reads a 32-bit register.
    pub fn get(&self, offset: u32) -> u32 {
        let mut data = [0; 4];
        self.smmu.read(offset, &mut data).expect("4 bytes, aligned, within the window");
        u32::from_le_bytes(data)
    }

    /// Reads a 64-bit register.
    pub fn get64(&self, offset: u32) -> u64 {
        let mut data = [0; 8];
        self.smmu.read(offset, &mut data).expect("8 bytes, aligned, within the window");
        u64::from_le_bytes(data)
    }

    /// Writes a 32-bit register, and gives the device the time that it needs.
    pub fn set(&mut self, offset: u32, value: u32) {
        self.write(offset, &value.to_le_bytes()).expect("4 bytes, aligned, within the window");
        self.rest();
    }

    /// Writes a 64-bit register, and gives the device the time that it needs.
    pub fn set64(&mut self, offset: u32, value: u64) {
        self.write(offset, &value.to_le_bytes()).expect("8 bytes, aligned, within the window");
        self.rest();
    }

    /// Writes to the register window.
    ///
    /// # Errors
    /// Those of [`Smmu::write`].
    pub fn write(&mut self, offset: u32, data: &[u8]) -> Result<(), RegisterError> {
        let commands = self.smmu.settings().commands_per_write * if data.len() == 8 { 2 } else { 1 };
        let accesses = COMMAND_ACCESSES * commands + WRITE_ACCESSES;
        let steps = COMMAND_STEPS * commands + WRITE_STEPS;
        let queue = self.command_queue();
        let result = self.call(accesses, steps, |smmu, env| smmu.write(offset, data, env));
        if !(offset..offset + data.len() as u32).contains(&reg::CMDQ_CONS) {
            self.judge(&queue, commands);
        }
        result
    }

    /// Lets the device consume up to `budget` commands.
    pub fn poll(&mut self, budget: u32) -> u32 {
        let accesses = COMMAND_ACCESSES * budget + WRITE_ACCESSES;
        let queue = self.command_queue();
        let read =
            self.call(accesses, COMMAND_STEPS * budget + WRITE_STEPS, |smmu, env| smmu.poll(budget, env));
        assert!(read <= budget, "{read} commands of {budget} allowed");
        self.judge(&queue, budget);
        read
    }

    /// Polls until nothing is pending. A queue has at most 2^19 commands, those here fewer.
    fn rest(&mut self) {
        let mut polls = 0;
        while self.smmu.pending() {
            assert!(self.poll(32) > 0, "a device with pending commands consumes none");
            polls += 1;
            assert!(polls <= 1 << 14, "a device never comes to rest");
        }
    }

    /// The commands that CMDQ_CONS has passed were executed: at most `most`, each comes back from its bytes as it was, and
    /// nothing is left that one of them names.
    fn judge(&mut self, before: &CommandQueue, most: u32) {
        let CommandQueue { base, cons, log2_entries } = *before;
        let passed = self.command_queue().cons.wrapping_sub(cons) & ((2 << log2_entries) - 1);
        if passed == 0 {
            return;
        }
        assert!(passed <= most, "more commands than a call may execute");
        self.executed.clear();
        for n in 0..passed {
            let slot = base + 16 * u64::from(cons.wrapping_add(n) & ((1 << log2_entries) - 1));
            if let (Some(low), Some(high)) = (self.ram.word(slot), self.ram.word(slot + 8)) {
                let features = self.smmu.features();
                let command = smmuv3::Command::decode([low, high], features).expect("it was executed");
                let again = smmuv3::Command::decode(command.encode(), features);
                assert_eq!(again, Ok(command), "decode is not the inverse of encode");
                self.executed.push([low, high]);
            }
        }
        if self.asks_what_is_kept {
            self.kept.check(&self.smmu, &self.executed);
        }
    }

    fn command_queue(&self) -> CommandQueue {
        let registers = self.smmu.registers();
        let base = registers.get(Reg::CmdqBase);
        let log2_entries = (base as u32 & 0x1f).min(self.smmu.features().cmdqs.into());
        CommandQueue {
            base: base & 0x000f_ffff_ffff_ffe0 & !((16 << log2_entries) - 1),
            cons: registers.get(Reg::CmdqCons) as u32,
            log2_entries,
        }
    }

    /// Puts one command into the next slot, as a driver does that never looks whether there is room.
    pub fn produce(&mut self, command: Command) {
        let slot = u64::from(self.produced & ((1 << LOG2_COMMANDS) - 1));
        self.ram.set_word(COMMAND_QUEUE + 16 * slot, command[0]);
        self.ram.set_word(COMMAND_QUEUE + 16 * slot + 8, command[1]);
        self.produced = (self.produced + 1) & ((2 << LOG2_COMMANDS) - 1);
    }

    /// Tells the device of all commands produced so far.
    pub fn ring(&mut self) {
        self.set(reg::CMDQ_PROD, self.produced);
    }

    /// Issues legal commands and a CMD_SYNC; all have to be executed.
    pub fn issue(&mut self, commands: &[Command]) {
        for &command in commands.iter().chain(&[commands::sync()]) {
            self.produce(command);
            let cons = self.get(reg::CMDQ_CONS);
            if (self.produced ^ cons) & ((2 << LOG2_COMMANDS) - 1) == 1 << LOG2_COMMANDS {
                self.ring();
            }
        }
        self.ring();
        assert_eq!(
            self.get(reg::CMDQ_CONS) & ((2 << LOG2_COMMANDS) - 1), // without ERR, which stays
            self.produced,
            "legal commands were not executed: {commands:x?}"
        );
    }

    /// Goes on after a command that was refused, as Linux does: it becomes a CMD_SYNC, and the error is acknowledged.
    pub fn recover(&mut self) {
        let cons = self.get(reg::CMDQ_CONS);
        let errors = self.get(reg::GERROR) ^ self.get(reg::GERRORN);
        if errors & 1 != 0 {
            let slot = u64::from(cons & ((1 << LOG2_COMMANDS) - 1));
            self.ram.set_word(COMMAND_QUEUE + 16 * slot, commands::sync()[0]);
            self.ram.set_word(COMMAND_QUEUE + 16 * slot + 8, commands::sync()[1]);
        }
        self.acknowledge();
    }

    /// Where the driver's next command goes: index and wrap bit.
    pub fn produced(&self) -> u32 {
        self.produced
    }

    /// The driver believes that its next command goes elsewhere.
    pub fn set_produced(&mut self, position: u32) {
        self.produced = position & ((2 << LOG2_COMMANDS) - 1);
    }

    /// Acknowledges the errors in SMMU_GERROR (§7.5).
    pub fn acknowledge(&mut self) {
        let gerror = self.get(reg::GERROR);
        self.set(reg::GERRORN, gerror);
    }

    /// Consumes the whole event queue.
    pub fn drain_events(&mut self) {
        let produced = self.get(reg::EVENTQ_PROD);
        self.set(reg::EVENTQ_CONS, produced);
    }

    /// A transaction, held against the walk without caches; the guest has invalidated what it changed.
    pub fn translate(&mut self, transaction: &Transaction) -> Result<Translation, Terminated> {
        self.ram.allow(TRANSLATION_ACCESSES);
        let truth = self.smmu.walk(transaction, &self.ram);
        let answer = self.translate_unjudged(transaction);
        self.agree(transaction, &answer, &truth);
        self.span_is_honest(transaction, &answer);
        answer
    }

    /// A transaction whose tables may be anything. They may contradict themselves, and updates of descriptors may be updates of
    /// what is still to be walked: then the answer is held against nothing. Says whether it was.
    pub fn translate_hostile(&mut self, transaction: &Transaction) -> bool {
        self.ram.allow(TRANSLATION_ACCESSES);
        let truth = self.smmu.walk(transaction, &self.ram);
        let answer = self.translate_unjudged(transaction);
        let updates = self.ram.take_updates();
        if updates == 0 {
            self.agree(transaction, &answer, &truth);
        }
        updates == 0
    }

    /// A transaction of a guest that may have left caches stale.
    pub fn translate_unjudged(&mut self, transaction: &Transaction) -> Result<Translation, Terminated> {
        let before = self.event_queue();
        let answer =
            self.call(TRANSLATION_ACCESSES, TRANSLATION_STEPS, |smmu, env| smmu.translate(transaction, env));
        self.is_recorded(transaction, before, &answer);
        if let Ok(Translation { pa, span, .. }) = answer {
            assert!(span >= 1 && pa.0.checked_add(span - 1).is_some(), "{transaction:x?}: {answer:x?}");
        }
        answer
    }

    /// A translation request by ATS: the physical address, if it was granted.
    pub fn request(&mut self, transaction: &Transaction) -> Option<u64> {
        let granted = self.call(TRANSLATION_ACCESSES, TRANSLATION_STEPS, |smmu, env| {
            smmu.translation_request(transaction, env)
        });
        granted.ok().and_then(|grant| grant.address)
    }

    /// Goes on with a transaction that software has released, and holds it against the walk.
    pub fn resume(&mut self) -> Option<Resumed> {
        let before = self.event_queue();
        let ram = &self.ram;
        let truths: Vec<_> = self
            .smmu
            .stalled()
            .map(|(stag, transaction)| {
                ram.allow(TRANSLATION_ACCESSES);
                (stag, self.smmu.walk(transaction, ram))
            })
            .collect();
        let resumed =
            self.call(TRANSLATION_ACCESSES, TRANSLATION_STEPS, |smmu, env| smmu.next_resumed(env))?;
        // One that was terminated has made its record long ago; one that was tried again is a new transaction.
        if !matches!(resumed.result, Err(Terminated { event: None, .. })) {
            let truth = truths.iter().find(|(stag, _)| *stag == resumed.stag).map(|(_, truth)| truth);
            self.is_recorded(&resumed.transaction, before, &resumed.result);
            self.agree(&resumed.transaction, &resumed.result, truth.expect("it was stalled"));
            self.span_is_honest(&resumed.transaction, &resumed.result);
        }
        Some(resumed)
    }

    /// What caches answer is what the tables say.
    fn agree(
        &self,
        transaction: &Transaction,
        answer: &Result<Translation, Terminated>,
        truth: &Result<Translation, Terminated>,
    ) {
        let same = match (answer, truth) {
            (Ok(answer), Ok(truth)) => (answer.pa, answer.attributes) == (truth.pa, truth.attributes),
            (Err(answer), Err(truth)) => {
                let response = match (answer.response, truth.response) {
                    (Response::Stalled(_), Response::Stalled(_)) => true,
                    // No room to hold one more.
                    (Response::Abort, Response::Stalled(_)) => self.is_full_of_stalls(),
                    (answer, truth) => answer == truth,
                };
                response && answer.event == truth.event
            }
            _ => false,
        };
        assert!(same, "{transaction:x?}: {answer:x?}, without caches {truth:x?}");
    }

    fn span_is_honest(&self, transaction: &Transaction, answer: &Result<Translation, Terminated>) {
        if let Ok(Translation { pa, span, .. }) = answer
            && self.asks_how_far
        {
            // The last address of the span goes where the span says, unless who may do what differs there.
            let address = Iova(transaction.address.0.wrapping_add(span - 1));
            self.ram.allow(TRANSLATION_ACCESSES);
            if let Ok(last) = self.smmu.walk(&Transaction { address, ..*transaction }, &self.ram) {
                assert_eq!(last.pa.0, pa.0 + (span - 1), "{transaction:x?}: the span of {answer:x?}");
            }
        }
    }

    fn is_full_of_stalls(&self) -> bool {
        self.smmu.stalled().count() >= usize::from(self.smmu.features().stall_max)
    }

    fn event_queue(&self) -> EventQueue {
        // Asked for the values themselves: this is half the work of an execution otherwise.
        let registers = self.smmu.registers();
        let base = registers.get(Reg::EventqBase);
        let log2_entries = (base as u32 & 0x1f).min(self.smmu.features().eventqs.into());
        EventQueue {
            prod: registers.get(Reg::EventqProd) as u32,
            cons: registers.get(Reg::EventqCons) as u32,
            log2_entries,
            base: base & 0x000f_ffff_ffff_ffe0 & !((32 << log2_entries) - 1),
            is_open: registers.get(Reg::Cr0) >> 2 & 1 == 1 && registers.active_errors() >> 2 & 1 == 0,
        }
    }

    /// A transaction that says it made a record has made one, or the queue says that it was lost (§7.4).
    fn is_recorded(
        &mut self,
        transaction: &Transaction,
        before: EventQueue,
        answer: &Result<Translation, Terminated>,
    ) {
        self.recorded = None;
        let after = self.event_queue();
        let EventQueue { prod, cons, log2_entries, base, is_open } = before;
        let positions = (2 << log2_entries) - 1;
        let moved = after.prod.wrapping_sub(prod) & positions;
        let Some((kind, stalled)) = answer
            .as_ref()
            .err()
            .and_then(|end| Some((end.event?, matches!(end.response, Response::Stalled(_)))))
        else {
            assert_eq!(after, before, "{transaction:x?} made a record, and does not say so");
            return;
        };
        let waiting = prod.wrapping_sub(cons) & positions;
        if !is_open {
            assert_eq!(after, before, "a closed event queue has changed");
        } else if waiting >= 1 << log2_entries {
            let lost = (after.prod ^ after.cons) >> 31 == 1;
            assert!(moved == 0 && (lost || stalled), "an event was lost, and OVFLG does not tell");
        } else if moved == 0 {
            assert!(!after.is_open, "{kind:?} was recorded nowhere");
        } else {
            assert_eq!(moved, 1, "more than one record");
            let slot = base + 32 * u64::from(prod & (positions >> 1));
            let words: [u64; 4] =
                core::array::from_fn(|n| self.ram.word(slot + 8 * n as u64).expect("memory"));
            self.recorded = Some(words);
            if self.smmu.registers().get(Reg::EventqIrqCfg0) != 0 {
                return; // a message may have gone into the queue, if that is what software wants
            }
            let record = event::decode(words).expect("the number of a record");
            assert_eq!((record.kind, record.stream), (kind, transaction.stream), "{words:x?}");
            assert_eq!(record.stall.is_some(), stalled, "{words:x?}");
        }
    }
}
