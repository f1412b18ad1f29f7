//! The driver's view of the SMMU: registers and queues.

use guest::command::{self, Command};
use guest::register;

use crate::machine::{read32, read64, say, write_words, write32, write64};

const BASE: u64 = 0x0905_0000;

const CMDQ: u64 = 0x4201_0000;
const LOG2_COMMANDS: u32 = 8;
const EVENTQ: u64 = 0x4202_0000;

/// Reads a register.
pub(crate) fn get(offset: u32) -> u32 {
    read32(BASE + u64::from(offset))
}

/// Writes one.
pub(crate) fn set(offset: u32, value: u32) {
    write32(BASE + u64::from(offset), value);
}

/// Writes a 64-bit one.
pub(crate) fn set64(offset: u32, value: u64) {
    write64(BASE + u64::from(offset), value);
}

/// Writes CR0 and waits for its acknowledgement.
pub(crate) fn enable(bits: u32) {
    set(register::CR0, bits);
    while get(register::CR0ACK) != bits {}
}

/// Both queues, empty; they are enabled later.
pub(crate) fn queues(log2_events: u32) {
    set64(register::CMDQ_BASE, CMDQ | u64::from(LOG2_COMMANDS));
    set(register::CMDQ_PROD, 0);
    set(register::CMDQ_CONS, 0);
    set64(register::EVENTQ_BASE, EVENTQ | u64::from(log2_events));
    set(register::EVENTQ_PROD, 0);
    set(register::EVENTQ_CONS, 0);
}

/// Puts commands into the queue, and a CMD_SYNC behind them; waits until they are consumed or one is refused. The error, or
/// 0: `ERR` counts while GERROR.CMDQ_ERR is active.
pub(crate) fn run(commands: &[Command]) -> u32 {
    let mut prod = get(register::CMDQ_PROD);
    for command in commands.iter().chain([&command::sync()]) {
        write_words(slot(prod), command);
        prod = (prod + 1) & ((2 << LOG2_COMMANDS) - 1);
    }
    set(register::CMDQ_PROD, prod);
    loop {
        let cons = get(register::CMDQ_CONS);
        if errors() & 1 != 0 {
            return cons >> 24 & 0x7f;
        }
        if cons & 0x00ff_ffff == prod {
            return 0;
        }
    }
}

/// The global errors that are active.
pub(crate) fn errors() -> u32 {
    get(register::GERROR) ^ get(register::GERRORN)
}

/// Puts a CMD_SYNC into the refused command's place, acknowledges, and waits for the rest. GERROR as it was.
pub(crate) fn recover() -> u32 {
    write_words(slot(get(register::CMDQ_CONS)), &command::sync());
    let errors = get(register::GERROR);
    set(register::GERRORN, errors);
    while get(register::CMDQ_CONS) & 0x00ff_ffff != get(register::CMDQ_PROD) {}
    errors
}

fn slot(position: u32) -> u64 {
    CMDQ + u64::from(position & ((1 << LOG2_COMMANDS) - 1)) * 16
}

/// Says and consumes the event records that are there, from a queue of `2^log2_events`.
pub(crate) fn events(log2_events: u32) {
    let prod = get(register::EVENTQ_PROD);
    let mut cons = get(register::EVENTQ_CONS);
    while (cons ^ prod) & ((2 << log2_events) - 1) != 0 {
        let at = EVENTQ + u64::from(cons & ((1 << log2_events) - 1)) * 32;
        let [a, b, c, d] = [0, 8, 16, 24].map(|offset| read64(at + offset));
        say!("  event {a:016x} {b:016x} {c:016x} {d:016x}");
        cons = (cons & 1 << 31) | ((cons + 1) & ((2 << log2_events) - 1));
    }
    set(register::EVENTQ_CONS, cons & !(1 << 31) | prod & 1 << 31);
}
