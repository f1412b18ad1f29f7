//! A guest, a hypervisor and devices: tables of both stages and structures change, everything that changed is invalidated in
//! one of the right ways, and devices access memory in between. Caches must be invisible.
//!
//! The first byte is the plan: bits `[4:0]` are the device's [`settings`], bit 5 another device without range invalidation, bit
//! 6 somebody who watches, bit 7 plays everything twice (see below). Then actions, each one byte and what it
//! needs, little-endian:
//!
//! | byte, modulo 16 | action | then |
//! |---|---|---|
//! | 0, 1 | change an entry of a table | tree (1), table (1), entry (1), kind (1), attributes (1), output (2), how (1) |
//! | 2, 3, 4, 5 | a device accesses what an entry translates | StreamID (1), flags (1), table (1), entry (1), offset (1) |
//! | 6 | a device accesses an address | StreamID (1), flags (1), address (8) |
//! | 7 | change how a context answers | context (1), bits (1), how (1) |
//! | 8 | change what a stream is | stream (1), kind (1), how (1) |
//! | 9 | move a page of the virtual machine to its other frame | page (1), how (1) |
//! | 10 | any command | its 16 bytes |
//! | 11 | drain the event queue, acknowledge errors | |
//! | 12 | release a stalled transaction | which (1), how (1) |
//! | 13 | turn translation off and on; forget what may be forgotten | which (1) |
//! | 14 | save and restore with other settings, at most twice | which (1) |
//! | 15 | ATS and PRI | kind (1), StreamID (1), flags (1), address (8) |
//!
//! *Kind* of a change, modulo 4: 0 invalid, 1 a leaf, 2 a contiguous run, 3 the table below, if there is one.
//! *How* chooses among the invalidations that suffice; see [`Guest::tell`].
//!
//! **Twice**: the second time another device, with other settings and restored from its saved state after every eighth action,
//! has to answer the same. Hardware updates of flags are off then, since a cache may spare one.

use smmuv3::{
    Attributes, Iova, Pa, PageHint, PageRequest, Stag, StreamId, SubstreamId, Terminated, Transaction,
    Translation,
};
use smmuv3_tests::bits::{Record, Words};
use smmuv3_tests::commands::{self, Command, Hint, Leaf, linux_range_invalidation};
use smmuv3_tests::driver::value;
use smmuv3_tests::tables::{Cd, Grain, Ste, cd, descriptor, ste};

use crate::command_queue::transaction;
use crate::input::Input;
use crate::machine::Machine;
use crate::world::{Owner, STREAM_TABLE, Tree, VM_PAGES, World, reg, settings, tree};

/// Runs the guest in `data`.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let Some(plan) = input.byte() else { return };
    let world = if plan & 0x20 == 0 { World::get() } else { World::without_ranges() };
    let mut first = Vec::new();
    crate::on_machine(world, |machine| first = play(plan, false, world, machine, input));
    if plan & 0x80 != 0 {
        crate::on_machine(world, |machine| {
            let second = play(plan, true, world, machine, input);
            let differ = first.iter().zip(&second).find(|(first, second)| first != second);
            assert!(differ.is_none() && first.len() == second.len(), "saved and restored: {differ:x?}");
        });
    }
}

/// All that was answered.
fn play(
    plan: u8,
    again: bool,
    world: &'static World,
    machine: &mut Machine,
    mut input: Input<'_>,
) -> Vec<Answer> {
    let choice = plan & 0x1f;
    let mut other = choice.wrapping_add(7) & 0x1f;
    machine.smmu.clone_from(world.device(if again { other } else { choice }));
    machine.watch.is_watching = plan & 0x40 != 0;
    let frames = world.frames.map(|pair| pair[0]);
    let cds = world.contexts.iter().map(|context| context.cd.0[0]).collect();
    let updates_flags = plan & 0x80 == 0;
    let mut guest = Guest { machine, world, frames, cds, updates_flags, twice: again, answers: Vec::new() };
    // Saving and restoring is the most expensive thing by far.
    let mut restores = 2;
    let mut actions = 0;
    while guest.act(&mut input, &mut restores).is_some() {
        actions += 1;
        if again && actions % 8 == 3 {
            other = other.wrapping_mul(5).wrapping_add(3) & 0x1f;
            guest.machine.restore_into(settings(other));
        }
    }
    guest.machine.issue(&[]);
    guest.answers
}

/// The guest and all that it has to remember.
struct Guest<'a> {
    machine: &'a mut Machine,
    world: &'static World,
    /// The frame in which each page of the virtual machine is.
    frames: [u64; VM_PAGES as usize],
    /// Dword 0 of each CD.
    cds: Vec<u64>,
    /// Contexts may ask for hardware updates of flags.
    updates_flags: bool,
    twice: bool,
    answers: Vec<Answer>,
}

/// What a device or a driver sees.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    Through(Pa, Attributes),
    Ended(Terminated, Option<[u64; 4]>),
    Resumed(Stag),
    Granted(Option<u64>),
}

/// What a change has made stale.
#[derive(Clone, Copy, Debug)]
struct Stale {
    /// The first input address.
    base: u64,
    /// How many bytes.
    bytes: u64,
    /// log2 of the bytes of each entry.
    shift: u32,
    level: u32,
    /// A table descriptor was among them.
    tables: bool,
    /// A global leaf was among them.
    global: bool,
}

impl Guest<'_> {
    fn act(&mut self, input: &mut Input<'_>, restores: &mut u32) -> Option<()> {
        match input.byte()? % 16 {
            0 | 1 => {
                let number = usize::from(input.byte()?) % self.world.trees.len();
                let (node, index) = (input.byte()?, input.byte()?);
                let (kind, attributes, output) = (input.byte()?, input.byte()?, input.half()?);
                let how = input.byte()?;
                self.change(number, node, index, kind, attributes, output, how);
            }
            2..=5 => {
                let (sid, flags) = (input.byte()? % 12, input.byte()?);
                let (node, index, offset) = (input.byte()?, input.byte()?, input.byte()?);
                let tree = &self.world.trees[tree_of(sid, flags)];
                let (node, index) = place(tree, node, index);
                let address = tree.address(node, index) | u64::from(offset) << 4;
                self.access(sid, flags, address);
            }
            6 => {
                let (sid, flags) = (input.byte()? % 12, input.byte()?);
                self.access(sid, flags, input.dword()?);
            }
            7 => {
                let (which, bits, how) = (input.byte()?, input.byte()?, input.byte()?);
                self.change_context(usize::from(which) % self.cds.len(), bits, how);
            }
            8 => {
                let (which, kind, how) = (input.byte()?, input.byte()?, input.byte()?);
                self.change_stream(usize::from(which) % self.world.streams.len(), kind, how);
            }
            9 => {
                let (page, how) = (input.byte()?, input.byte()?);
                self.migrate(usize::from(page) % VM_PAGES as usize, how);
            }
            10 => {
                let command = input.command()?;
                self.machine.produce(command);
                self.machine.ring();
                self.machine.recover();
                self.resume();
            }
            11 => {
                self.machine.acknowledge();
                self.machine.drain_events();
            }
            12 => {
                let (which, how) = (input.byte()?, input.byte()?);
                self.release(which, how);
            }
            13 => match input.byte()? % 2 {
                0 => {
                    let cr0 = self.machine.get(reg::CR0);
                    self.machine.set(reg::CR0, cr0 & !value::SMMUEN);
                    self.machine.set(reg::CR0, cr0 | value::SMMUEN);
                    self.resume();
                }
                _ => self.machine.smmu.drop_caches(),
            },
            14 => {
                let choice = input.byte()?;
                if !self.twice && *restores > 0 {
                    *restores -= 1;
                    self.machine.restore_into(settings(choice));
                }
            }
            _ => {
                let kind = input.byte()?;
                let transaction = transaction(input)?;
                self.ask(kind, &transaction);
            }
        }
        Some(())
    }

    /// Where an address of a tree's memory is now.
    fn physical(&self, tree: &Tree, location: u64) -> u64 {
        if !tree.is_virtual {
            return location;
        }
        self.frames[(location >> 12) as usize] + (location & 0xfff)
    }

    /// Does a walk come to this table?
    fn is_linked(&self, tree: &Tree, node: usize) -> bool {
        let Some((parent, index)) = tree.nodes[node].parent else { return true };
        let slot = self.physical(tree, tree.nodes[parent].location + 8 * index);
        self.machine.ram.word(slot).is_some_and(|word| word & 0b11 == 0b11) && self.is_linked(tree, parent)
    }

    /// Changes an entry, or the contiguous run that it becomes or was a member of, and tells the device.
    #[allow(clippy::too_many_arguments)]
    fn change(&mut self, number: usize, node: u8, index: u8, kind: u8, attributes: u8, output: u16, how: u8) {
        let tree = &self.world.trees[number];
        let (node, index) = place(tree, node, index);
        let table = tree.nodes[node];
        let own_memory = number == tree::STAGE_2 && is_own_memory(node, index);
        let run = tree.grain.contiguous(table.level);
        let fits = run > 1 && run <= table.entries && !own_memory;
        let child = tree.nodes.iter().position(|child| child.parent == Some((node, index)));
        let slot = |index: u64| self.physical(tree, table.location + 8 * index);
        let word = |pa: u64| self.machine.ram.word(pa).expect("a table in memory");
        let is_leaf = |word: u64| word & 1 == 1 && (table.level == 3 || word & 0b10 == 0);
        let is_run = |word: u64| is_leaf(word) && Record([word]).get(descriptor::CONTIGUOUS) == 1 && run > 1;
        let kind = match kind % 4 {
            1 | 2 if !tree.grain.leaf_allowed(table.level) => 0,
            2 if fits => 2,
            2 => 1,
            3 if child.is_none() => 1,
            kind => kind,
        };
        let first = index & !(run - 1);
        let covers_run = kind == 2 || fits && (first..first + run).any(|index| is_run(word(slot(index))));
        let (first, count) = if covers_run { (first, run) } else { (index, 1) };
        if number == tree::STAGE_2 && covers_run && (first..first + run).any(|i| is_own_memory(node, i)) {
            return; // a run over the pages that tables lie in
        }

        let shift = tree.grain.level_shift(table.level);
        let mut stale = Stale {
            base: tree.address(node, first),
            bytes: count << shift,
            shift,
            level: table.level,
            tables: false,
            global: false,
        };
        let mut was_valid = false;
        for old in (first..first + count).map(|index| word(slot(index))) {
            was_valid |= old & 1 == 1;
            stale.tables |= old & 1 == 1 && !is_leaf(old);
            stale.global |= is_leaf(old) && Record([old]).get(descriptor::NG) == 0;
        }
        stale.global |= stale.tables; // whatever was below
        let attributes = leaf_attributes(number, attributes);
        let mut new = Vec::with_capacity(count as usize);
        for at in first..first + count {
            let unit = 1 << shift;
            let leaf = |pa: u64, run: u64| {
                descriptor::leaf(tree.grain, table.level, pa, attributes.with(descriptor::CONTIGUOUS, run))
            };
            let word = match kind {
                2 => leaf(tree.output(number, output, table.level, 1) + (at - first) * unit, 1),
                _ if at != index => 0,
                1 if own_memory && table.level == 3 => leaf(self.frames[index as usize], 0),
                1 if own_memory => 0,
                1 => leaf(tree.output(number, output, table.level, 0), 0),
                3 => {
                    let child = tree.nodes[child.expect("a child")].location;
                    descriptor::table(tree.grain, child, Record::ZERO)
                }
                _ => 0,
            };
            new.push((slot(at), word));
        }
        let reached = was_valid && self.is_linked(tree, node);
        for (pa, word) in new {
            self.machine.ram.set_word(pa, word);
        }
        if reached {
            self.tell(tree, &stale, how);
        }
    }

    /// Tells the device what is stale, in one of the ways that the architecture allows:
    ///
    /// | how, modulo 8 | stage 1 | stage 2 |
    /// |---|---|---|
    /// | 0 | all | all |
    /// | 1 | the VMID | the VMID |
    /// | 2 | the ASID, where nothing global is stale | as 1 |
    /// | 3, 4 | the range, with granule and level, by VA or VAA | the range, and stage 1 of the VMID |
    /// | 5 | each entry by an address inside, without a hint | likewise |
    /// | 6 | a range that is too long, without a level | likewise |
    /// | 7 | the range in two parts | likewise |
    ///
    /// Bits `[7:3]` say which address inside, and how much too long.
    fn tell(&mut self, tree: &Tree, stale: &Stale, how: u8) {
        let by_range = self.world.machine.smmu.features().ril;
        let extra = u64::from(how >> 3);
        let how = match how % 8 {
            3 | 4 | 6 | 7 if !by_range && stale.tables => 1,
            3 | 4 | 6 | 7 if !by_range => 5,
            5 if stale.tables => 1,
            how => how,
        };
        let leaf = if stale.tables { Leaf::AndTables } else { Leaf::Only };
        let mut all: Vec<Command> = Vec::new();
        let mut by_address = |template: Command| match how {
            5 => {
                let inside = (extra << 12) & ((1 << stale.shift) - 1);
                for n in 0..stale.bytes >> stale.shift {
                    all.push(at(template, stale.base + (n << stale.shift) + inside, leaf));
                }
            }
            _ => ranges(template, tree.grain, stale, leaf, how, extra, &mut all),
        };
        match tree.owner {
            Owner::Stage2 { vmid } => match how {
                0 => all.push(commands::tlbi_nsnh_all()),
                1 | 2 => all.push(commands::tlbi_s12_vmall(vmid)),
                _ => {
                    by_address(commands::tlbi_s2_ipa(vmid, 0, leaf, Hint::NONE));
                    // What combines both stages is not found by IPA.
                    all.push(commands::tlbi_nh_all(vmid));
                }
            },
            Owner::El2 => match how {
                0..=2 => all.push(commands::tlbi_el2_all()),
                3 => by_address(commands::tlbi_el2_va(0, 0, leaf, Hint::NONE)),
                _ => by_address(commands::tlbi_el2_vaa(0, leaf, Hint::NONE)),
            },
            Owner::El1 { vmid, asids } => match how {
                0 => all.push(commands::tlbi_nsnh_all()),
                2 if !stale.global => {
                    all.extend(asids.iter().map(|&asid| commands::tlbi_nh_asid(vmid, asid)));
                }
                1 | 2 => all.push(commands::tlbi_nh_all(vmid)),
                3 | 5 => asids
                    .iter()
                    .for_each(|&asid| by_address(commands::tlbi_nh_va(vmid, asid, 0, leaf, Hint::NONE))),
                _ => by_address(commands::tlbi_nh_vaa(vmid, 0, leaf, Hint::NONE)),
            },
        }
        if matches!(tree.owner, Owner::Stage2 { .. }) && stale.base == 0 {
            // CDs were read through what has changed; a TLBI does not reach them.
            all.extend(VM_STREAMS.map(commands::cfgi_cd_all));
        }
        self.machine.issue(&all);
        self.resume();
    }

    /// Changes `A`, `R` and `S` of a CD (bits 0 to 2) and whether its halves are disabled (6, 7); `HA`, `HD` and `WXN` (3 to 5)
    /// of all CDs of its VMID, since what they share has to be the same for all.
    fn change_context(&mut self, which: usize, bits: u8, how: u8) {
        let bit = |n: u8| u64::from(bits >> n & 1);
        let flags = u64::from(self.updates_flags);
        let has_upper = self.world.contexts[which].cd.get(cd::EPD1) == 0;
        let own = |cd: Cd| {
            let cd = cd.with(cd::A, bit(0)).with(cd::R, bit(1)).with(cd::S, bit(2)).with(cd::EPD0, bit(6));
            if has_upper { cd.with(cd::EPD1, bit(7)) } else { cd }
        };
        let shared =
            |cd: Cd| cd.with(cd::HA, bit(3) & flags).with(cd::HD, bit(4) & flags).with(cd::WXN, bit(5));
        let of_shared = Cd::ZERO.with(cd::HA, 1).with(cd::HD, 1).with(cd::WXN, 1).0[0];
        let vmid = |owner: Owner| match owner {
            Owner::El1 { vmid, .. } | Owner::Stage2 { vmid } => Some(vmid),
            Owner::El2 => None,
        };
        let group = vmid(self.world.contexts[which].owner);
        let mut all = Vec::new();
        let mut translations_differ = false;
        for (n, context) in self.world.contexts.iter().enumerate() {
            if vmid(context.owner) != group {
                continue;
            }
            let old = Record([self.cds[n], 0, 0, 0, 0, 0, 0, 0]);
            let new = if n == which { own(old) } else { old };
            let new = shared(new);
            if n != which && new == old {
                continue;
            }
            translations_differ |= (old.0[0] ^ new.0[0]) & of_shared != 0;
            self.cds[n] = new.0[0];
            let tree = &self.world.trees[if context.is_virtual { tree::VM_FIRST } else { tree::FIRST }];
            let pa = self.physical(tree, context.location);
            self.machine.ram.set_word(pa, new.0[0]);
            all.push(configuration(context.sid, context.ssid, how));
        }
        if translations_differ {
            all.push(group.map_or_else(commands::tlbi_el2_all, commands::tlbi_nh_all));
        }
        self.machine.issue(&all);
        self.resume();
    }

    /// Makes a stream what it was, or bypass, or abort, or nothing (kind modulo 4); changes `S2R`, `S2S` (bits 2, 3).
    fn change_stream(&mut self, which: usize, kind: u8, how: u8) {
        let original = self.world.streams[which];
        let bit = |n: u8| u64::from(kind >> n & 1);
        let new: Ste = match kind % 4 {
            0 if original.get(ste::CONFIG) & 0b110 == 0b110 => {
                original.with(ste::S2R, 1 - bit(2)).with(ste::S2S, bit(3))
            }
            0 => original,
            1 => ste::of(ste::BYPASS),
            2 => ste::of(0),
            _ => Ste::ZERO,
        };
        for (n, &word) in (0..).zip(&new.0) {
            self.machine.ram.set_word(STREAM_TABLE + 64 * which as u64 + 8 * n, word);
        }
        let sid = which as u32;
        self.machine.issue(&[match how % 3 {
            0 => commands::cfgi_ste(sid, Leaf::Only),
            1 => commands::cfgi_ste_range(sid ^ u32::from(how >> 4 & 1), u64::from(how >> 4)),
            _ => commands::cfgi_all(),
        }]);
        self.resume();
    }

    /// Copies a page of the virtual machine to its other frame, lets stage 2 lead there, and tells the device.
    fn migrate(&mut self, page: usize, how: u8) {
        let tree = &self.world.trees[tree::STAGE_2];
        let pages = tree.nodes[OWN_MEMORY];
        let slot = pages.location + 8 * page as u64;
        let old = self.machine.ram.word(slot).expect("a table in memory");
        let [one, other] = self.world.frames[page];
        let (from, to) = if self.frames[page] == one { (one, other) } else { (other, one) };
        self.machine.ram.copy_page(from, to);
        self.frames[page] = to;
        if old & 1 == 0 {
            return;
        }
        self.machine.ram.set_word(slot, old & !0xffff_ffff_f000 | to);
        let stale = Stale {
            base: tree.address(OWN_MEMORY, page as u64),
            bytes: 4096,
            shift: 12,
            level: 3,
            tables: false,
            global: false,
        };
        self.tell(tree, &stale, how);
    }

    fn access(&mut self, sid: u8, flags: u8, address: u64) {
        let stream = StreamId(sid.into());
        let kind = if flags & 1 == 0 { Transaction::read } else { Transaction::write };
        let transaction = Transaction {
            privileged: flags & 2 != 0,
            instruction: flags & 4 != 0,
            substream: (flags & 8 != 0).then_some(SubstreamId(u32::from(flags >> 4 & 3))),
            ..kind(stream, Iova(address))
        };
        let result = self.machine.translate(&transaction);
        self.answered(&result);
    }

    fn answered(&mut self, result: &Result<Translation, Terminated>) {
        self.answers.push(match result {
            Ok(found) => Answer::Through(found.pa, found.attributes),
            Err(end) => Answer::Ended(*end, self.machine.recorded),
        });
    }

    /// CMD_RESUME or CMD_STALL_TERM for one of the stalled transactions.
    fn release(&mut self, which: u8, how: u8) {
        let stalled: Vec<_> =
            self.machine.smmu.stalled().map(|(stag, transaction)| (stag, transaction.stream)).collect();
        if stalled.is_empty() {
            return;
        }
        let (stag, stream) = stalled[usize::from(which) % stalled.len()];
        let (retry, abort) = (u64::from(how & 1), u64::from(how >> 1 & 1));
        self.machine.issue(&[match how >> 2 & 3 {
            0 => commands::stall_term(stream.0),
            1 => commands::resume(stream.0 ^ 1, stag.0, retry, abort),
            _ => commands::resume(stream.0, stag.0, retry, abort),
        }]);
        self.resume();
    }

    fn resume(&mut self) {
        let mut left = self.machine.smmu.stalled().count();
        while let Some(resumed) = self.machine.resume() {
            assert!(left > 0, "more transactions come back than were stalled");
            left -= 1;
            self.answers.push(Answer::Resumed(resumed.stag));
            self.answered(&resumed.result);
        }
    }

    /// ATS and PRI: nothing is cached that could be wrong, so what is granted has to be what the walk says.
    fn ask(&mut self, kind: u8, transaction: &Transaction) {
        match kind % 4 {
            0 => {
                self.machine.ram.allow(64);
                let truth = self.machine.smmu.walk(transaction, &self.machine.ram);
                let granted = self.machine.request(transaction);
                if let (Some(granted), Ok(truth)) = (granted, truth) {
                    assert_eq!(granted, truth.pa.0, "{transaction:x?} by ATS");
                }
                self.answers.push(Answer::Granted(granted));
            }
            1 => {
                let _ = self.machine.call(64, 200, |smmu, env| smmu.translated(transaction, env));
            }
            2 => {
                let request = PageRequest {
                    stream: transaction.stream,
                    substream: transaction.substream,
                    address: transaction.address.0,
                    group: u16::from(kind),
                    read: kind & 16 == 0,
                    write: transaction.access != smmuv3::Access::Read,
                    execute: transaction.instruction,
                    privileged: transaction.privileged,
                    last: kind & 32 == 0,
                };
                self.machine.call(16, 200, |smmu, env| smmu.page_request(&request, env));
            }
            _ => {
                let hint = PageHint {
                    stream: transaction.stream,
                    substream: transaction.substream,
                    address: transaction.address,
                    pages: kind,
                    unprivileged: [true, false, true],
                    privileged: [false, true, false],
                };
                self.machine.call(16, 200, |smmu, env| smmu.page_hint(&hint, env));
            }
        }
    }
}

/// The streams whose CDs lie in the virtual machine.
const VM_STREAMS: [u32; 2] = [4, 6];

/// The table of stage 2 that maps the virtual machine's own memory.
const OWN_MEMORY: usize = 3;

/// Entries of stage 2 that lead to the virtual machine's tables: they may be invalid, but lead nowhere else, since what would
/// be walked there would be no tables.
const fn is_own_memory(node: usize, index: u64) -> bool {
    match node {
        OWN_MEMORY => index < VM_PAGES,
        0 | 1 => index == 0,
        _ => false,
    }
}

/// The tree that a stream's addresses mostly belong to.
pub(crate) fn tree_of(sid: u8, flags: u8) -> usize {
    let upper = flags & 0x40 != 0;
    match sid {
        1 | 3 | 10 if upper => tree::UPPER,
        3 => tree::SECOND,
        4 => tree::VM_FIRST,
        5 => tree::STAGE_2,
        6 if flags & 0x38 == 0x18 => tree::VM_SECOND,
        6 => tree::VM_FIRST,
        7 => tree::EL2,
        8 => tree::K16,
        9 => tree::K64,
        _ => tree::FIRST,
    }
}

/// A table and one of its entries: the first 31 and the last.
pub(crate) fn place(tree: &Tree, node: u8, index: u8) -> (usize, u64) {
    let node = usize::from(node) % tree.nodes.len();
    let index = u64::from(index % 32);
    let last = tree.nodes[node].entries - 1;
    (node, if index == 31 { last } else { index.min(last) })
}

/// Bit 0 clears AF, 1 takes writing, 2 takes unprivileged access, 3 lets execute, 4 sets DBM, 5 is global, `[7:6]` MAIR index.
fn leaf_attributes(number: usize, bits: u8) -> descriptor::Attributes {
    let bit = |n: u8| u64::from(bits >> n & 1);
    if number == tree::STAGE_2 {
        return descriptor::S2_RW
            .with(descriptor::AF, 1 - bit(0))
            .with(descriptor::S2AP, if bit(2) == 1 { 0 } else { 0b11 ^ bit(1) << 1 })
            .with(descriptor::S2XN, u64::from(bits >> 3 & 1) << 1)
            .with(descriptor::DBM, bit(4))
            .with(descriptor::MEMATTR, [0b1111, 0b0101, 0b0001, 0b1111][usize::from(bits >> 6)]);
    }
    // A global page of a lower half has to be the same for all ASIDs, and is not.
    let global = if number == tree::UPPER { bit(5) } else { 0 };
    descriptor::S1_RW
        .with(descriptor::AF, 1 - bit(0))
        .with(descriptor::AP, bit(1) << 1 | (1 - bit(2)))
        .with(descriptor::UXN, 1 - bit(3))
        .with(descriptor::DBM, bit(4))
        .with(descriptor::NG, 1 - global)
        .with(descriptor::ATTRINDX, u64::from(bits >> 6).min(2))
}

/// CMD_CFGI_*, one that names this CD.
fn configuration(sid: u32, ssid: u32, how: u8) -> Command {
    match how % 5 {
        0 => commands::cfgi_cd(sid, ssid, Leaf::Only),
        1 => commands::cfgi_cd_all(sid),
        2 => commands::cfgi_ste(sid, Leaf::AndTables),
        3 => commands::cfgi_ste_range(sid, u64::from(how >> 5)),
        _ => commands::cfgi_all(),
    }
}

/// A command by address, somewhere else.
fn at(template: Command, address: u64, leaf: Leaf) -> Command {
    use commands::field;
    Record(template).with(field::ADDRESS, address >> 12).with(field::LEAF, leaf as u64).0
}

/// Range commands for all that is stale.
fn ranges(
    template: Command,
    grain: Grain,
    stale: &Stale,
    leaf: Leaf,
    how: u8,
    extra: u64,
    all: &mut Vec<Command>,
) {
    let pages = stale.bytes >> grain.shift();
    let ttl = if stale.tables || grain == Grain::K16 && stale.level == 1 { 0 } else { stale.level.into() };
    let mut push = |start: u64, pages: u64, ttl: u64| {
        all.extend(linux_range_invalidation(template, start, pages, grain, ttl, leaf));
    };
    match how {
        6 => {
            let before = (extra & 3) << grain.shift();
            let start = stale.base.saturating_sub(before);
            let is_same_half = start >> 63 == stale.base >> 63 && stale.base >= before;
            let (start, more) = if is_same_half { (start, extra & 3) } else { (stale.base, 0) };
            push(start, pages + more + extra, 0);
        }
        // Both parts are multiples of what the level asks for, or there is but one.
        7 if pages > 1 && (ttl == 0 || stale.bytes >> stale.shift > 1) => {
            let unit = if ttl == 0 { 1 } else { 1 << (stale.shift - grain.shift()) };
            let first = (1 + extra % (pages / unit - 1).max(1)) * unit;
            push(stale.base, first, ttl);
            push(stale.base + (first << grain.shift()), pages - first, ttl);
        }
        _ => push(stale.base, pages, ttl),
    }
}
