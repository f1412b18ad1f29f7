//! Commands by name and field: what the composer shows and scripts write. Where a field is, is the model's knowledge; a
//! value is put there as it is, so that illegal commands can be composed too.

use crate::script::{Arguments, Error, Words};
use crate::text::{grouped, hex};
use smmuv3::Command;
use smmuv3::arch::bits::Field;
use smmuv3::format::command::{field as f, opcode};

/// One field of a command: its name in scripts, the architecture's, its bits, and how far a value is shifted.
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) name: &'static str,
    pub(crate) bits: Field,
    /// The value's bits below the field: an address field holds `[63:12]`.
    pub(crate) shift: u32,
}

const fn row(key: &'static str, name: &'static str, bits: Field) -> Row {
    Row { key, name, bits, shift: 0 }
}

const VMID: Row = row("vmid", "VMID", f::VMID);
const ASID: Row = row("asid", "ASID", f::ASID);
const SID: Row = row("sid", "StreamID", f::SID);
const LEAF: Row = row("leaf", "Leaf", f::LEAF);
const NUM: Row = row("num", "NUM", f::NUM);
const SCALE: Row = row("scale", "SCALE", f::SCALE);
const TG: Row = row("tg", "TG", f::TG);
const TTL: Row = row("ttl", "TTL", f::TTL);
const ADDRESS: Row = Row { key: "address", name: "Address", bits: f::ADDRESS, shift: 12 };
const IPA: Row = Row { key: "address", name: "IPA", bits: f::IPA, shift: 12 };
const SSID: Row = row("ssid", "SubstreamID", f::SSID);
const RANGE: Row = row("range", "Range", f::RANGE);
const CS: Row = row("cs", "CS", f::CS);
const SIZE: Row = row("size", "Size", f::ATC_SIZE);

/// Every command that can be composed, with its fields.
pub(crate) const KINDS: &[(&str, u8, &[Row])] = &[
    ("tlbi_nh_va", opcode::TLBI_NH_VA, &[VMID, ASID, ADDRESS, TG, NUM, SCALE, TTL, LEAF]),
    ("tlbi_nh_vaa", opcode::TLBI_NH_VAA, &[VMID, ADDRESS, TG, NUM, SCALE, TTL, LEAF]),
    ("tlbi_nh_asid", opcode::TLBI_NH_ASID, &[VMID, ASID]),
    ("tlbi_nh_all", opcode::TLBI_NH_ALL, &[VMID]),
    ("tlbi_s2_ipa", opcode::TLBI_S2_IPA, &[VMID, IPA, TG, NUM, SCALE, TTL, LEAF]),
    ("tlbi_s12_vmall", opcode::TLBI_S12_VMALL, &[VMID]),
    ("tlbi_nsnh_all", opcode::TLBI_NSNH_ALL, &[]),
    ("tlbi_el2_all", opcode::TLBI_EL2_ALL, &[]),
    ("tlbi_el2_asid", opcode::TLBI_EL2_ASID, &[ASID]),
    ("tlbi_el2_va", opcode::TLBI_EL2_VA, &[ASID, ADDRESS, TG, NUM, SCALE, TTL, LEAF]),
    ("tlbi_el2_vaa", opcode::TLBI_EL2_VAA, &[ADDRESS, TG, NUM, SCALE, TTL, LEAF]),
    ("cfgi_ste", opcode::CFGI_STE, &[SID, LEAF]),
    ("cfgi_ste_range", opcode::CFGI_STE_RANGE, &[SID, RANGE]),
    ("cfgi_cd", opcode::CFGI_CD, &[SID, SSID, LEAF]),
    ("cfgi_cd_all", opcode::CFGI_CD_ALL, &[SID]),
    ("atc_inv", opcode::ATC_INV, &[SID, ADDRESS, SIZE]),
    ("sync", opcode::SYNC, &[CS]),
];

/// CMD_SYNC without a signal.
pub(crate) fn sync() -> Words {
    let mut words = [0; 2];
    f::OPCODE.set(&mut words, opcode::SYNC.into());
    words
}

/// The command called `name` with the fields of `arguments`; `raw W0 W1` is any 16 bytes.
pub(crate) fn compose(name: &str, arguments: &mut Arguments<'_>) -> Result<Words, Error> {
    if name == "raw" {
        let word = |arguments: &mut Arguments<'_>, key| {
            arguments.named(key)?.ok_or_else(|| Error(format!("raw needs {key}=")))
        };
        return Ok([word(arguments, "w0")?, word(arguments, "w1")?]);
    }
    let (name, all) = if name == "cfgi_all" { ("cfgi_ste_range", true) } else { (name, false) };
    let (_, code, rows) = KINDS
        .iter()
        .find(|kind| kind.0 == name)
        .ok_or_else(|| Error(format!("there is no action or command `{name}`")))?;
    let mut words = [0; 2];
    f::OPCODE.set(&mut words, (*code).into());
    for row in *rows {
        let Some(value) = arguments.named::<u64>(row.key)? else { continue };
        let scaled = value >> row.shift;
        if row.bits.width() < 64 && scaled >> row.bits.width() != 0 {
            return Err(Error(format!(
                "{} has {} bits; {} does not fit",
                row.name,
                row.bits.width(),
                hex(value)
            )));
        }
        row.bits.set(&mut words, scaled);
    }
    if all {
        f::RANGE.set(&mut words, 31);
    }
    Ok(words)
}

/// The rows of the command that `words` begin, if it can be composed.
pub(crate) fn rows(words: Words) -> Option<&'static (&'static str, u8, &'static [Row])> {
    KINDS.iter().find(|kind| u64::from(kind.1) == f::OPCODE.of(&words))
}

/// `words` as a script says it.
pub(crate) fn script(words: Words) -> String {
    let Some((name, _, rows)) = rows(words) else {
        return format!("raw w0={:#x} w1={:#x}", words[0], words[1]);
    };
    let mut text = (*name).to_owned();
    for row in *rows {
        let value = row.bits.of(&words) << row.shift;
        if value != 0 {
            text += &if row.shift == 0 {
                format!(" {}={value}", row.key)
            } else {
                format!(" {}={value:#x}", row.key)
            };
        }
    }
    text
}

/// A command for people: Arm's name, and the fields that are not 0.
pub(crate) fn sentence(words: Words, decoded: Option<&Command>) -> String {
    let name = decoded.map_or("illegal command", Command::name);
    let Some((_, _, rows)) = rows(words) else {
        return format!("{name} {} {}", hex(words[0]), hex(words[1]));
    };
    let mut text = name.to_owned();
    if name == "CMD_CFGI_ALL" {
        return text;
    }
    for row in *rows {
        let value = row.bits.of(&words) << row.shift;
        if row.shift != 0 || row.key.ends_with("id") {
            text += &format!(" {} {}", row.name, if row.shift == 0 { grouped(value) } else { hex(value) });
        } else if value != 0 {
            text += &format!(" {} {value}", row.name);
        }
    }
    text
}
