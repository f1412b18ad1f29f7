//! What a composed command would do, as the preview shows it.

use super::{Bits, bits};
use crate::command;
use crate::frame::{Frame, Question};
use crate::text::{bytes, grouped, hex};
use crate::world::World;
use serde::Serialize;
use smmuv3::Command;
use smmuv3::arch::addr::low_mask;
use smmuv3::cache::scope::Verdict;
use smmuv3::format::command::{Operand, field as cmd};

/// A composed command: its bytes, what it names, and what it would drop.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Preview {
    name: String,
    script: String,
    words: [String; 2],
    fields: Vec<Bits>,
    legal: bool,
    tlbi: bool,
    span: Option<Span>,
    needed: u32,
    excess: u32,
    missed: u32,
    tables: u32,
    sentence: String,
}

/// The addresses that a command names, and how its fields say so.
#[derive(Serialize)]
pub(crate) struct Span {
    first: u64,
    last: u64,
    text: String,
    formula: String,
}

pub(crate) fn preview(world: &World, frame: &Frame, words: [u64; 2]) -> Preview {
    let decoded = Command::decode(words, world.smmu.features()).ok();
    let question = decoded.and_then(|command| Question::new(world, &command));
    let rows = command::rows(words).map_or(&[] as &[_], |row| row.2);
    let mut fields = vec![bits("opcode", cmd::OPCODE, &words)];
    fields.extend(rows.iter().map(|row| bits(row.name, row.bits, &words)));
    let span = question.as_ref().and_then(span);
    let tables = question.map_or(0, |question| {
        let names = |entry: &&_| question.applied.table_verdict(entry) == Verdict::Drop;
        world.smmu.walk_cache().entries().filter(names).count() as u32
    });
    let name = command::sentence(words, decoded.as_ref());
    let sentence = match (&decoded, &question) {
        (None, _) => "CERROR_ILL: the queue would stop at this command".to_owned(),
        (Some(_), None) => "no TLBI: the IOTLB keeps everything".to_owned(),
        _ => {
            let total = frame.needed + frame.excess;
            let mut text = match total {
                0 => "would drop no entry".to_owned(),
                1 => "would drop 1 entry".to_owned(),
                n => format!("would drop {} entries", grouped(n.into())),
            };
            if frame.excess != 0 {
                text += &format!(", {} of them in excess", grouped(frame.excess.into()));
            }
            if frame.missed != 0 {
                text += &format!("; {} stale would stay", grouped(frame.missed.into()));
            }
            text
        }
    };
    Preview {
        name,
        script: command::script(words),
        words: words.map(hex),
        fields,
        legal: decoded.is_some(),
        tlbi: question.is_some(),
        span,
        needed: frame.needed,
        excess: frame.excess,
        missed: frame.missed,
        tables,
        sentence,
    }
}

pub(crate) fn span(question: &Question) -> Option<Span> {
    let span = question.letter.span?;
    let length = span.last.wrapping_sub(span.first).wrapping_add(1);
    let size = if length == 0 { "everything".to_owned() } else { bytes(length) };
    Some(Span {
        first: span.first & low_mask(52),
        last: span.last & low_mask(52),
        text: format!("{} … {}, {size}", hex(span.first), hex(span.last)),
        formula: operand(&question.command).map_or_else(String::new, |operand| formula(&operand, &size)),
    })
}

fn operand(command: &Command) -> Option<Operand> {
    match *command {
        Command::TlbiNhVa { operand, .. }
        | Command::TlbiNhVaa { operand, .. }
        | Command::TlbiEl2Va { operand, .. }
        | Command::TlbiEl2Vaa { operand }
        | Command::TlbiS2Ipa { operand, .. } => Some(operand),
        _ => None,
    }
}

fn formula(operand: &Operand, size: &str) -> String {
    let unit = match operand.tg {
        0 => return "TG 0: whatever contains the address".to_owned(),
        1 => "4 KiB",
        2 => "16 KiB",
        _ => "64 KiB",
    };
    format!("(NUM {} + 1) · 2^{} · {unit} = {size}", operand.num, operand.scale)
}
