//! The byte code of each target, written down.

use smmuv3_tests::commands::{Command, Hint};

/// Opcodes of target `range`, by number.
pub(crate) mod op {
    pub(crate) const NH_VA: u8 = 0;
    pub(crate) const NH_VAA: u8 = 1;
    pub(crate) const S2_IPA: u8 = 2;
    pub(crate) const EL2_VA: u8 = 3;
    pub(crate) const EL2_VAA: u8 = 4;
    pub(crate) const NH_ASID: u8 = 5;
    pub(crate) const NH_ALL: u8 = 6;
    pub(crate) const S12_VMALL: u8 = 7;
    pub(crate) const NSNH_ALL: u8 = 8;
    pub(crate) const EL2_ALL: u8 = 9;
}

/// Trees of target `guest`.
pub(crate) mod tree {
    pub(crate) const FIRST: u8 = 0;
    pub(crate) const UPPER: u8 = 2;
    pub(crate) const EL2: u8 = 3;
    pub(crate) const STAGE_2: u8 = 4;
    pub(crate) const VM_FIRST: u8 = 5;
    pub(crate) const K16: u8 = 7;
    pub(crate) const K64: u8 = 8;
}

fn le(command: Command) -> [u8; 16] {
    let both = u128::from(command[0]) | u128::from(command[1]) << 64;
    both.to_le_bytes()
}

/// Target `range`.
pub(crate) struct Range {
    accesses: Vec<(u8, u64)>,
    opcode: u8,
    hint: Hint,
    leaf: u8,
    vmid: u8,
    asid: u8,
    address: u64,
}

impl Range {
    /// Streams and the addresses that they access.
    pub(crate) fn of(accesses: &[(u8, u64)]) -> Self {
        let accesses = accesses.to_vec();
        Self { accesses, opcode: 0, hint: Hint::NONE, leaf: 0, vmid: 1, asid: 1, address: 0 }
    }

    pub(crate) fn command(self, opcode: u8, hint: Hint, address: u64) -> Self {
        Self { opcode, hint, address, ..self }
    }

    pub(crate) fn vmid(self, vmid: u8) -> Self {
        Self { vmid, ..self }
    }

    pub(crate) fn asid(self, asid: u8) -> Self {
        Self { asid, ..self }
    }

    pub(crate) fn leaf(self) -> Self {
        Self { leaf: 1, ..self }
    }

    pub(crate) fn bytes(self) -> Vec<u8> {
        let mut bytes = vec![0, self.accesses.len() as u8];
        for (stream, address) in self.accesses {
            bytes.push(stream | u8::from(address >> 63 == 1) << 5);
            bytes.extend(&(address >> 12).to_le_bytes()[..5]);
        }
        let Hint { num, scale, ttl, tg } = self.hint;
        let upper = u8::from(self.address >> 63 == 1) << 6;
        bytes.extend([self.opcode, num as u8, scale as u8, (ttl | tg << 2) as u8 | self.leaf << 4 | upper]);
        bytes.push(self.vmid | self.asid << 3);
        bytes.extend(&(self.address >> 12).to_le_bytes()[..5]);
        bytes
    }
}

/// A list of actions.
macro_rules! actions {
    ($name:ident) => {
        #[derive(Clone, Default)]
        pub(crate) struct $name(Vec<u8>);

        impl $name {
            fn add(mut self, bytes: impl IntoIterator<Item = u8>) -> Self {
                self.0.extend(bytes);
                self
            }

            pub(crate) fn bytes(self) -> Vec<u8> {
                self.0
            }
        }
    };
}

actions!(CommandQueue);
actions!(Registers);
actions!(SteCd);
actions!(Guest);

impl CommandQueue {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn put(self, command: Command) -> Self {
        self.add([0]).add(le(command))
    }

    pub(crate) fn ring(self) -> Self {
        self.add([3])
    }

    pub(crate) fn read(self, sid: u64, address: u64) -> Self {
        self.add([4, sid as u8]).add(((address >> 12) as u32).to_le_bytes())
    }

    pub(crate) fn write(self, sid: u64, address: u64) -> Self {
        self.add([5, sid as u8]).add(((address >> 12) as u32).to_le_bytes())
    }

    pub(crate) fn acknowledge(self) -> Self {
        self.add([6])
    }

    pub(crate) fn drain(self) -> Self {
        self.add([7])
    }

    pub(crate) fn prod(self, value: u32) -> Self {
        self.add([8]).add(value.to_le_bytes())
    }

    pub(crate) fn cons(self, value: u32) -> Self {
        self.add([9]).add(value.to_le_bytes())
    }

    pub(crate) fn register(self, which: u8, value: u32) -> Self {
        self.add([10, which]).add(value.to_le_bytes())
    }

    pub(crate) fn slot(self, slot: u8, command: Command) -> Self {
        self.add([11, slot]).add(le(command))
    }

    pub(crate) fn back(self) -> Self {
        self.add([12])
    }

    pub(crate) fn portion(self, budget: u8) -> Self {
        self.add([13, budget])
    }

    pub(crate) fn restore(self, settings: u8) -> Self {
        self.add([14, settings])
    }
}

impl Registers {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn place(offset: u32) -> (u8, [u8; 2]) {
        let page = if offset & 0x1_0000 == 0 { 0 } else { 0x80 };
        (page, ((offset & 0xffff) as u16 >> 2).to_le_bytes())
    }

    pub(crate) fn word(self, offset: u32, value: u32) -> Self {
        let (page, place) = Self::place(offset);
        self.add([page]).add(place).add(value.to_le_bytes())
    }

    pub(crate) fn wide(self, offset: u32, value: u64) -> Self {
        let (page, place) = Self::place(offset);
        self.add([page | 1]).add(place).add(value.to_le_bytes())
    }

    pub(crate) fn any(self, offset: u32, size: u8) -> Self {
        self.add([3]).add(offset.to_le_bytes()).add([size])
    }

    pub(crate) fn dma(self) -> Self {
        self.add([5, 1, 0]).add(0x1000_u64.to_le_bytes())
    }

    pub(crate) fn reset(self) -> Self {
        self.add([6, 0x80])
    }

    pub(crate) fn restore(self, settings: u8) -> Self {
        self.add([6, settings])
    }

    pub(crate) fn poll(self, budget: u8) -> Self {
        self.add([7, budget])
    }
}

impl SteCd {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn ste(self, sid: u8, word: u8, bits: u64) -> Self {
        self.add([0, sid, word]).add(bits.to_le_bytes())
    }

    pub(crate) fn cd(self, which: u8, word: u8, bits: u64) -> Self {
        self.add([1, which, word]).add(bits.to_le_bytes())
    }

    pub(crate) fn table(self, config: u32, base: u8) -> Self {
        self.add([2]).add(config.to_le_bytes()).add([base])
    }

    pub(crate) fn l1(self, which: u8, span: u8, pointer: u8) -> Self {
        self.add([3, which, span, pointer]).add([0; 8])
    }

    pub(crate) fn descriptor(self, tree: u8, table: u8, entry: u8, bits: u64) -> Self {
        self.add([4, tree, table, entry]).add(bits.to_le_bytes())
    }

    fn transaction(self, sid: u32, flags: u8, address: u64) -> Self {
        self.add([5]).add(sid.to_le_bytes()).add([flags, 0, 0]).add(address.to_le_bytes())
    }

    pub(crate) fn dma(self, sid: u32) -> Self {
        self.transaction(sid, 0, 0x1000)
    }

    pub(crate) fn at(self, sid: u32, address: u64) -> Self {
        self.transaction(sid, 0, address)
    }

    pub(crate) fn write(self, sid: u32, address: u64) -> Self {
        self.transaction(sid, 1, address)
    }

    pub(crate) fn cr2(self, value: u8) -> Self {
        self.add([7, value])
    }
}

/// What an entry becomes.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Invalid,
    Leaf,
    Run,
    Table,
}

impl Guest {
    pub(crate) fn new(plan: u8) -> Self {
        Self::default().add([plan])
    }

    pub(crate) fn change(self, tree: u8, table: u8, entry: u8, kind: Kind, output: u16, how: u8) -> Self {
        self.changed(tree, table, entry, kind, 0, output, how)
    }

    #[allow(clippy::too_many_arguments)]
    pub(crate) fn changed(
        self,
        tree: u8,
        table: u8,
        entry: u8,
        kind: Kind,
        attributes: u8,
        output: u16,
        how: u8,
    ) -> Self {
        self.add([0, tree, table, entry, kind as u8, attributes]).add(output.to_le_bytes()).add([how])
    }

    fn access(self, sid: u8, flags: u8, table: u8, entry: u8) -> Self {
        self.add([2, sid, flags, table, entry, 1])
    }

    pub(crate) fn look(self, sid: u8, table: u8, entry: u8) -> Self {
        self.access(sid, 0, table, entry)
    }

    pub(crate) fn write(self, sid: u8, table: u8, entry: u8) -> Self {
        self.access(sid, 1, table, entry)
    }

    pub(crate) fn upper(self, sid: u8, table: u8, entry: u8) -> Self {
        self.access(sid, 0x40, table, entry)
    }

    pub(crate) fn substream(self, sid: u8, table: u8, entry: u8) -> Self {
        self.access(sid, 0x18, table, entry)
    }

    pub(crate) fn context(self, which: u8, bits: u8, how: u8) -> Self {
        self.add([7, which, bits, how])
    }

    pub(crate) fn stream(self, which: u8, kind: u8, how: u8) -> Self {
        self.add([8, which, kind, how])
    }

    pub(crate) fn migrate(self, page: u8, how: u8) -> Self {
        self.add([9, page, how])
    }

    pub(crate) fn release(self, which: u8, how: u8) -> Self {
        self.add([12, which, how])
    }

    pub(crate) fn restart(self) -> Self {
        self.add([13, 0])
    }

    pub(crate) fn forget(self) -> Self {
        self.add([13, 1])
    }

    pub(crate) fn restore(self, settings: u8) -> Self {
        self.add([14, settings])
    }

    pub(crate) fn ask(self, kind: u8, sid: u8, address: u64) -> Self {
        self.add([15, kind, sid, 0]).add(address.to_le_bytes())
    }
}
