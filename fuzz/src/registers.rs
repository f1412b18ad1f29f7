//! Any access to the register window, with commands and transactions in between.
//!
//! What a register that does nothing of its own reads back follows from a table of its bits and of the enable that guards it
//! ([`PLAIN`]), written from §6.3; an access that is refused changes nothing; reset is the beginning again.
//!
//! Actions, each one byte and what it needs, little-endian:
//!
//! | byte, modulo 8 | action | then |
//! |---|---|---|
//! | 0 | write 4 bytes | offset in words (2), bit 7 of the action: page 1; value (4) |
//! | 1 | write 8 bytes | the same, value (8) |
//! | 2 | write one of [`PLAIN`] | which (1), value (8) |
//! | 3 | access of any size anywhere | offset (4), size and direction (1) |
//! | 4 | produce a command, and ring | its 16 bytes |
//! | 5 | a transaction | StreamID (1), flags (1), address (8) |
//! | 6 | reset, or save and restore | which (1) |
//! | 7 | poll | budget (1) |

use smmuv3::RegisterError;

use crate::command_queue::transaction;
use crate::input::Input;
use crate::machine::{Device, Machine};
use crate::world::{FEATURES, World, reg, settings};

/// What guards a register: it can be written while these bits of another register are 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    Nothing,
    /// Bits of CR0.
    Cr0(u32),
    /// Bits of IRQ_CTRL.
    IrqCtrl(u32),
    /// The value has to have its bit 31, which is not kept.
    Update,
}

/// A register that reads what was written to it.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    offset: u32,
    bytes: u32,
    bits: u64,
    guard: Guard,
}

const fn plain(offset: u32, bytes: u32, bits: u64, guard: Guard) -> Plain {
    Plain { offset, bytes, bits, guard }
}

const SMMUEN: u32 = 1 << 0;
const PRIQEN: u32 = 1 << 1;
const EVENTQEN: u32 = 1 << 2;
const CMDQEN: u32 = 1 << 3;

/// §6.3, for an SMMUv3.2 with all options but MPAM; positions of queues, which the device moves, are not among them.
pub const PLAIN: [Plain; 23] = [
    plain(reg::CR2, 4, 0b0111, Guard::Cr0(SMMUEN)),
    plain(reg::GBPA, 4, 0x001f_3f1f, Guard::Update),
    plain(reg::IRQ_CTRL, 4, 0b111, Guard::Nothing),
    plain(reg::GERRORN, 4, 0x1fd, Guard::Nothing),
    plain(reg::GERROR_IRQ_CFG0, 8, 0x000f_ffff_ffff_fffc, Guard::IrqCtrl(1)),
    plain(reg::GERROR_IRQ_CFG1, 4, 0xffff_ffff, Guard::IrqCtrl(1)),
    plain(reg::GERROR_IRQ_CFG2, 4, 0x3f, Guard::IrqCtrl(1)),
    plain(reg::STRTAB_BASE, 8, 0x400f_ffff_ffff_ffc0, Guard::Cr0(SMMUEN)),
    plain(reg::STRTAB_BASE_CFG, 4, 0x0003_07ff, Guard::Cr0(SMMUEN)),
    plain(reg::CMDQ_BASE, 8, 0x400f_ffff_ffff_ffff, Guard::Cr0(CMDQEN)),
    plain(reg::CMDQ_PROD, 4, 0x000f_ffff, Guard::Nothing),
    plain(reg::EVENTQ_BASE, 8, 0x400f_ffff_ffff_ffff, Guard::Cr0(EVENTQEN)),
    plain(reg::EVENTQ_IRQ_CFG0, 8, 0x000f_ffff_ffff_fffc, Guard::IrqCtrl(4)),
    plain(reg::EVENTQ_IRQ_CFG1, 4, 0xffff_ffff, Guard::IrqCtrl(4)),
    plain(reg::EVENTQ_IRQ_CFG2, 4, 0x3f, Guard::IrqCtrl(4)),
    plain(reg::PRIQ_BASE, 8, 0x400f_ffff_ffff_ffff, Guard::Cr0(PRIQEN)),
    plain(reg::PRIQ_IRQ_CFG0, 8, 0x000f_ffff_ffff_fffc, Guard::IrqCtrl(2)),
    plain(reg::PRIQ_IRQ_CFG1, 4, 0xffff_ffff, Guard::IrqCtrl(2)),
    plain(reg::PRIQ_IRQ_CFG2, 4, 0x8000_003f, Guard::IrqCtrl(2)),
    plain(reg::VATOS_SEL, 4, 0xffff, Guard::Nothing),
    plain(reg::EVENTQ_CONS, 4, 0x800f_ffff, Guard::Nothing),
    plain(reg::PRIQ_CONS, 4, 0x800f_ffff, Guard::Nothing),
    plain(reg::CR0, 4, 0x1df, Guard::Nothing),
];

/// The register window: two pages of 64 KiB, and the VATOS page.
const WINDOW: u32 = 0x3_0000;

/// Runs the actions in `data`.
pub fn run(data: &[u8]) {
    crate::on_machine(World::get(), |machine| {
        let mut model = Model::new(machine);
        let mut input = Input::new(data);
        while act(&mut input, machine, &mut model).is_some() {
            model.check(machine);
        }
        let ids = Model::ids(machine);
        assert_eq!(ids, model.ids, "a register that nobody can write has changed");
    });
}

/// What the plain registers hold, as software believes.
struct Model {
    values: [u64; PLAIN.len()],
    ids: [u32; 9],
}

impl Model {
    fn new(machine: &Machine) -> Self {
        Self { values: PLAIN.map(|row| read(machine, row)), ids: Self::ids(machine) }
    }

    fn ids(machine: &Machine) -> [u32; 9] {
        let offsets = [0, 4, 8, 0xc, 0x10, 0x14, reg::IIDR, reg::AIDR, reg::IDR6];
        offsets.map(|offset| machine.get(offset))
    }

    fn get(&self, offset: u32) -> u64 {
        PLAIN.iter().zip(self.values).find(|(row, _)| row.offset == offset).map_or(0, |(_, value)| value)
    }

    /// Software writes 4 bytes at `offset`.
    fn write(&mut self, offset: u32, value: u32) {
        // Page 0 shows the event and PRI queue's indices of page 1 as well.
        let offset = if matches!(offset, 0xa8 | 0xac | 0xc8 | 0xcc) { offset + 0x1_0000 } else { offset };
        let cr0 = self.get(reg::CR0) as u32;
        let irq_ctrl = self.get(reg::IRQ_CTRL) as u32;
        for (row, held) in PLAIN.iter().zip(&mut self.values) {
            if !(row.offset..row.offset + row.bytes).contains(&offset) {
                continue;
            }
            let permitted = match row.guard {
                Guard::Nothing => true,
                Guard::Cr0(bits) => cr0 & bits == 0,
                Guard::IrqCtrl(bits) => irq_ctrl & bits == 0,
                Guard::Update => value >> 31 == 1,
            };
            if permitted {
                let shift = 8 * (offset - row.offset);
                let mask = 0xffff_ffff << shift;
                *held = *held & !mask | u64::from(value) << shift & mask & row.bits;
            }
        }
    }

    fn check(&self, machine: &Machine) {
        for (row, held) in PLAIN.iter().zip(self.values) {
            assert_eq!(read(machine, *row), held, "the register at {:#x}", row.offset);
        }
        assert_eq!(u64::from(machine.get(reg::CR0ACK)), self.get(reg::CR0), "CR0ACK");
        assert_eq!(u64::from(machine.get(reg::IRQ_CTRLACK)), self.get(reg::IRQ_CTRL), "IRQ_CTRLACK");
    }
}

/// A register whole, which is the same as its halves.
fn read(machine: &Machine, row: Plain) -> u64 {
    if row.bytes == 4 {
        return machine.get(row.offset).into();
    }
    let whole = machine.get64(row.offset);
    let halves = [machine.get(row.offset), machine.get(row.offset + 4)].map(u64::from);
    assert_eq!(whole, halves[0] | halves[1] << 32, "the halves of {:#x}", row.offset);
    whole
}

fn act(input: &mut Input<'_>, machine: &mut Machine, model: &mut Model) -> Option<()> {
    let action = input.byte()?;
    match action % 8 {
        kind @ (0 | 1) => {
            let page = if action & 0x80 == 0 { 0 } else { 0x1_0000 };
            let offset = page | u32::from(input.half()? & 0x3fff) << 2;
            if kind == 0 {
                write(machine, model, offset, &input.bytes::<4>()?);
            } else {
                write(machine, model, offset & !7, &input.bytes::<8>()?);
            }
        }
        2 => {
            let row = PLAIN[usize::from(input.byte()?) % PLAIN.len()];
            let value = input.bytes::<8>()?;
            write(machine, model, row.offset, &value[..row.bytes as usize]);
        }
        3 => {
            let (offset, size) = (input.word()?, input.byte()?);
            refused(machine, model, offset & 0x7_ffff, usize::from(size & 0x1f), size & 0x80 != 0);
        }
        4 => {
            let command = input.command()?;
            machine.produce(command);
            let position = machine.produced();
            write(machine, model, reg::CMDQ_PROD, &position.to_le_bytes());
        }
        5 => {
            let transaction = transaction(input)?;
            let _ = machine.translate_unjudged(&transaction);
            while machine.call(64, 256, |smmu, env| smmu.next_resumed(env)).is_some() {}
        }
        6 => {
            let choice = input.byte()?;
            if choice & 0x80 == 0 {
                machine.restore_into(settings(choice));
            } else {
                machine.smmu.reset();
                let fresh = Device::new(FEATURES, *machine.smmu.settings()).expect("they fit");
                assert_eq!(machine.smmu.state(), fresh.state(), "reset is not the beginning");
                assert!(machine.smmu.iotlb().is_empty() && machine.smmu.config_cache().stes().count() == 0);
                *model = Model::new(machine);
            }
        }
        _ => {
            let budget = u32::from(input.byte()?);
            machine.poll(budget);
        }
    }
    Some(())
}

fn write(machine: &mut Machine, model: &mut Model, offset: u32, data: &[u8]) {
    machine.write(offset, data).expect("an access that is allowed");
    for (data, at) in data.chunks(4).zip([offset, offset + 4]) {
        model.write(at, u32::from_le_bytes(data.try_into().expect("four bytes")));
    }
}

/// An access of any size: it is refused, for the right reason, or it is like the others.
fn refused(machine: &mut Machine, model: &mut Model, offset: u32, size: usize, is_write: bool) {
    let expected = match size {
        4 | 8 if !offset.is_multiple_of(size as u32) => Some(RegisterError::Unaligned),
        4 | 8 if offset >= WINDOW => Some(RegisterError::InvalidRegister),
        4 | 8 => None,
        _ => Some(RegisterError::InvalidSize),
    };
    let mut data = [0xa5; 32];
    match expected {
        Some(error) => {
            let before = machine.smmu.registers().clone();
            let result = if is_write {
                machine.write(offset, &data[..size])
            } else {
                machine.smmu.read(offset, &mut data[..size])
            };
            assert_eq!(result, Err(error), "{size} bytes at {offset:#x}");
            assert!(
                data == [0xa5; 32] && before == *machine.smmu.registers(),
                "a refused access has an effect"
            );
        }
        None if is_write => write(machine, model, offset, &data[..size]),
        None => machine.smmu.read(offset, &mut data[..size]).expect("an access that is allowed"),
    }
}
