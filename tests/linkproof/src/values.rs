//! What needs no device: the vocabulary, codecs, structures, scopes.

use smmuv3::arch::addr::{align_down, low_mask};
use smmuv3::arch::attributes::{MemoryType, Shareability};
use smmuv3::arch::bits::Field;
use smmuv3::arch::entry::{Entry, Leaf, Rights, Space, TableEntry, TableLimits};
use smmuv3::arch::fault::{Class, Denied, Fault, Place};
use smmuv3::arch::features::Features;
use smmuv3::cache::scope::{Control, Scope, Span};
use smmuv3::device::queue::Queue;
use smmuv3::format::cd::{Cd, l1cd_pointer};
use smmuv3::format::command::{Command, Operand};
use smmuv3::format::descriptor::Descriptor;
use smmuv3::format::event::{Event, EventKind, Requester};
use smmuv3::format::regs::{self, Reg};
use smmuv3::format::ste::{CdTable, L1Std, Overrides, Ste};
use smmuv3::walk::geometry::{descriptor_offset, full_width, select};
use smmuv3::walk::permission::{self, Access, Demand};
use smmuv3::walk::structures::StreamTable;
use smmuv3::{
    Asid, Granule, Iova, Ipa, Level, Pa, PageHint, PageRequest, Stage, StreamId, StreamWorld, SubstreamId,
    Transaction, Vmid,
};

use crate::{any, keep};

pub(crate) const TRANSACTION: Transaction =
    Transaction::read(StreamId(0), Iova(0)).with_substream(SubstreamId(0)).privileged().instruction();

pub(crate) const PAGE_REQUEST: PageRequest = PageRequest {
    stream: StreamId(0),
    substream: Some(SubstreamId(0)),
    address: 0,
    group: 0,
    read: true,
    write: true,
    execute: true,
    privileged: true,
    last: true,
};

pub(crate) const PAGE_HINT: PageHint = PageHint {
    stream: StreamId(0),
    substream: Some(SubstreamId(0)),
    address: Iova(0),
    pages: 0,
    unprivileged: [true; 3],
    privileged: [true; 3],
};

pub(crate) const SPACE: Space =
    Space { world: StreamWorld::El1, stage: Stage::S1, vmid: Vmid(0), asid: Asid(0), aset: false };

const LEAF: Leaf = Leaf { granule: Granule::Kib4, level: Level::L3, log2_size: 12 };

pub(crate) const ENTRY: Entry = Entry {
    space: SPACE,
    global: false,
    input: 0,
    log2_size: 12,
    ipa: Ipa(0),
    output: Pa(0),
    s1: Some(LEAF),
    s2: Some(LEAF),
    rights_s1: Rights::ALL,
    rights_s2: Rights::ALL,
    clean: false,
    memory: MemoryType::WRITE_BACK,
    sh: Shareability::NonShareable,
    memory_s2: 0,
};

pub(crate) const TABLE: TableEntry = TableEntry {
    space: SPACE,
    granule: Granule::Kib4,
    level: Level::L1,
    input: 0,
    next: 0,
    limits: TableLimits {
        no_unprivileged: false,
        no_write: false,
        no_unprivileged_execute: false,
        no_privileged_execute: false,
    },
};

pub(crate) const EVENT: Event = Event {
    fault: Fault::Permission(
        Place { stage: Stage::S2, class: Class::Tt, ipa: Ipa(0) },
        Denied { read: true, table_write: true },
    ),
    requester: Requester {
        stream: StreamId(0),
        substream: Some(SubstreamId(0)),
        input: Iova(0),
        privileged: true,
        instruction: true,
        read: true,
    },
    stall: None,
};

pub(crate) const DEMAND: Demand =
    Demand { access: Access::Atomic, privileged: true, instruction: false, asks: false };

/// Any command that can be read from a queue.
pub(crate) fn any_command() -> Option<Command> {
    Command::decode(any([0; 2]), &any(Features::SMMUV3_3)).ok()
}

/// All of it.
pub(crate) fn values() {
    features();
    fields();
    vocabulary();
    commands();
    events();
    structures();
    permissions();
    scopes();
}

#[inline(never)]
fn features() {
    let features = any(Features::SMMUV3_3);
    keep((features.check(), features.ecmdq_count(), features.ias_bits(), features.aidr()));
    keep(features.idr(any(0)));
    keep(Features::from_idr(any([0; 6]), any(0), any(0)));
}

/// Fields are constants of the model; the words are a guest's.
#[inline(never)]
fn fields() {
    const FIELD: Field = Field::bits(51, 12);
    const WORD: Field = Field::word(3, 51, 12);
    let mut words = any([0; 4]);
    keep((FIELD.get(any(0)), FIELD.put(any(0), any(0)), FIELD.mask(), FIELD.lo(), FIELD.width()));
    keep((WORD.of(&words), WORD.in_place(&words), Field::bit(200).is_set(&words)));
    WORD.set(&mut words, any(0));
    keep(words);
}

#[inline(never)]
fn vocabulary() {
    keep((low_mask(any(0)), align_down(any(0), any(0))));
    keep((any(Iova(0)).offset(any(0)), any(Ipa(0)).offset(any(0)), any(Pa(0)).offset(any(0))));
    keep(any(StreamWorld::El1).has_vmid());

    let (granule, level) = (any(Granule::Kib4), any(Level::L0));
    keep((granule.shift(), granule.bytes(), granule.stride(), granule.level_shift(level)));
    keep((granule.has_leaf(level, any(0)), granule.contiguous_shift(level)));
    keep((level.number(), level.next(), Level::from_number(any(0))));

    let memory = MemoryType::from_mair(any(0));
    keep((MemoryType::from_stage2(any(0)), memory.mair(), memory.is_device(), memory.is_non_cacheable()));
    keep((memory.combine(any(memory)), memory.forced(any(0)), memory.hinted_by(any(memory))));
    keep(memory.with_allocation(any(0)));
    let sh = Shareability::from_sh(any(0));
    keep((sh.sh(), sh.combine(any(sh)), any(sh).of(memory)));

    let (entry, table) = (any(ENTRY), any(TABLE));
    keep((entry.own_leaf(), entry.leaf_span(), entry.is_fractured(), entry.translates(&any(SPACE), any(0))));
    keep((table.log2_size(), entry.rights_s1.without(any(0)).has(any(0)), entry.shape()));

    let queue = Queue::new(any(0), any(0), any(0), any(16));
    let (prod, cons) = (any(0), any(0));
    keep((queue.entries(), queue.len(prod, cons), queue.is_empty(prod, cons), queue.is_full(prod, cons)));
    keep((queue.next(prod), queue.contiguous(prod), queue.index(prod), queue.entry(prod)));
    keep((regs::find(any(0)), any(Reg::Cr0).row()));
    keep(StreamTable { base: any(Pa(0)), log2_size: any(0), split: any(Some(0)) }.address());
}

#[inline(never)]
fn commands() {
    keep(Operand::at(any(0)).effective_ttl());
    if let Some(command) = any_command() {
        keep((command.encode(), command.opcode(), command.name()));
    }
}

#[inline(never)]
fn events() {
    let event = any(EVENT);
    keep((event.kind(), event.encode(), event.fault.ruled_by(), EventKind::of(&event.fault)));
    keep((EventKind::from_number(any(0)).map(EventKind::name), any(PAGE_HINT).encode()));
    let request = any(PAGE_REQUEST);
    keep((request.is_stop_marker(), request.encode()));
}

#[inline(never)]
fn structures() {
    let features = any(Features::SMMUV3_3);
    keep(L1Std::parse(any(0), any(0), &features));
    keep(l1cd_pointer(any(0), any(0), &features));
    keep(Descriptor::parse(any(0), any(Granule::Kib4), any(Level::L0), any(0)));
    keep((Overrides::from_gbpa(any(0), &features), any(CdTable::Linear).split()));
    let Ok(ste) = Ste::parse(&any([0; 8]), &features, any(false)) else { return };
    keep(ste.page_response_pasid());
    let Ste::Translate(stream) = ste else { return };
    let Ok(cd) = Cd::parse(&any([0; 8]), &features, &stream) else { return };
    let world = any(StreamWorld::El1);
    if let Some((half, input)) = select(&cd, world, any(false), any(0)) {
        let width = full_width(half.granule, half.start);
        keep(descriptor_offset(half.granule, half.start, any(width), input));
    }
    keep(permission::stage1(any(0), any(TABLE).limits, &cd, world));
    if let Some(s2) = &stream.s2 {
        keep(permission::stage2(any(0), s2, any(false)));
    }
    keep(stream);
}

#[inline(never)]
fn permissions() {
    let (demand, rights) = (any(DEMAND), any(Rights::ALL));
    keep((demand.writes(), demand.required(), demand.check(rights)));
    keep((demand.dirties(rights), demand.is_granted_anything(rights)));
    keep(permission::is_device(any(0), any(false)));
}

#[inline(never)]
fn scopes() {
    let Some(command) = any_command() else { return };
    let control = Control { e2h: any(false), has_vmid: any(false), vmid_wildcard: any(0) };
    let Some(scope) = Scope::of(&command, control) else { return };
    let (entry, table) = (any(ENTRY), any(TABLE));
    keep(scope.span.map(|span| span.intersects(any(0), any(0))));
    keep(Span { first: any(0), last: any(0) }.intersects(any(0), any(0)));
    keep((scope.verdict(&entry), scope.table_verdict(&table), scope.judge_table(&table).answers()));
    keep((scope.relaxed().judge(&entry).verdict(), scope));
}
