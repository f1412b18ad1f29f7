//! What a fuzzer lets a guest do, and what must hold whatever it does.
//!
//! A target is one module with a `run`. The program under `targets/` hands it the fuzzer's bytes; `tests/` hands it the
//! files under `seeds/` and the packed corpora, so that a finding, once it has a name there, is a test on the stable
//! toolchain.
//!
//! Bytes become actions by [`input`] and a table of opcodes in each target's documentation, never by a derive: adding an
//! action must not change what an older seed means, and a seed must be writable by hand.
//!
//! * [`world`]: a machine that is set up; [`memory`]: its memory; [`machine`]: its device, and what holds for every call.
//! * [`kept`]: what may be remembered; [`event`]: records, read back; [`watch`]: every step, held against what it says.

pub mod corpus;
pub mod event;
pub mod input;
pub mod kept;
pub mod machine;
pub mod memory;
pub mod watch;
pub mod world;

pub mod command_queue;
pub mod empty;
pub mod guest;
pub mod range;
pub mod registers;
pub mod ste_cd;
pub mod transcript;

use core::cell::RefCell;

use machine::Machine;
use world::World;

/// A target: its name, which is that of its seeds' folder, and its body.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 6] = [
    ("command_queue", command_queue::run),
    ("registers", registers::run),
    ("ste_cd", ste_cd::run),
    ("guest", guest::run),
    ("range", range::run),
    ("transcript", transcript::run),
];

/// Runs `what` on the machine of `world`, as it is in the beginning. The machine is made once a thread and restored, since
/// that is what an execution would otherwise spend its time on.
pub(crate) fn on_machine(world: &'static World, what: impl FnOnce(&mut Machine)) {
    type Made = (*const World, Box<Machine>);
    thread_local!(static MADE: RefCell<Vec<Made>> = const { RefCell::new(Vec::new()) });
    // Taken out for the time of the run, so that a run that panics leaves nothing half done behind.
    let made = MADE.with_borrow_mut(|made| {
        let at = made.iter().position(|(of, _)| core::ptr::eq(*of, world))?;
        Some(made.swap_remove(at).1)
    });
    let mut machine = made.unwrap_or_else(|| Box::new(world.machine.clone()));
    machine.reset(&world.machine);
    what(&mut machine);
    MADE.with_borrow_mut(|made| made.push((world, machine)));
}
