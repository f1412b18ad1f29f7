//! A TLBI command as a value: which translations and table descriptors it names (§4.4), and the verdict on one entry.

use crate::arch::addr::{Granule, Level, Stage, align_down, low_mask};
use crate::arch::entry::{Entry, Space, TableEntry};
use crate::arch::id::{Asid, StreamWorld, Vmid};
use crate::env::trace::Reason;
use crate::format::command::{Command, Operand, field};

/// Bits of a virtual address that tell it apart: `[63:56]` repeat bit 55, or are ignored where `TBI` is set.
const SIGN_BIT: u32 = 55;

/// Which entries an invalidation names. `None` and `Any` are wildcards; nothing else matches more than itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Scope {
    /// Which StreamWorlds.
    pub regime: Regime,
    /// Which stages' entries.
    pub stage: Stages,
    /// Which VMIDs.
    pub vmid: Option<VmidScope>,
    /// Which ASID.
    pub asid: AsidScope,
    /// Which input addresses.
    pub span: Option<Span>,
    /// Only entries of this granule (`TG`).
    pub granule: Option<Granule>,
    /// Only leaves of this level, and tables above it (`TTL`).
    pub level: Option<Level>,
    /// Only leaves (`Leaf`).
    pub leaf_only: bool,
}

/// StreamWorlds that a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Regime {
    /// One.
    One(StreamWorld),
    /// NS-EL2 and NS-EL2-E2H.
    AnyEl2,
}

/// Stages whose entries a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Stages {
    /// Stage 1, alone or combined with stage 2.
    S1,
    /// Stage 2 alone: entries whose input is an intermediate physical address.
    S2,
    /// All.
    Both,
}

impl Stages {
    /// Whether these are stages of entries whose own stage is `stage`.
    #[inline]
    pub(crate) const fn names(self, stage: Stage) -> bool {
        match self {
            Self::S1 => matches!(stage, Stage::S1),
            Self::S2 => matches!(stage, Stage::S2),
            Self::Both => true,
        }
    }
}

/// VMIDs that a command names: one, or with `CR0.VMW` all that differ from it in low bits alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct VmidScope {
    /// The VMID.
    pub vmid: Vmid,
    /// How many of its low bits are ignored, 0 to 4.
    pub ignored_bits: u8,
}

impl VmidScope {
    #[inline]
    pub(super) const fn names(self, vmid: Vmid) -> bool {
        (self.vmid.0 ^ vmid.0) >> self.ignored_bits == 0
    }
}

/// The registers that a command depends on: they must not change while it is in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Control {
    /// `CR2.E2H`.
    pub e2h: bool,
    /// `IDR0.S2P`: without it VMIDs are not compared.
    pub has_vmid: bool,
    /// `CR0.VMW`: low VMID bits that are ignored, 0 to 4.
    pub vmid_wildcard: u8,
}

impl Control {
    /// The VMIDs that a command for `vmid` names.
    #[inline]
    pub(crate) fn vmid(self, vmid: Vmid) -> Option<VmidScope> {
        self.has_vmid.then_some(VmidScope { vmid, ignored_bits: self.vmid_wildcard })
    }
}

/// ASIDs that a command names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AsidScope {
    /// All, and global entries.
    Any,
    /// This one; global entries need not go.
    Only(Asid),
    /// This one, and global entries.
    OrGlobal(Asid),
}

/// Input addresses `first` to `last`, both included; never empty, never wraps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Span {
    /// First address.
    pub first: u64,
    /// Last address.
    pub last: u64,
}

impl Span {
    /// What a command without a range names at `address`, a virtual one.
    #[inline]
    pub(crate) const fn page(address: u64) -> Self {
        let first = sign_extend(align_down(address, 12));
        Self { first, last: first | low_mask(12) }
    }

    /// The addresses that a command for entries of `stage` names, to the letter.
    #[inline]
    fn of(operand: &Operand, stage: Stages) -> Self {
        let is_virtual = !matches!(stage, Stages::S2);
        let first = if is_virtual { sign_extend(operand.address) } else { operand.address };
        // Without a granule the command names whatever contains the address; entries are 4 KiB or larger.
        let Some(granule) = granule(operand) else {
            return Self { first, last: first | low_mask(12) };
        };
        // A range ends with the half of the address space that it begins in, and with the address space.
        let top = if is_virtual && first >> SIGN_BIT == 0 { low_mask(SIGN_BIT) } else { u64::MAX };
        let log2_unit = granule.shift() + u32::from(operand.scale);
        let units = u64::from(operand.num) + 1;
        let more = if log2_unit <= units.leading_zeros() { (units << log2_unit) - 1 } else { u64::MAX };
        Self { first, last: first.saturating_add(more).min(top) }
    }

    /// What a command with a granule names where hints are hints, for virtual addresses: [`Span::of`] and
    /// [`Span::relaxed`] in one, from the words of the command.
    #[inline]
    pub(crate) fn hinted(words: &[u64; 2]) -> Self {
        let hint = field::HINT.of(words) as usize;
        let (log2_granule, log2_leaf) = HINTS.get(hint).copied().unwrap_or((12, 12));
        let units = field::NUM.of(words) + 1;
        let log2_unit = u32::from(log2_granule) + field::SCALE.of(words) as u32;
        let more = if log2_unit <= units.leading_zeros() { (units << log2_unit) - 1 } else { u64::MAX };
        let first = sign_extend(field::ADDRESS.in_place(words));
        // The top of the half that `first` is in.
        let top = ((first as i64) >> 63) as u64 | low_mask(SIGN_BIT);
        let last = first.saturating_add(more).min(top);
        let within = (1 << log2_leaf) - 1;
        if first & within == 0 {
            Self { first, last }
        } else {
            Self { first: first & !within, last: last | within }
        }
    }

    /// The span that hints size and align: they give the size of the leaves that it begins with. Where its first address
    /// is not aligned to that, the range is UNPREDICTABLE, and this widens it; an aligned one keeps its last address.
    #[inline]
    fn relaxed(self, granule: Option<Granule>, level: Option<Level>) -> Self {
        let unit = granule.map_or(12, |granule| level.map_or(granule.shift(), |l| granule.level_shift(l)));
        let first = align_down(self.first, unit);
        if first == self.first { self } else { Self { first, last: self.last | low_mask(unit) } }
    }

    /// Whether `2^log2_size` bytes from `start` on share an address with the span.
    #[must_use]
    #[inline]
    pub const fn intersects(&self, start: u64, log2_size: u32) -> bool {
        start <= self.last && self.first <= start | low_mask(log2_size)
    }
}

/// What becomes of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Verdict {
    /// It goes.
    Drop,
    /// It stays, for this reason.
    Spare(Reason),
}

impl Scope {
    /// What `command` names, to the letter; `None` if it is no TLBI.
    #[must_use]
    pub fn of(command: &Command, control: Control) -> Option<Self> {
        let e2h = control.e2h;
        let el2 = Regime::One(if e2h { StreamWorld::El2E2h } else { StreamWorld::El2 });
        let vmid = |vmid: Vmid| control.vmid(vmid);
        let all = Self {
            regime: Regime::One(StreamWorld::El1),
            stage: Stages::S1,
            vmid: None,
            asid: AsidScope::Any,
            span: None,
            granule: None,
            level: None,
            leaf_only: false,
        };
        Some(match *command {
            Command::TlbiNhAll { vmid: id } => Self { vmid: vmid(id), ..all },
            Command::TlbiNhAsid { vmid: id, asid } => {
                Self { vmid: vmid(id), asid: AsidScope::Only(asid), ..all }
            }
            Command::TlbiNhVa { vmid: id, asid, operand } => {
                Self { vmid: vmid(id), asid: AsidScope::OrGlobal(asid), ..all }.at(&operand)
            }
            Command::TlbiNhVaa { vmid: id, operand } => Self { vmid: vmid(id), ..all }.at(&operand),
            Command::TlbiEl2All => Self { regime: Regime::AnyEl2, ..all },
            Command::TlbiEl2Asid { asid } => {
                Self { regime: Regime::One(StreamWorld::El2E2h), asid: AsidScope::Only(asid), ..all }
            }
            Command::TlbiEl2Va { asid, operand } => {
                let asid = if e2h { AsidScope::OrGlobal(asid) } else { AsidScope::Any };
                Self { regime: el2, asid, ..all }.at(&operand)
            }
            Command::TlbiEl2Vaa { operand } => Self { regime: el2, ..all }.at(&operand),
            Command::TlbiS12Vmall { vmid: id } => Self { stage: Stages::Both, vmid: vmid(id), ..all },
            Command::TlbiS2Ipa { vmid: id, operand } => {
                Self { stage: Stages::S2, vmid: vmid(id), ..all }.at(&operand)
            }
            Command::TlbiNsnhAll => Self { stage: Stages::Both, ..all },
            _ => return None,
        })
    }

    /// The scope narrowed to the addresses, granule and level of `operand`.
    fn at(self, operand: &Operand) -> Self {
        let (granule, level) = hints(operand);
        let span = Span::of(operand, self.stage);
        Self { span: Some(span), granule, level, leaf_only: operand.leaf, ..self }
    }

    /// What an implementation drops that takes hints for hints: `TG` and `TTL` size and align the span, but entries
    /// of other granules and levels inside it go as well. Over-invalidation is always allowed (§4.4.1).
    #[must_use]
    pub fn relaxed(&self) -> Self {
        let span = self.span.map(|span| span.relaxed(self.granule, self.level));
        Self { span, granule: None, level: None, ..*self }
    }

    /// What becomes of a translation.
    #[must_use]
    #[inline]
    pub fn verdict(&self, entry: &Entry) -> Verdict {
        self.judge(entry).verdict()
    }

    /// What becomes of a remembered table descriptor.
    #[must_use]
    pub fn table_verdict(&self, table: &TableEntry) -> Verdict {
        self.judge_table(table).verdict()
    }

    /// Every predicate's answer about a translation.
    #[must_use]
    #[inline]
    pub fn judge(&self, entry: &Entry) -> Judgement {
        let (start, log2_size) = entry.leaf_span();
        let leaf = entry.own_leaf();
        Judgement {
            span: ask(self.span, |span| span.intersects(start, log2_size)),
            granule: ask(self.granule, |granule| leaf.is_none_or(|leaf| leaf.granule == granule)),
            level: ask(self.level, |level| leaf.is_none_or(|leaf| leaf.level == level)),
            leaf: Answer::Unasked,
            ..self.judge_space(&entry.space, entry.global)
        }
    }

    /// Every predicate's answer about a table descriptor: with `Leaf` = 0, those above the level named go (§4.4.1).
    #[must_use]
    pub fn judge_table(&self, table: &TableEntry) -> Judgement {
        Judgement {
            span: ask(self.span, |span| span.intersects(table.input, table.log2_size())),
            leaf: if self.leaf_only { Answer::Fails } else { Answer::Unasked },
            granule: ask(self.granule, |granule| table.granule == granule),
            level: ask(self.level, |level| table.level < level),
            ..self.judge_space(&table.space, false)
        }
    }

    /// Whether every predicate that a space answers for all its entries holds.
    pub(super) fn names_space(&self, space: &Space, global: bool) -> bool {
        self.judge_space(space, global).verdict() == Verdict::Drop
    }

    /// The predicates that leaves and tables share: regime, stage, VMID, ASID.
    #[inline]
    fn judge_space(&self, space: &Space, global: bool) -> Judgement {
        let regime = match self.regime {
            Regime::One(world) => space.world == world,
            Regime::AnyEl2 => space.world != StreamWorld::El1,
        };
        let stage = self.stage.names(space.stage);
        // Without ASIDs there is nothing to compare.
        let has_asid = space.stage == Stage::S1 && space.world != StreamWorld::El2;
        let (asid, not_global) = match self.asid {
            AsidScope::Only(asid) if has_asid => {
                (Answer::of(global || asid == space.asid), Answer::of(!global))
            }
            AsidScope::OrGlobal(asid) if has_asid => {
                (Answer::of(global || asid == space.asid), Answer::Unasked)
            }
            _ => (Answer::Unasked, Answer::Unasked),
        };
        Judgement {
            regime: Answer::of(regime),
            stage: if self.stage == Stages::Both { Answer::Unasked } else { Answer::of(stage) },
            vmid: ask(self.vmid, |scope| scope.names(space.vmid)),
            asid,
            not_global,
            span: Answer::Unasked,
            leaf: Answer::Unasked,
            granule: Answer::Unasked,
            level: Answer::Unasked,
        }
    }
}

/// What one predicate of a scope says about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Answer {
    /// The command does not ask.
    Unasked,
    /// It holds: as far as it goes, the entry goes.
    Holds,
    /// It does not hold: the entry stays.
    Fails,
}

impl Answer {
    const fn of(holds: bool) -> Self {
        if holds { Self::Holds } else { Self::Fails }
    }
}

fn ask<T>(asked: Option<T>, predicate: impl FnOnce(T) -> bool) -> Answer {
    asked.map_or(Answer::Unasked, |asked| Answer::of(predicate(asked)))
}

/// Why an entry goes or stays: every predicate's answer, in the order in which a reason is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Judgement {
    /// StreamWorld.
    pub regime: Answer,
    /// Stage.
    pub stage: Answer,
    /// VMID.
    pub vmid: Answer,
    /// The entry is not global, where the command need not drop global ones.
    pub not_global: Answer,
    /// ASID; a global entry has every ASID.
    pub asid: Answer,
    /// The spans intersect.
    pub span: Answer,
    /// `Leaf` = 0, asked of table descriptors.
    pub leaf: Answer,
    /// `TG`.
    pub granule: Answer,
    /// `TTL`.
    pub level: Answer,
}

impl Judgement {
    /// The answers with the reason that each gives to spare an entry.
    #[must_use]
    pub const fn answers(&self) -> [(Answer, Reason); 9] {
        [
            (self.regime, Reason::Regime),
            (self.stage, Reason::Stage),
            (self.vmid, Reason::Vmid),
            (self.not_global, Reason::Global),
            (self.asid, Reason::Asid),
            (self.span, Reason::Span),
            (self.leaf, Reason::Leaf),
            (self.granule, Reason::Granule),
            (self.level, Reason::Level),
        ]
    }

    /// Dropped, unless a predicate fails: the first is the reason.
    #[must_use]
    #[inline]
    pub fn verdict(&self) -> Verdict {
        let failed = self.answers().into_iter().find(|(answer, _)| *answer == Answer::Fails);
        failed.map_or(Verdict::Drop, |(_, reason)| Verdict::Spare(reason))
    }
}

/// By `TG` and `TTL` as one number: log2 of the bytes of a granule, and of a leaf of the level.
const HINTS: [(u8, u8); 16] = {
    let mut hints = [(12, 12); 16];
    let mut hint = 0;
    while hint < hints.len() {
        let operand = Operand { tg: (hint >> 2) as u8, ttl: hint as u8 & 3, ..Operand::at(0) };
        if let Some(granule) = granule(&operand) {
            let log2_leaf = match operand.effective_ttl() {
                0 => granule.shift(),
                ttl => granule.level_shift(Level::from_number(ttl as u32)),
            };
            #[expect(clippy::indexing_slicing, reason = "`hint` is below the length")]
            {
                hints[hint] = (granule.shift() as u8, log2_leaf as u8);
            }
        }
        hint += 1;
    }
    hints
};

/// The granule that `TG` gives.
#[inline]
const fn granule(operand: &Operand) -> Option<Granule> {
    match operand.tg {
        1 => Some(Granule::Kib4),
        2 => Some(Granule::Kib16),
        3 => Some(Granule::Kib64),
        _ => None,
    }
}

/// The granule and level of the leaves that `TG` and `TTL` give.
#[inline]
fn hints(operand: &Operand) -> (Option<Granule>, Option<Level>) {
    let level = match operand.effective_ttl() {
        0 => None,
        ttl => Some(Level::from_number(ttl.into())),
    };
    (granule(operand), level)
}

/// A virtual address with `[63:56]` made equal to bit 55, which covers every tag that `TBI` lets through.
const fn sign_extend(address: u64) -> u64 {
    (((address << (63 - SIGN_BIT)) as i64) >> (63 - SIGN_BIT)) as u64
}

#[cfg(test)]
mod tests {
    use super::{Span, Stages, hints};
    use crate::arch::id::{Asid, Vmid};
    use crate::format::command::{Command, Operand};

    #[test]
    fn a_hinted_span_is_what_the_letter_says_relaxed() {
        let addresses = [
            0,
            0x3000,
            0x1234_5000,
            0x4000_0000,
            0x007f_ffff_ffff_f000,
            0x0080_0000_0000_0000,
            0xffff_8000_0020_0000,
            0xffff_ffff_ffff_f000,
            0xa5ff_0000_0000_4000,
        ];
        for address in addresses {
            for bits in 0..1 << 14 {
                let (num, scale, ttl) = ((bits & 31) as u8, (bits >> 5 & 63) as u8, (bits >> 11 & 3) as u8);
                for tg in 1..=3 {
                    let operand = Operand { address, num, scale, tg, ttl, leaf: bits >> 13 != 0 };
                    let (granule, level) = hints(&operand);
                    let relaxed = Span::of(&operand, Stages::S1).relaxed(granule, level);
                    let command = Command::TlbiNhVa { vmid: Vmid(0xffff), asid: Asid(0xffff), operand };
                    assert_eq!(Span::hinted(&command.encode()), relaxed, "{operand:?}");
                }
            }
        }
    }
}
