//! Address translation by register: GATOS and VATOS (§9).

use super::Smmu;
use crate::arch::addr::{Ipa, Stage, low_mask};
use crate::arch::attributes::{MemoryType, Shareability};
use crate::arch::entry::Space;
use crate::arch::fault::{Class, Fault};
use crate::arch::features::Features;
use crate::arch::id::{Asid, StreamId, SubstreamId, Vmid};
use crate::env::Host;
use crate::env::memory::Memory;
use crate::env::trace::Trace;
use crate::format::event::EventKind;
use crate::format::regs::{Reg, atos, cr0};
use crate::format::ste::{Ste, Stream};
use crate::walk::permission::{Access, Demand};
use crate::walk::structures::StreamTable;
use crate::walk::{Inhibit, Keep, Walk, second_memory};

const INV_REQ: u64 = 0xff;
const INV_STAGE: u64 = 0xfe;

/// What a request asks for.
struct Request {
    stream: StreamId,
    substream: Option<SubstreamId>,
    address: u64,
    demand: Demand,
    first: bool,
    second: bool,
    /// VATOS: only streams of this VMID, and only stage 1.
    vmid: Option<Vmid>,
}

/// A fault as PAR shows it.
struct Refused {
    code: u64,
    reason: u64,
    address: u64,
}

impl Refused {
    const fn code(code: u64) -> Self {
        Self { code, reason: 0, address: 0 }
    }
}

/// An address as PAR shows it.
struct Found {
    address: u64,
    log2_size: u8,
    memory: MemoryType,
    sh: Shareability,
}

impl<const N: usize> Smmu<N> {
    /// A write to GATOS_CTRL or VATOS_CTRL. A translation takes no time: RUN is 0 again when the write is done. It records
    /// nothing, never stalls, and is ignored while SMMUEN is 0.
    pub(super) fn run_atos<H: Host + ?Sized>(&mut self, control: Reg, value: u64, host: &mut H) {
        let (sid, addr, par) = match control {
            Reg::VatosCtrl => (Reg::VatosSid, Reg::VatosAddr, Reg::VatosPar),
            _ => (Reg::GatosSid, Reg::GatosAddr, Reg::GatosPar),
        };
        if atos::RUN.get(value) == 0 || !self.registers.is_set(Reg::Cr0, cr0::SMMUEN) {
            return;
        }
        let (sid, addr) = (self.registers.get(sid), self.registers.get(addr));
        let reads = atos::RNW.get(addr) != 0;
        let stages = atos::TYPE.get(addr);
        let request = Request {
            stream: StreamId(atos::STREAMID.get(sid) as u32),
            substream: (atos::SSID_VALID.get(sid) != 0)
                .then(|| SubstreamId(atos::SUBSTREAMID.get(sid) as u32)),
            address: addr & atos::ADDR.mask(),
            demand: Demand {
                access: if reads { Access::Read } else { Access::Write },
                privileged: atos::PNU.get(addr) != 0,
                instruction: reads && atos::IND.get(addr) != 0,
                asks: false,
            },
            first: stages & 1 != 0,
            second: stages & 2 != 0,
            vmid: (control == Reg::VatosCtrl).then(|| Vmid(self.registers.get(Reg::VatosSel) as u16)),
        };
        let table = self.registers.stream_table(&self.features);
        let e2h = self.control().e2h;
        let result = if atos::HTTUI.get(addr) != 0 {
            answer(&self.features, &table, e2h, &request, &mut Inhibit, host)
        } else {
            answer(&self.features, &table, e2h, &request, &mut self.caches, host)
        };
        self.registers.set(par, encode(&result));
    }
}

fn answer<H: Memory + Trace + ?Sized, K: Keep>(
    features: &Features,
    table: &StreamTable,
    e2h: bool,
    request: &Request,
    kept: &mut K,
    host: &mut H,
) -> Result<Found, Refused> {
    let Request { first, second, substream, .. } = *request;
    let absent = (first && !features.s1p) || (second && !features.s2p);
    let pointless = second && !first && substream.is_some();
    let foreign = request.vmid.is_some() && (!first || second);
    if !(first || second) || absent || pointless || foreign {
        return Err(Refused::code(INV_REQ));
    }
    let mut walk = Walk { features, host, kept, demand: request.demand };
    let number = |fault: Fault| EventKind::of(&fault).map_or(INV_REQ, |kind| kind as u64);
    let ste = walk.ste(table, request.stream, e2h).map_err(|fault| Refused::code(number(fault)))?;
    let stream = match &ste {
        Ste::Translate(stream) => Some(stream),
        _ => None,
    };
    if let Some(vmid) = request.vmid {
        let tagged = stream.is_some_and(|stream| stream.world.has_vmid() && stream.vmid == vmid);
        if !tagged {
            return Err(Refused::code(EventKind::BadSte as u64));
        }
    }
    let Some(stream) = stream.filter(|s| (!first || s.s1.is_some()) && (!second || s.s2.is_some())) else {
        return Err(Refused::code(INV_STAGE));
    };

    let refuse = |fault: Fault| refused(fault, first, second);
    let mut input = request.address;
    let mut memory = MemoryType::WRITE_BACK;
    let mut sh = Shareability::NonShareable;
    let mut log2_size = None;
    if first {
        let one = walk.first_stage(stream, request.stream, substream, input).map_err(refuse)?;
        // Where S1DSS bypasses stage 1, it is the identity.
        if let Some((entry, at)) = one {
            (memory, sh, log2_size) = (entry.memory, entry.sh, Some(entry.log2_size));
            input = entry.ipa.0 + (at - entry.input);
        } else if input > low_mask(features.ias_bits()) {
            return Err(Refused::code(EventKind::AddrSize as u64));
        }
    }
    if let Some(s2) = stream.s2.as_ref().filter(|_| second) {
        if !first && input > low_mask(features.ias_bits()) {
            return Err(Refused::code(EventKind::AddrSize as u64));
        }
        let space = second_space_of(stream);
        let second = walk.stage2(s2, &space, Ipa(input), Class::In).map_err(refuse)?;
        sh = sh.of(memory);
        memory = second_memory(memory, second.memory(), s2);
        sh = if log2_size.is_some() { sh.combine(second.sh()) } else { second.sh() };
        log2_size = Some(log2_size.unwrap_or(u8::MAX).min(second.log2_size() as u8));
        input = second.at(Ipa(input)).0;
    }
    Ok(Found { address: input, log2_size: log2_size.unwrap_or(12), memory, sh: sh.of(memory) })
}

fn second_space_of(stream: &Stream) -> Space {
    Space { world: stream.world, stage: Stage::S2, vmid: stream.vmid, asid: Asid(0), aset: false }
}

/// A fault's code, reason and address (§9.1.4).
fn refused(fault: Fault, first: bool, second: bool) -> Refused {
    let code = EventKind::of(&fault).map_or(INV_REQ, |kind| kind as u64);
    let (place, translation) = match fault {
        Fault::Translation(place)
        | Fault::AddrSize(place)
        | Fault::Access(place)
        | Fault::Permission(place, _) => (Some(place), true),
        Fault::WalkEabt(place, _) => (Some(place), false),
        _ => (None, false),
    };
    let Some(place) = place.filter(|place| place.stage == Stage::S2) else { return Refused::code(code) };
    if !second {
        // Only stage 1 was asked for: what stage 2 does to its structures looks like an abort.
        let kind = if place.class == Class::Cd { EventKind::CdFetch } else { EventKind::WalkEabt };
        return Refused::code(kind as u64);
    }
    let reason = match place.class {
        Class::Cd => 0b01,
        Class::Tt => 0b10,
        Class::In => 0b11,
    };
    Refused { code, reason, address: if first && translation { place.ipa.0 } else { 0 } }
}

/// PAR.
fn encode(result: &Result<Found, Refused>) -> u64 {
    match result {
        Err(Refused { code, reason, address }) => {
            let word = atos::FAULT.put(address & atos::PA.mask(), 1);
            atos::FAULTCODE.put(atos::REASON.put(word, *reason), *code)
        }
        Ok(Found { address, log2_size, memory, sh }) => {
            // Above 4 KiB the lowest set bit of the address tells the size: bit N is 2^(N + 1) bytes.
            let large = *log2_size > 12;
            let size = u32::from(*log2_size);
            let page = if large { address & !low_mask(size) | 1 << (size - 1) } else { *address };
            let word = atos::SIZE.put(page & atos::PA.mask(), large.into());
            atos::ATTR.put(atos::SH.put(word, sh.sh().into()), memory.mair().into())
        }
    }
}
